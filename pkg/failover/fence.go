package failover

import (
	"context"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
	"github.com/omnicloud/omnicloud/pkg/provider"
)

// fence keeps the old placement from serving. A planned move falls back on asking it to step down. In a forced move, one that cannot
// be fenced but has a lease is as good as fenced once the lease has run out since it was last spoken to; see lease.go. One that holds
// data and that nothing of this keeps from writing holds the run, unless somebody has forced it with a reason.
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
		if last, found, err := s.contact(ctx, c); err != nil || found {
			return s.waitOut(ctx, c, p.Lease.Std(), last, err)
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
		last, err := s.recordContact(ctx, c)
		return s.waitOut(ctx, c, p.Lease.Std(), last, err)
	}
	if err == nil && out.Skipped && stateful(order.call.Target.Type) && !in.IgnoreLag {
		return workflow.Outcome{}, workflow.Permanent(omni.Errorf(omni.CodeRefused,
			"nothing keeps it from taking writes beside the new one: %s, and it has no lease to wait out", out.Message).
			WithHint("stop it by hand and resume; or abort, and give the placement a lease or force the move with a reason"))
	}
	return out, err
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
