package failover

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
)

// The types of the events about runs.
const (
	EventRunChanged  = "omni.failover.run.changed"  // data: Run without its steps
	EventStepChanged = "omni.failover.step.changed" // data: {run, step}
	EventBlocked     = "omni.failover.blocked"      // data: Blocked
	EventVerdict     = "omni.region.verdict"        // data: Verdict
)

// PlanFor says what the move would do now. Nothing is done.
func (s *Service) PlanFor(ctx context.Context, r Request) (Plan, error) {
	if err := s.checkRequest(ctx, r); err != nil {
		return Plan{}, err
	}
	w, err := s.world(ctx, r)
	if err != nil {
		return Plan{}, err
	}
	return MakePlan(w, r)
}

func (s *Service) checkRequest(ctx context.Context, r Request) error {
	if err := omni.CheckName("tenant", r.Tenant); err != nil {
		return err
	}
	if len(r.Reason) > maxReason {
		return invalid("reason", "must be at most %d bytes, not %d", maxReason, len(r.Reason))
	}
	if r.MaxLag.Std() < 0 || r.MaxLag.Std() > maxCooldown {
		return invalid("max_lag", "must be 0s to %s, not %s", omni.Duration(maxCooldown), r.MaxLag)
	}
	known, err := s.opts.Tenants.Exists(ctx, r.Tenant)
	if err == nil && !known {
		err = omni.Errorf(omni.CodeNotFound, "there is no tenant %q", r.Tenant)
	}
	return err
}

// Trigger makes a run, by hand. It is refused with the reason: CodeNotFound for an unknown tenant or region, CodeRefused for a
// missing confirmation or a guard, CodeConflict while another run of the tenant is alive, CodeStale when the plan that was looked
// at is no longer true. Frozen automation does not keep people from it. A dry run answers the run without an id.
func (s *Service) Trigger(ctx context.Context, t TriggerRequest) (Run, error) {
	r := t.Request()
	if err := s.checkRequest(ctx, r); err != nil {
		return Run{}, err
	}
	if !t.DryRun && t.Confirm != t.Tenant {
		return Run{}, omni.Errorf(omni.CodeRefused, "confirm: this moves all of %s; it must be %q, not %q", t.Tenant, t.Tenant, clip(t.Confirm)).
			WithHint("repeat the tenant's name in confirm (omnictl: --confirm %s)", t.Tenant)
	}
	w, err := s.world(ctx, r)
	if err != nil {
		return Run{}, err
	}
	plan, err := acceptable(w, r, t.PlanHash)
	if err != nil {
		return Run{}, err
	}
	run := newRun(ctx, w, plan, r)
	if t.DryRun {
		return run, nil
	}
	err = s.db.Write(ctx, database.Tenant(r.Tenant), func(ctx context.Context, tx *database.Tx) error {
		run, err = s.create(ctx, tx, w, r, plan.Hash, nil)
		return err
	})
	if err != nil {
		return Run{}, err
	}
	return s.Run(ctx, r.Tenant, run.ID)
}

// acceptable makes the plan and gives what speaks against carrying it out. That another run is alive comes first, since that
// run changes the world; then that the plan has changed; then what the guards have.
func acceptable(w World, r Request, hash string) (Plan, error) {
	plan, err := MakePlan(w, r)
	if w.Alive != "" {
		return plan, omni.Errorf(omni.CodeConflict, "the run %s of %s is alive", w.Alive, r.Tenant).
			WithHint("wait for it to end (omnictl failover watch %s), or abort it", w.Alive)
	}
	if err != nil {
		return plan, err
	}
	if hash != "" && hash != plan.Hash {
		return plan, omni.Errorf(omni.CodeStale, "the plan is no longer true: the world has changed since it was made").
			WithHint("look at the new plan, and trigger that one: %s", plan.Hash)
	}
	if len(plan.RefusedBy) > 0 {
		return plan, plan.RefusedBy[0].Err()
	}
	return plan, nil
}

// create stores a run for the plan that has this hash, if that is still what the database says. evidence is given when
// a policy triggers it. w brings along what the drivers and probes have said.
func (s *Service) create(ctx context.Context, tx *database.Tx, w World, r Request, hash string, evidence *Verdict) (Run, error) {
	if err := s.hold(ctx, tx, r.Tenant); err != nil {
		return Run{}, err
	}
	now, err := s.snapshot(ctx, tx, r.Tenant)
	if err != nil {
		return Run{}, err
	}
	now.Health, now.Placements, now.Records = w.Health, w.Placements, w.Records
	plan, err := acceptable(now, r, hash)
	if err != nil {
		return Run{}, err
	}
	run := newRun(ctx, now, plan, r)
	run.ID, run.InitiatedAt, run.Status, run.Version = omni.NewID("run", tx.Now()), tx.Now(), Running, 1
	if evidence != nil {
		run.Trigger, run.Evidence = "policy", evidence
		if now.Policy != nil && now.Policy.Spec.WithDefaults().Approval == Manual {
			run.Status = AwaitingApproval
		}
	}
	if err := s.insert(ctx, tx, now, run, plan, r); err != nil {
		return Run{}, err
	}
	return run, s.reportCreated(ctx, tx, run, plan)
}

func (s *Service) insert(ctx context.Context, tx *database.Tx, w World, run Run, plan Plan, r Request) error {
	spec, err := s.spec(w, run, plan, r)
	if err != nil {
		return err
	}
	if err := workflow.Create(ctx, tx, spec); err != nil {
		return err
	}
	evidence := ""
	if run.Evidence != nil {
		if evidence, err = encode(run.Evidence); err != nil {
			return err
		}
	}
	plan.Steps = nil // the run has them
	kept, err := encode(plan)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, insertRun, run.Tenant, run.ID, string(run.Kind), run.From, run.To, string(run.Mode), run.Trigger, run.Reason,
		run.PlanHash, kept, evidence, run.InitiatedBy, database.Time(run.InitiatedAt), string(run.Status))
	return err
}

// spec is the run as the engine takes it.
func (s *Service) spec(w World, run Run, plan Plan, r Request) (workflow.Spec, error) {
	input, err := json.Marshal(runInput{
		From: run.From, To: run.To, Mode: run.Mode, Levels: plan.Levels, InitiatedAt: run.InitiatedAt,
		MaxLag: omni.Duration(w.maxLag(r)), IgnoreLag: run.Mode == Forced && r.Reason != "" && !r.byPolicy, AliveUntil: w.aliveUntil(run),
	})
	if err != nil {
		return workflow.Spec{}, fmt.Errorf("the input of run %s: %w", run.ID, err)
	}
	leases := map[string]time.Duration{}
	for _, res := range w.Resources {
		if p, ok := res.Placement(run.From); ok {
			leases[res.Name] = p.Lease.Std()
		}
	}
	steps := make([]workflow.StepSpec, 0, len(plan.Steps))
	for _, step := range plan.Steps {
		steps = append(steps, s.stepSpec(step, leases[step.Resource]))
	}
	return workflow.Spec{
		ID: run.ID, Kind: workflowKind, Tenant: run.Tenant, Key: key(run.Tenant), Input: input, Steps: steps,
		OnFailure: string(w.onFailure(run.Mode, run.From)), Parallel: s.opts.Parallel, AwaitApproval: run.Status == AwaitingApproval,
	}, nil
}

// guardFor bounds a guard: its checks of up to a thousand placements are bounded each.
const guardFor = 2 * time.Minute

// attempts is how often a step is tried that stands between a tenant and being served again: what it asks of a placement in the middle of
// an outage may well be answered a little later. The others are tried as often as the engine does.
const attempts = 6

// phases is how many levels of the engine make one of a plan: its guard must end before its other steps begin.
const phases = 2

func (s *Service) stepSpec(step PlanStep, lease time.Duration) workflow.StepSpec {
	spec := workflow.StepSpec{
		ID: step.ID, Lane: step.Resource, Action: string(step.Action), Level: step.Level*phases + 1,
		Seq: slices.Index([]Action{ActionFence, ActionPromote, ActionVerify, ActionRoute}, step.Action) + 1,
	}
	if step.PredictedMS != nil {
		spec.Predicted = max(time.Duration(*step.PredictedMS)*time.Millisecond, time.Microsecond) // 0 would mean that it is not known
	}
	switch step.Action {
	case ActionFence, ActionPromote, ActionVerify:
		spec.MaxAttempts = attempts
	default:
	}
	// Each call to a driver ends at its placement's own timeout, an hour at most; a step asks first, and then does.
	const driver = 2*time.Hour + time.Minute
	switch step.Action {
	case ActionGuard:
		spec.Level--
		spec.Timeout = guardFor
	case ActionFence:
		spec.Timeout = driver + lease
	case ActionPromote, ActionRelease:
		spec.Timeout = driver + s.opts.CatchUpFor
	case ActionVerify:
		spec.Timeout = driver + s.opts.VerifyFor
	case ActionMeter:
		spec.Timeout = time.Minute + s.opts.MeterFor
	case ActionRoute, ActionDNS:
		spec.Timeout = time.Minute
	}
	spec.Timeout = min(spec.Timeout, workflow.MaxTimeout)
	return spec
}

// newRun is the run that a plan would become.
func newRun(ctx context.Context, w World, plan Plan, r Request) Run {
	run := Run{
		Tenant: plan.Tenant, Kind: plan.Kind, From: plan.From, To: plan.To, Mode: plan.Mode, Trigger: "manual", PlanHash: plan.Hash,
		Reason: r.Reason, InitiatedBy: omni.RequestFrom(ctx).Identity.Actor, InitiatedAt: w.Now, Steps: make([]Step, 0, len(plan.Steps)),
	}
	for _, p := range plan.Steps {
		run.Steps = append(run.Steps, Step{
			ID: p.ID, Resource: p.Resource, Action: p.Action, Level: p.Level, Status: StepPending, PredictedMS: p.PredictedMS,
		})
	}
	return run
}

// reportCreated writes the audit records of a new run: that it was triggered, with its evidence and what it risks, and one for each
// resource that it will move.
func (s *Service) reportCreated(ctx context.Context, tx *database.Tx, run Run, plan Plan) error {
	detail := map[string]any{
		"kind": run.Kind, "from": run.From, "to": run.To, "mode": run.Mode, "trigger": run.Trigger, "plan_hash": run.PlanHash,
		"status": run.Status, "levels": len(plan.Levels), "at_risk": plan.AtRisk[:min(len(plan.AtRisk), 20)],
		"warnings": plan.Warnings[:min(len(plan.Warnings), 20)],
	}
	if run.Evidence != nil {
		detail["evidence"] = run.Evidence
	}
	err := events.Audit(ctx, tx, omni.AuditRecord{
		Tenant: run.Tenant, Action: string(run.Kind) + ".trigger", Object: "failover/" + run.ID, Reason: run.Reason, Detail: detail,
	})
	if err != nil {
		return err
	}
	return appendRun(ctx, tx, run)
}

func appendRun(ctx context.Context, tx *database.Tx, run Run) error {
	run.Steps = []Step{}
	return events.Append(ctx, tx, events.New(EventRunChanged, "failover/"+run.ID, run.Tenant, run))
}

// runInput is what the steps of a run need to know of it.
type runInput struct {
	From        string        `json:"from"`
	To          string        `json:"to"`
	Mode        Mode          `json:"mode"`
	Levels      [][]string    `json:"levels"`
	MaxLag      omni.Duration `json:"max_lag"`
	IgnoreLag   bool          `json:"ignore_lag"`
	InitiatedAt time.Time     `json:"initiated_at"`
	AliveUntil  *time.Time    `json:"alive_until,omitempty"` // of a forced run: when its source was last seen alive
}

// silence is for how long the source has not been seen alive; see World.silence.
func (in runInput) silence(now time.Time) time.Duration {
	if in.AliveUntil == nil {
		return 0
	}
	return max(0, now.Sub(*in.AliveUntil))
}

// resources lists all that move.
func (in runInput) resources() []string {
	var all []string
	for _, level := range in.Levels {
		all = append(all, level...)
	}
	return all
}
