package failover

import (
	"context"
	"fmt"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
)

// In a run that continues after failures, the engine goes on with everything that does not stand behind the failed step in its
// lane. Two things must not follow: a resource whose guard has failed, or whose standby did not catch up, must stay where it
// is; and the old placement of a resource that has not moved must not be let go, since it is the only one.

// mayMove refuses to fence a resource for a level whose guard has failed, or whose placement in the target has not rejoined.
func (s *Service) mayMove(ctx context.Context, c workflow.Call) error {
	if c.Run.OnFailure != workflow.OnFailureContinue {
		return nil // the run would not have come here
	}
	guard := fmt.Sprintf("%d.%s", c.Step.Level/phases, ActionGuard)
	rejoin := fmt.Sprintf("0.%s.%s", c.Step.Lane, ActionRelease)
	return s.db.Read(ctx, database.Tenant(c.Run.Tenant), func(ctx context.Context, tx *database.Tx) error {
		for _, step := range []string{guard, rejoin} {
			status, err := workflow.StepStatus(ctx, tx, c.Run.Tenant, c.Run.ID, step)
			switch {
			case omni.Is(err, omni.CodeNotFound):
			case err != nil:
				return err
			case status == workflow.Failed:
				return workflow.Permanent(omni.Errorf(omni.CodeRefused, "it stays where it is: step %s has failed", step))
			}
		}
		return nil
	})
}

// stays is the result of releasing a placement that must not be let go.
type stays struct {
	Stays bool `json:"stays"`
}

// hasMoved says whether the step's resource is active in the region to by now.
func (s *Service) hasMoved(ctx context.Context, c workflow.Call, to string) (moved bool, err error) {
	if c.Run.OnFailure != workflow.OnFailureContinue {
		return true, nil // the run would not have come here
	}
	err = s.db.Read(ctx, database.Tenant(c.Run.Tenant), func(ctx context.Context, tx *database.Tx) error {
		r, err := s.infra.Resource(ctx, tx, c.Run.Tenant, c.Step.Lane)
		active, _ := r.Active()
		moved = active.Region == to
		return err
	})
	return moved, err
}
