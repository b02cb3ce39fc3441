package failover

import (
	"context"
	"fmt"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/election/epoch"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
	"github.com/omnicloud/omnicloud/pkg/provider"
)

// fence keeps the old placement from serving. A planned move falls back on asking it to step down. In a forced move, one that cannot
// be fenced but has a lease is as good as fenced once the lease has run out since it was last spoken to; that moment is
// stored, so that a new leader waits the rest only. One that holds data and that nothing of this keeps from writing holds the run,
// unless somebody has forced it with a reason.
func (s *Service) fence(ctx context.Context, c workflow.Call) (workflow.Outcome, error) {
	if err := s.mayMove(ctx, c); err != nil {
		return workflow.Outcome{}, err
	}
	in, err := s.info(ctx, c.Run)
	if err != nil {
		return workflow.Outcome{}, err
	}
	_, p, err := in.placement(c.Step.Lane, in.From)
	if err != nil {
		return workflow.Outcome{}, err
	}
	leased := in.Mode == Forced && p.Lease > 0
	if leased && c.Repeat {
		if at, found, err := s.contact(ctx, c); err != nil || found {
			return s.waitOut(ctx, p.Lease.Std(), at, err)
		}
	}
	order, err := s.instruct(ctx, c, in.From, "", provider.Fence)
	if err != nil {
		return workflow.Outcome{}, err
	}
	out, err := order.carryOut(ctx, c.Repeat)
	if err == nil && out.Skipped && in.Mode == Planned {
		order.call.Action, order.call.Role, order.call.Step = provider.Demote, provider.RoleStandby, c.Step.ID+".demote"
		out, err = order.carryOut(ctx, c.Repeat)
	}
	unfenced := err != nil || out.Skipped
	if leased && unfenced && !workflow.IsPermanent(err) && ctx.Err() == nil {
		at, err := s.recordContact(ctx, c)
		return s.waitOut(ctx, p.Lease.Std(), at, err)
	}
	if err == nil && out.Skipped && stateful(order.call.Target.Type) && !in.IgnoreLag {
		return workflow.Outcome{}, workflow.Permanent(omni.Errorf(omni.CodeRefused,
			"nothing keeps it from taking writes beside the new one: %s, and it has no lease to wait out", out.Message).
			WithHint("stop it by hand and resume, give the placement a lease, or abort and force the move with a reason"))
	}
	return out, err
}

// contact gives when the placement was last spoken to, if an earlier attempt has recorded it.
func (s *Service) contact(ctx context.Context, c workflow.Call) (at time.Time, found bool, err error) {
	err = s.db.Read(ctx, database.Tenant(c.Run.Tenant), func(ctx context.Context, tx *database.Tx) error {
		at, found, err = readContact(ctx, tx, c)
		return err
	})
	return at, found, err
}

func readContact(ctx context.Context, tx *database.Tx, c workflow.Call) (at time.Time, found bool, err error) {
	err = tx.Query(ctx, selectLease, []any{c.Run.Tenant, c.Run.ID, c.Step.ID}, func(scan func(...any) error) error {
		var t database.Time
		err := scan(&t)
		at, found = t.Std(), true
		return err
	})
	return at, found, err
}

// recordContact stores that the placement was spoken to just now, unless that is stored already.
func (s *Service) recordContact(ctx context.Context, c workflow.Call) (at time.Time, err error) {
	err = s.db.Write(ctx, database.Tenant(c.Run.Tenant), func(ctx context.Context, tx *database.Tx) error {
		if err := epoch.Fence(ctx, tx, c.Epoch); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, insertLease, c.Run.Tenant, c.Run.ID, c.Step.ID, database.Time(tx.Now())); err != nil {
			return err
		}
		at, _, err = readContact(ctx, tx, c)
		return err
	})
	return at, err
}

// waitOut waits until the lease has ended since at.
func (s *Service) waitOut(ctx context.Context, lease time.Duration, at time.Time, err error) (workflow.Outcome, error) {
	if err != nil {
		return workflow.Outcome{}, err
	}
	left := at.Add(lease).Sub(s.now())
	timer := time.NewTimer(max(0, min(left, lease))) // never longer, wherever the clock of the leader before stood
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return workflow.Outcome{}, ctx.Err()
	case <-timer.C:
	}
	return workflow.Outcome{
		Message: fmt.Sprintf("it could not be fenced; its lease of %s was waited out since it was last spoken to, at %s",
			omni.Duration(lease), at.UTC().Format(time.RFC3339)),
	}, nil
}

func (s *Service) fenced(ctx context.Context, tx *database.Tx, c workflow.Call, _ workflow.Outcome) error {
	in, err := s.inputOf(c.Run)
	if err != nil {
		return err
	}
	return s.setRole(as(ctx), tx, c, in.From, infra.Fenced)
}

// unfence makes the old placement serve again. In a rollback the new one was demoted before, since that is done in reverse.
func (s *Service) unfence(ctx context.Context, c workflow.Call) error {
	in, err := s.info(ctx, c.Run)
	if err != nil {
		return err
	}
	order, err := s.instruct(ctx, c, in.From, ".undo", provider.Promote)
	if err != nil {
		return err
	}
	_, err = order.carryOut(ctx, c.Repeat)
	return err
}

// unfenced gives the old placement its role back, and DNS its old answer if that had moved.
func (s *Service) unfenced(ctx context.Context, tx *database.Tx, c workflow.Call) error {
	in, err := s.inputOf(c.Run)
	if err != nil {
		return err
	}
	ctx = as(ctx)
	if err := s.infra.SetRole(ctx, tx, c.Run.Tenant, c.Step.Lane, in.From, infra.Active, c.Run.ID, c.Epoch); err != nil {
		return err
	}
	_, err = s.opts.DNS.Switch(ctx, tx, c.Run.Tenant, []string{c.Step.Lane}, c.Run.ID, c.Epoch)
	return err
}

// demote takes a promotion back: where the driver cannot demote, fencing or stopping keeps two from serving as well.
func (s *Service) demote(ctx context.Context, c workflow.Call) error {
	in, err := s.info(ctx, c.Run)
	if err != nil {
		return err
	}
	for _, action := range []provider.Action{provider.Demote, provider.Fence, provider.Stop} {
		order, err := s.instruct(ctx, c, in.To, ".undo", action)
		if err != nil {
			return err
		}
		out, err := order.carryOut(ctx, c.Repeat)
		if err != nil || !out.Skipped {
			return err
		}
		if action == provider.Stop && stateful(order.call.Target.Type) {
			return workflow.Permanent(omni.Errorf(omni.CodeRefused, "nothing keeps it from taking writes beside the old one: %s", out.Message).
				WithHint("stop it by hand, then resume"))
		}
	}
	return nil
}

func (s *Service) demoted(ctx context.Context, tx *database.Tx, c workflow.Call) error {
	in, err := s.inputOf(c.Run)
	if err != nil {
		return err
	}
	return s.infra.SetRole(as(ctx), tx, c.Run.Tenant, c.Step.Lane, in.To, infra.Standby, c.Run.ID, c.Epoch)
}
