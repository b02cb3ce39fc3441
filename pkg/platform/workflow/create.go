package workflow

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// signalControl wakes the engine: a run was made, or somebody decided about one. signalProgress wakes those who watch runs.
const (
	signalControl  = "workflow.control"
	signalProgress = "workflow.progress"
)

// insertChunk is how many steps one statement inserts: SQLite and PostgreSQL bound the parameters of a statement.
const insertChunk = 500

// Create makes a run. It fails with omni.CodeConflict, naming the alive run, when one with the same Key is alive, and with
// omni.CodeInvalid when s is wrong. The run's request id and trace are those of ctx.
func Create(ctx context.Context, tx *database.Tx, s Spec) error {
	if err := s.prepare(); err != nil {
		return err
	}
	if scope := tx.Scope().Value(); scope != "*" && scope != s.Tenant {
		return omni.Errorf(omni.CodeForbidden, "a run of tenant %q cannot be made in the scope of tenant %q", s.Tenant, scope)
	}
	status, started := Running, tx.Now()
	if s.AwaitApproval {
		status, started = AwaitingApproval, time.Time{}
	}
	req := omni.RequestFrom(ctx)
	n, err := tx.Exec(ctx, insertRunSQL, s.Tenant, s.ID, s.Kind, s.Key, status, s.OnFailure, s.Parallel, string(s.Input),
		req.ID, req.TraceParent, database.Time(tx.Now()), database.Time(started))
	if err != nil {
		return err
	}
	if n == 0 {
		return conflict(ctx, tx, s.Key)
	}
	if err := insertSteps(ctx, tx, s); err != nil {
		return err
	}
	tx.Signal(signalControl)
	return nil
}

func conflict(ctx context.Context, tx *database.Tx, key string) error {
	var id, status, tenant string
	if err := tx.QueryRow(ctx, aliveRunSQL, []any{key}, &id, &status, &tenant); err != nil {
		if omni.Is(err, omni.CodeNotFound) { // it ended between the two statements, or this scope does not see it
			return omni.Errorf(omni.CodeConflict, "another run for %s was alive just now", key).WithHint("try again")
		}
		return err
	}
	return omni.Errorf(omni.CodeConflict, "the run %s for %s is alive (%s)", id, key, strings.ReplaceAll(status, "_", " ")).
		WithHint("wait for it to end, or abort it")
}

func insertSteps(ctx context.Context, tx *database.Tx, s Spec) error {
	for from := 0; from < len(s.Steps); from += insertChunk {
		chunk := s.Steps[from:min(from+insertChunk, len(s.Steps))]
		args := make([]any, 0, 2+len(chunk)*stepArgs)
		args = append(args, s.Tenant, s.ID)
		for i, step := range chunk {
			args = append(args, from+i, step.ID, step.Lane, step.Action, step.Level, step.Seq, string(step.Input),
				step.Predicted.Microseconds(), step.MaxAttempts, step.Timeout.Microseconds())
		}
		if _, err := tx.Exec(ctx, insertStepsSQL(len(chunk)), args...); err != nil {
			return fmt.Errorf("inserting the steps of run %s: %w", s.ID, err)
		}
	}
	return nil
}

// prepare fills what was left out and checks the rest. The caller's steps are not changed.
func (s *Spec) prepare() error {
	if s.OnFailure == "" {
		s.OnFailure = OnFailurePause
	}
	if s.Parallel == 0 {
		s.Parallel = DefaultParallel
	}
	var wrong []omni.FieldError
	bad := func(path, message string, args ...any) {
		if len(wrong) < 20 { // enough to see what is wrong
			wrong = append(wrong, omni.FieldError{Path: path, Message: fmt.Sprintf(message, args...)})
		}
	}
	for path, value := range map[string]string{"id": s.ID, "kind": s.Kind, "key": s.Key} {
		if value == "" || len(value) > 250 {
			bad(path, "must be 1 to 250 bytes")
		}
	}
	switch s.OnFailure {
	case OnFailurePause, OnFailureRollback, OnFailureContinue:
	default:
		bad("on_failure", "%q is not one of pause, rollback, continue", s.OnFailure)
	}
	if s.Parallel < 0 || s.Parallel > MaxParallel {
		bad("parallel", "must be 1 to %d", MaxParallel)
	}
	checkInput("input", s.Input, bad)
	if len(s.Steps) > MaxSteps {
		bad("steps", "must be at most %d, are %d", MaxSteps, len(s.Steps))
	} else {
		s.prepareSteps(bad)
	}
	if len(wrong) > 0 {
		return omni.Errorf(omni.CodeInvalid, "the run %s cannot be made: %s %s", s.ID, wrong[0].Path, wrong[0].Message).WithFields(wrong...)
	}
	return nil
}

func (s *Spec) prepareSteps(bad func(path, message string, args ...any)) {
	steps := make([]StepSpec, len(s.Steps))
	seen := make(map[string]bool, len(steps))
	for i, step := range s.Steps {
		path := fmt.Sprintf("steps[%d]", i)
		if step.MaxAttempts == 0 {
			step.MaxAttempts = DefaultMaxAttempts
		}
		if step.Timeout == 0 {
			step.Timeout = DefaultTimeout
		}
		if step.ID == "" || len(step.ID) > 250 || len(step.Lane) > 250 {
			bad(path+".id", "and lane must be at most 250 bytes, and the id not empty")
		}
		if seen[step.ID] {
			bad(path+".id", "%q is there twice", step.ID)
		}
		seen[step.ID] = true
		if step.Action == "" || len(step.Action) > 250 {
			bad(path+".action", "must be 1 to 250 bytes")
		}
		if step.MaxAttempts < 0 || step.MaxAttempts > MaxAttempts {
			bad(path+".max_attempts", "must be 1 to %d", MaxAttempts)
		}
		if step.Timeout < time.Millisecond || step.Timeout > MaxTimeout || step.Predicted < 0 {
			bad(path+".timeout", "must be 1ms to 24h, and predicted not negative")
		}
		checkInput(path+".input", step.Input, bad)
		steps[i] = step
	}
	s.Steps = steps
}

func checkInput(path string, input json.RawMessage, bad func(path, message string, args ...any)) {
	if len(input) > MaxInput {
		bad(path, "must be at most %d bytes", MaxInput)
	} else if len(input) > 0 && !json.Valid(input) {
		bad(path, "is not JSON")
	}
}
