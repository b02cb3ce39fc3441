package failover

import (
	"context"
	"fmt"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
)

// Approve lets a run that awaits approval begin. CodeStale when its plan is no longer what would be planned now.
func (s *Service) Approve(ctx context.Context, tenant, id, reason string) (Run, error) {
	run, err := s.Run(ctx, tenant, id)
	if err != nil {
		return Run{}, err
	}
	var w World
	if run.Status == AwaitingApproval { // else it is refused anyway
		if w, err = s.survey(ctx, run.Tenant); err != nil {
			return Run{}, err
		}
	}
	return s.control(ctx, run.Tenant, id, "approve", reason, func(ctx context.Context, tx *database.Tx, id string) error {
		if err := workflow.Approve(ctx, tx, id); err != nil {
			return err
		}
		return s.stillTrue(ctx, tx, w, run)
	})
}

// stillTrue makes the plan of a run that has not begun anew, and refuses one that says something else. w brings along the records and what
// the probes have said. Drivers are not asked, since a plan's hash does not cover what they say; the run's guards ask them.
func (s *Service) stillTrue(ctx context.Context, tx *database.Tx, w World, run Run) error {
	now, err := s.snapshot(ctx, tx, run.Tenant)
	if err != nil {
		return err
	}
	now.Health, now.Records, now.Alive = w.Health, w.Records, "" // the run that is alive is this one
	plan, err := MakePlan(now, Request{
		Tenant: run.Tenant, Kind: run.Kind, From: run.From, To: run.To, Mode: run.Mode, Reason: run.Reason, byPolicy: run.Trigger == "policy",
	})
	why := "its resources, placements, policy or DNS records, or the cordon of a region, have changed since it was made"
	switch {
	case err != nil:
		why = err.Error()
	case plan.Hash == run.PlanHash:
		return nil
	}
	return omni.Errorf(omni.CodeStale, "the plan of the run %s is no longer true: %s", run.ID, why).
		WithHint("abort the run (omnictl failover abort %s) and trigger a new one", run.ID)
}

// withdraw aborts the runs by policy that still await approval although the region that they were to leave has been up for the trigger's
// window: they would keep the tenant from what it needs next. How long is counted by this leader alone.
func (c *controller) withdraw(ctx context.Context, v view) error {
	calm := map[string]time.Time{}
	defer func() { c.calm = calm }()
	for _, run := range v.alive {
		if run.Trigger != "policy" || run.Status != AwaitingApproval {
			continue
		}
		trigger, up := c.upAgain(v, run)
		if !up {
			continue
		}
		since, known := c.calm[run.ID]
		if !known {
			since = v.now
		}
		calm[run.ID] = since
		if v.now.Sub(since) < trigger.Window.Std() {
			continue
		}
		reason := fmt.Sprintf("%s has been up again for %s, and nobody has approved the run", run.From, trigger.Window)
		if err := c.withdrawOne(ctx, run, reason); err != nil {
			return err
		}
	}
	return nil
}

// upAgain says whether the region that a failover is to leave is up by the tenant's trigger, which comes along.
func (c *controller) upAgain(v view, run Run) (t Trigger, up bool) {
	if run.Kind != KindFailover {
		return t, false
	}
	for _, p := range v.policies {
		if p.Tenant == run.Tenant {
			t = p.Spec.Trigger
		}
	}
	t = t.WithDefaults()
	for _, r := range v.regions {
		if r.Name == run.From {
			return t, c.judged(v, r, t).Health == Up
		}
	}
	return t, false
}

func (c *controller) withdrawOne(ctx context.Context, run Run, reason string) error {
	err := c.write(ctx, func(ctx context.Context, tx *database.Tx) error {
		err := c.s.controlIn(ctx, tx, run.Tenant, run.ID, "abort", reason, func(ctx context.Context, tx *database.Tx, id string) error {
			if err := workflow.Approve(ctx, tx, id); err != nil { // which only a run can be that awaits it still
				return err
			}
			return workflow.Abort(ctx, tx, id)
		})
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, withdrawRun, run.Tenant, run.ID)
		return err
	})
	if omni.Is(err, omni.CodeRefused) {
		return nil // somebody has decided about it meanwhile
	}
	return err
}
