package failover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
	"github.com/omnicloud/omnicloud/pkg/provider"
)

// kind tells the engine what each action does. Roles move in the commits, so that a role in the database is what a step that counts
// as done has made of the placement.
func (s *Service) kind() workflow.Kind {
	return workflow.Kind{
		Actions: map[string]workflow.Action{
			string(ActionGuard):   {Do: s.guard},
			string(ActionFence):   {Do: s.fence, Commit: s.fenced, Undo: s.unfence, UndoCommit: s.unfenced},
			string(ActionPromote): {Do: s.promote, Commit: s.promoted, Undo: s.demote, UndoCommit: s.demoted},
			string(ActionVerify):  {Do: s.verify},
			string(ActionRoute):   {Commit: s.routed, UndoCommit: s.unrouted},
			string(ActionDNS):     {Do: s.switchDNS, Commit: s.switched},
			string(ActionMeter):   {Do: s.meter},
			string(ActionRelease): {Do: s.release, Commit: s.released},
		},
		Hooks: workflow.Hooks{OnRun: s.onRun, OnStep: s.onStep},
	}
}

// as gives the context of what the service does by itself, keeping the request's id and trace.
func as(ctx context.Context) context.Context {
	req := omni.RequestFrom(ctx)
	req.Identity = omni.System("failover")
	return omni.WithRequest(ctx, req)
}

// instruction is one order to the driver of a placement.
type instruction struct {
	driver provider.Driver
	call   provider.Call
}

// instruct prepares an instruction for the placement of the step's resource in region. suffix tells apart the idempotency keys of
// several instructions of one step.
func (s *Service) instruct(ctx context.Context, c workflow.Call, region, suffix string, action provider.Action) (instruction, error) {
	in, err := s.info(ctx, c.Run)
	if err != nil {
		return instruction{}, err
	}
	r, p, err := in.placement(c.Step.Lane, region)
	if err != nil {
		return instruction{}, err
	}
	driver, err := s.opts.Drivers.Driver(p.Driver)
	if err != nil {
		return instruction{}, workflow.Permanent(err)
	}
	return instruction{driver, provider.Call{
		Target: target(r, p), Action: action, Role: provider.RoleAfter(action),
		Run: c.Run.ID, Step: c.Step.ID + suffix, Epoch: c.Epoch,
	}}, nil
}

// check asks the placement how it is.
func (i instruction) check(ctx context.Context) (provider.State, error) {
	call := i.call
	call.Action = provider.Check
	state, err := i.driver.Check(ctx, call)
	return state, final(err)
}

// carryOut does the instruction. Where an earlier attempt may have had its effect, it looks first and does not repeat what it
// sees done. An action that the driver does not know is skipped, and said.
func (i instruction) carryOut(ctx context.Context, repeat bool) (workflow.Outcome, error) {
	if repeat {
		state, err := i.check(ctx)
		if workflow.IsPermanent(err) {
			return workflow.Outcome{}, err
		}
		if err == nil && achieved(i.call.Action, state) {
			return workflow.Outcome{Message: "an earlier attempt has done it: it is " + state.Role}, nil
		}
	}
	err := i.driver.Do(ctx, i.call)
	if errors.Is(err, provider.ErrNotSupported) {
		return workflow.Outcome{Skipped: true, Message: fmt.Sprintf("the driver does not support %s here", i.call.Action)}, nil
	}
	return workflow.Outcome{}, final(err)
}

// final marks an error that no repeat by this leader can cure.
func final(err error) error {
	if errors.Is(err, provider.ErrStaleEpoch) {
		return workflow.Permanent(omni.Errorf(omni.CodeStale, "the placement has seen a newer leader: %w", err))
	}
	return err
}

// achieved says whether a state shows that the action has had its effect. A placement is fenced once it cannot serve.
func achieved(action provider.Action, state provider.State) bool {
	if action == provider.Fence {
		return state.Role == provider.RoleFenced || state.Role == provider.RoleStopped || state.Role == provider.RoleStandby
	}
	return state.Role != "" && state.Role == provider.RoleAfter(action)
}

func (s *Service) promote(ctx context.Context, c workflow.Call) (workflow.Outcome, error) {
	in, err := s.info(ctx, c.Run)
	if err != nil {
		return workflow.Outcome{}, err
	}
	order, err := s.instruct(ctx, c, in.To, "", provider.Promote)
	if err != nil {
		return workflow.Outcome{}, err
	}
	if in.Mode == Planned && stateful(order.call.Target.Type) {
		if err := s.catchUp(ctx, order, in.MaxLag.Std(), provider.RoleActive); err != nil {
			return workflow.Outcome{}, err
		}
	}
	return order.carryOut(ctx, c.Repeat)
}

// catchUp waits until a standby lacks nothing: no byte where the driver counts them, else no more seconds than the bound. A
// placement that has taken the role done, or whose driver has no check, is not waited for.
func (s *Service) catchUp(ctx context.Context, order instruction, bound time.Duration, done string) error {
	return poll(ctx, s.opts.CatchUpFor, func(ctx context.Context) error {
		state, err := order.check(ctx)
		switch {
		case errors.Is(err, provider.ErrNotSupported):
			return nil
		case err != nil:
			return err
		case state.Role == done && done != "":
			return nil
		case state.LagBytes != nil && *state.LagBytes > 0:
			return omni.Errorf(omni.CodeUnavailable, "it is still %d bytes behind", *state.LagBytes)
		case state.LagBytes == nil && behind(state.LagSeconds, bound):
			return omni.Errorf(omni.CodeUnavailable, "it is still %.1fs behind", *state.LagSeconds)
		}
		return nil
	})
}

// promoted is the commit of a promotion, and the audit record of the resource that it moved.
func (s *Service) promoted(ctx context.Context, tx *database.Tx, c workflow.Call, _ workflow.Outcome) error {
	in, err := s.inputOf(c.Run)
	if err != nil {
		return err
	}
	ctx = as(ctx)
	if err := s.setRole(ctx, tx, c, in.To, infra.Active); err != nil {
		return err
	}
	return events.Audit(ctx, tx, omni.AuditRecord{
		Tenant: c.Run.Tenant, Action: "resource.move", Object: "resource/" + c.Step.Lane,
		Detail: map[string]any{"run": c.Run.ID, "from": in.From, "to": in.To, "mode": in.Mode},
	})
}

// setRole gives the placement in region its role in a checkpoint, together with the other checkpoints of the transaction.
func (s *Service) setRole(ctx context.Context, tx *database.Tx, c workflow.Call, region string, role infra.Role) error {
	if in := s.cache.get(c.Run.ID); in != nil {
		if r, ok := in.resources[c.Step.Lane]; ok {
			return s.infra.MoveLater(ctx, tx, infra.Move{
				Tenant: c.Run.Tenant, Resource: c.Step.Lane, Type: r.Type, Region: region, Role: role, Run: c.Run.ID, Epoch: c.Epoch,
			})
		}
	}
	return s.infra.SetRole(ctx, tx, c.Run.Tenant, c.Step.Lane, region, role, c.Run.ID, c.Epoch)
}

func (s *Service) verify(ctx context.Context, c workflow.Call) (workflow.Outcome, error) {
	in, err := s.info(ctx, c.Run)
	if err != nil {
		return workflow.Outcome{}, err
	}
	order, err := s.instruct(ctx, c, in.To, "", provider.Check)
	if err != nil {
		return workflow.Outcome{}, err
	}
	var out workflow.Outcome
	err = poll(ctx, s.opts.VerifyFor, func(ctx context.Context) error {
		state, err := order.check(ctx)
		switch {
		case errors.Is(err, provider.ErrNotSupported):
			out = workflow.Outcome{Skipped: true, Message: "the driver has no check"}
			return nil
		case err != nil:
			return err
		case state.Role != "" && state.Role != provider.RoleActive:
			return omni.Errorf(omni.CodeUnavailable, "it is %s, not active", state.Role)
		case !state.Healthy:
			return omni.Errorf(omni.CodeUnavailable, "it is active, but not healthy%s", because(state.Message))
		}
		out.Message = state.Message
		return nil
	})
	return out, err
}

func (s *Service) routed(ctx context.Context, tx *database.Tx, c workflow.Call, _ workflow.Outcome) error {
	in, err := s.inputOf(c.Run)
	if err != nil {
		return err
	}
	return s.infra.ServeLater(as(ctx), tx, c.Run.Tenant, c.Step.Lane, in.To, c.Run.ID)
}

func (s *Service) unrouted(ctx context.Context, tx *database.Tx, c workflow.Call) error {
	in, err := s.inputOf(c.Run)
	if err != nil {
		return err
	}
	return s.infra.SetServing(as(ctx), tx, c.Run.Tenant, c.Step.Lane, in.From, c.Run.ID)
}

// release makes a placement a standby: at level 0 the one in the target, which then catches up, at the end the one that was left.
func (s *Service) release(ctx context.Context, c workflow.Call) (workflow.Outcome, error) {
	in, err := s.info(ctx, c.Run)
	if err != nil {
		return workflow.Outcome{}, err
	}
	region, rejoins := in.releases(c.Step)
	if !rejoins {
		if moved, err := s.hasMoved(ctx, c, in.To); err != nil || !moved {
			return workflow.Outcome{Skipped: true, Message: "it has not moved: its placement in " + region + " stays as it is", Result: stays{true}}, err
		}
	}
	order, err := s.instruct(ctx, c, region, "", provider.Demote)
	if err != nil {
		return workflow.Outcome{}, err
	}
	state, err := order.check(ctx)
	if workflow.IsPermanent(err) {
		return workflow.Outcome{}, err
	}
	if err == nil && state.Role == provider.RoleStopped {
		start := order
		start.call.Action, start.call.Role, start.call.Step = provider.Start, "", c.Step.ID+".start"
		if _, err := start.carryOut(ctx, false); err != nil {
			return workflow.Outcome{}, err
		}
	}
	out, err := order.carryOut(ctx, c.Repeat)
	if err != nil || !rejoins || out.Skipped {
		return out, err
	}
	return out, s.catchUp(ctx, order, in.MaxLag.Std(), "")
}

// releases says which placement a release step is about, and whether it is to catch up.
func (in runInput) releases(step workflow.Step) (region string, rejoins bool) {
	if step.Level/phases == 0 {
		return in.To, true
	}
	return in.From, false
}

func (s *Service) released(ctx context.Context, tx *database.Tx, c workflow.Call, o workflow.Outcome) error {
	if _, stays := o.Result.(stays); stays {
		return nil
	}
	in, err := s.inputOf(c.Run)
	if err != nil {
		return err
	}
	region, _ := in.releases(c.Step)
	return s.setRole(as(ctx), tx, c, region, infra.Standby)
}

// poll asks until attempt is content, ctx ends or the time is up; then it gives the last complaint. What is permanent ends it.
func poll(ctx context.Context, limit time.Duration, attempt func(context.Context) error) error {
	inner, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	pause := 20 * time.Millisecond
	timer := time.NewTimer(pause)
	defer timer.Stop()
	var last error
	for {
		err := attempt(inner)
		if err == nil || workflow.IsPermanent(err) {
			return err
		}
		if last == nil || inner.Err() == nil { // an answer cut off by the limit says less than the one before
			last = err
		}
		timer.Reset(pause)
		select {
		case <-inner.Done():
			return last
		case <-timer.C:
		}
		pause = min(2*pause, time.Second)
	}
}
