package workflow

import (
	"context"
	"errors"
	"time"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// Call is one call of an action.
type Call struct {
	Run     Run // without Steps
	Step    Step
	Attempt int // from 1
	// Repeat says that an earlier call for this step may have had its effect: look before doing it again. It is set for
	// every call after the first, whether that one failed, timed out or died with its process.
	Repeat bool
	Epoch  int64 // the fencing token for what refuses deposed leaders
}

// Outcome is what Do did.
type Outcome struct {
	Skipped bool   // there was nothing to do, or it cannot be done here; Message says why
	Message string // for people
	Result  any    // stored as JSON, at most MaxResult bytes
}

// Action is what a step does. Nil functions do nothing. Do and Undo must return soon after their context ends.
type Action struct {
	// Do has the effect on the world, outside any transaction. An error is retried with backoff up to StepSpec.MaxAttempts
	// times, unless it is Permanent.
	Do func(ctx context.Context, c Call) (Outcome, error)
	// Commit writes to the database in the checkpoint's transaction, after Do went well (skipped included). It may run
	// several times, of which one is committed. Its error is a failed attempt: Do is called again, with Repeat.
	Commit func(ctx context.Context, tx *database.Tx, c Call, o Outcome) error
	// Undo takes the effect back in a rollback. It is called for succeeded steps, and for those that were begun and did not
	// end well (Call.Step.Status tells), as their effect may have happened in part.
	Undo func(ctx context.Context, c Call) error
	// UndoCommit takes back what Commit wrote; only for steps whose Commit was made.
	UndoCommit func(ctx context.Context, tx *database.Tx, c Call) error
}

// Hooks report changes that the engine makes, inside their transactions. Those that Create, Approve, Pause, Resume and Abort
// make are the caller's to report. An error keeps the change from being committed, and it is tried again.
type Hooks struct {
	// OnRun is called for each change of a run's status.
	OnRun func(ctx context.Context, tx *database.Tx, r Run) error
	// OnStep is called for each step that ended (succeeded, skipped, failed or rolled back). last is when the run's
	// previous step ended, nil for its first.
	OnStep func(ctx context.Context, tx *database.Tx, r Run, s Step, last *time.Time) error
}

// Kind is what the engine must know of one kind of runs.
type Kind struct {
	Actions map[string]Action
	Hooks   Hooks
}

// permanent marks an error that trying again does not cure.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks err, so that the step fails at once instead of being retried. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// IsPermanent says whether Permanent is in err's chain.
func IsPermanent(err error) bool {
	var p permanent
	return errors.As(err, &p)
}
