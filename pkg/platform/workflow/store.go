package workflow

import (
	"context"
	"encoding/json"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// Get gives a run with its steps; omni.CodeNotFound when there is none, or the scope does not see it.
func Get(ctx context.Context, tx *database.Tx, id string) (Run, error) {
	r, err := getRun(ctx, tx, id)
	if err != nil {
		return Run{}, err
	}
	err = tx.Query(ctx, getStepsSQL, []any{r.Tenant, r.ID}, func(scan func(...any) error) error {
		var s Step
		if err := s.scan(scan); err != nil {
			return err
		}
		r.Steps = append(r.Steps, s)
		return nil
	})
	return r, err
}

// StepStatus gives the state of one step of a run; omni.CodeNotFound when there is none.
func StepStatus(ctx context.Context, tx *database.Tx, tenant, run, step string) (status string, err error) {
	err = tx.QueryRow(ctx, stepStatusSQL, []any{tenant, run, step}, &status)
	return status, err
}

// getRun is Get without the steps.
func getRun(ctx context.Context, tx *database.Tx, id string) (Run, error) {
	var r Run
	found := false
	err := tx.Query(ctx, getRunSQL, []any{tx.Scope().Value(), id}, func(scan func(...any) error) error {
		found = true
		return r.scan(scan)
	})
	if err == nil && !found {
		err = notFound(id)
	}
	return r, err
}

// Filter narrows a list of runs; empty fields match everything.
type Filter struct {
	Tenant, Kind, Key, Status string
	Alive                     bool // only runs that are not over
}

// List gives runs that the scope sees, the newest first (by id), without their steps.
func List(ctx context.Context, tx *database.Tx, f Filter, page omni.PageRequest) (omni.Page[Run], error) {
	out := omni.Page[Run]{Items: []Run{}}
	onlyAlive := 0
	if f.Alive {
		onlyAlive = 1
	}
	args := []any{tx.Scope().Value(), f.Tenant, f.Kind, f.Key, f.Status, onlyAlive, page.After, page.Size() + 1}
	err := tx.Query(ctx, listRunsSQL, args, func(scan func(...any) error) error {
		var r Run
		if err := r.scan(scan); err != nil {
			return err
		}
		out.Items = append(out.Items, r)
		return nil
	})
	if err != nil {
		return omni.Page[Run]{}, err
	}
	if len(out.Items) > page.Size() {
		out.Items = out.Items[:page.Size()]
		out.Next = out.Items[len(out.Items)-1].ID
	}
	return out, nil
}

func (r *Run) scan(scan func(...any) error) error {
	var (
		input                      string
		created, started, finished database.Time
	)
	err := scan(&r.Tenant, &r.ID, &r.Kind, &r.Key, &r.Status, &r.phase, &r.OnFailure, &r.parallel, &r.Error, &input,
		&r.requestID, &r.traceParent, &created, &started, &finished, &r.Version)
	r.Input = raw(input)
	r.CreatedAt, r.StartedAt, r.FinishedAt = created.Std(), started.Std(), finished.Std()
	return err
}

func (s *Step) scan(scan func(...any) error) error {
	var (
		input, result                string
		predicted, timeout           int64
		notBefore, started, finished database.Time
	)
	err := scan(&s.ID, &s.Lane, &s.Action, &s.Level, &s.Seq, &input, &predicted, &s.MaxAttempts, &timeout, &s.Status, &s.undo,
		&s.Attempts, &s.starts, &s.undoAttempts, &s.undoStarts, &s.ended, &notBefore, &started, &finished, &s.Message, &s.Error, &result)
	s.Input, s.Result = raw(input), raw(result)
	s.Predicted, s.Timeout = time.Duration(predicted)*time.Microsecond, time.Duration(timeout)*time.Microsecond
	s.notBefore, s.StartedAt, s.FinishedAt = notBefore.Std(), started.Std(), finished.Std()
	return err
}

func raw(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}
