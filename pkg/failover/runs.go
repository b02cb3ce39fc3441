package failover

import (
	"context"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
)

// Run gives a run with its steps. tenant "" looks at every tenant's; CodeNotFound when there is none of that id.
func (s *Service) Run(ctx context.Context, tenant, id string) (Run, error) {
	var run Run
	err := s.db.Read(ctx, scope(tenant), func(ctx context.Context, tx *database.Tx) (err error) {
		run, err = getRun(ctx, tx, tenant, id)
		if err != nil {
			return err
		}
		w, err := workflow.Get(ctx, tx, id)
		if err != nil {
			return err
		}
		run.Steps = make([]Step, 0, len(w.Steps))
		for _, step := range w.Steps {
			run.Steps = append(run.Steps, stepOf(step))
		}
		return nil
	})
	return run, err
}

func scope(tenant string) database.Scope {
	if tenant == "" {
		return database.Platform()
	}
	return database.Tenant(tenant)
}

func getRun(ctx context.Context, tx *database.Tx, tenant, id string) (Run, error) {
	list, err := queryRuns(ctx, tx, selectRun, id, tenant)
	if err == nil && len(list) == 0 {
		err = omni.Errorf(omni.CodeNotFound, "there is no run %q", clip(id))
	}
	if err != nil {
		return Run{}, err
	}
	return list[0], nil
}

// Runs gives a page of runs without their steps, newest first; tenant and status may be "" for all.
func (s *Service) Runs(ctx context.Context, tenant string, status Status, req omni.PageRequest) (omni.Page[Run], error) {
	page := omni.Page[Run]{Items: []Run{}}
	err := s.db.Read(ctx, scope(tenant), func(ctx context.Context, tx *database.Tx) error {
		list, err := queryRuns(ctx, tx, selectRuns, tenant, string(status), req.After, req.Size()+1)
		if len(list) > req.Size() {
			list = list[:req.Size()]
			page.Next = list[len(list)-1].ID
		}
		page.Items = list
		return err
	})
	return page, err
}

// Alive gives the id of the tenant's run that is not over, "" when there is none.
func (s *Service) Alive(ctx context.Context, tenant string) (id string, err error) {
	err = s.db.Read(ctx, database.Tenant(tenant), func(ctx context.Context, tx *database.Tx) (err error) {
		id, err = s.Busy(ctx, tx, tenant)
		return err
	})
	return id, err
}

// Busy is Alive in a transaction of the caller's, on the same database.
func (s *Service) Busy(ctx context.Context, tx *database.Tx, tenant string) (id string, err error) {
	err = tx.Query(ctx, aliveRun, []any{tenant}, func(scan func(...any) error) error { return scan(&id) })
	return id, err
}

// Pause keeps further steps of a run from beginning; those at work come to their end.
func (s *Service) Pause(ctx context.Context, tenant, id, reason string) (Run, error) {
	return s.control(ctx, tenant, id, "pause", reason, workflow.Pause)
}

// Resume lets a paused run go on; failed steps are tried anew.
func (s *Service) Resume(ctx context.Context, tenant, id, reason string) (Run, error) {
	return s.control(ctx, tenant, id, "resume", reason, workflow.Resume)
}

// Abort ends a run where it is; nothing is undone. Steps at work come to their end first, and the run is running until then.
func (s *Service) Abort(ctx context.Context, tenant, id, reason string) (Run, error) {
	return s.control(ctx, tenant, id, "abort", reason, workflow.Abort)
}

// control does what a human decides about a run, with its audit record and event. CodeRefused names the state that forbids it.
func (s *Service) control(ctx context.Context, tenant, id, verb, reason string,
	do func(context.Context, *database.Tx, string) error,
) (Run, error) {
	if len(reason) > maxReason {
		return Run{}, invalid("reason", "must be at most %d bytes, not %d", maxReason, len(reason))
	}
	err := s.db.Write(ctx, scope(tenant), func(ctx context.Context, tx *database.Tx) error {
		return s.controlIn(ctx, tx, tenant, id, verb, reason, do)
	})
	if err != nil {
		return Run{}, err
	}
	return s.Run(ctx, tenant, id)
}

func (s *Service) controlIn(ctx context.Context, tx *database.Tx, tenant, id, verb, reason string,
	do func(context.Context, *database.Tx, string) error,
) error {
	run, err := getRun(ctx, tx, tenant, id)
	if err != nil {
		return err
	}
	if err := do(ctx, tx, id); err != nil {
		return err
	}
	w, err := workflow.Get(ctx, tx, id)
	if err != nil {
		return err
	}
	now, err := mirror(ctx, tx, run, w)
	if err != nil {
		return err
	}
	err = events.Audit(ctx, tx, omni.AuditRecord{
		Tenant: run.Tenant, Action: string(run.Kind) + "." + verb, Object: "failover/" + id, Reason: reason,
		Detail: map[string]any{"from_status": run.Status, "to_status": now.Status, "aborting": w.Aborting()},
	})
	if err != nil {
		return err
	}
	tx.AfterCommit(func() { s.forget(now) }) // whoever resumes may have mended a placement's config
	return appendRun(ctx, tx, now)
}

// forget drops what is kept in memory of a run that has changed.
func (s *Service) forget(run Run) {
	s.cache.drop(run.ID)
	if !run.Status.Alive() {
		s.looks.drop(run.ID)
	}
}

// mirror writes where the engine's run stands into ours.
func mirror(ctx context.Context, tx *database.Tx, run Run, w workflow.Run) (Run, error) {
	run.Status, run.Error, run.Version = Status(w.Status), w.Error, w.Version
	run.FinishedAt, run.DurationMS = nil, nil
	if !w.FinishedAt.IsZero() {
		run.FinishedAt, run.DurationMS = &w.FinishedAt, millis(w.FinishedAt.Sub(run.InitiatedAt))
	}
	tx.Signal(runSignal)
	_, err := tx.Exec(ctx, updateRun, run.Tenant, run.ID, string(run.Status), database.Time(w.FinishedAt), run.Error, run.Version)
	return run, err
}

// stepOf shows the engine's step as the run's.
func stepOf(w workflow.Step) Step {
	s := Step{
		ID: w.ID, Resource: w.Lane, Action: Action(w.Action), Level: w.Level / phases, Status: StepStatus(w.Status),
		Attempts: w.Attempts, Message: w.Message, Error: w.Error, StartedAt: moment(w.StartedAt), FinishedAt: moment(w.FinishedAt),
	}
	if w.Predicted > 0 {
		s.PredictedMS = millis(w.Predicted)
	}
	if s.StartedAt != nil && s.FinishedAt != nil {
		s.DurationMS = millis(s.FinishedAt.Sub(*s.StartedAt))
	}
	return s
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
