package workflow

import (
	"context"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// Approve lets a run that waits for approval begin. In any other state it fails with omni.CodeRefused, like the three below; a run
// that is not there, or not the scope's, is omni.CodeNotFound.
func Approve(ctx context.Context, tx *database.Tx, id string) error {
	r, err := lockControl(ctx, tx, id)
	if err != nil {
		return err
	}
	if r.status != AwaitingApproval {
		return r.refuse("approved", "only a run that awaits approval can be")
	}
	return r.set(ctx, tx, Running, "")
}

// Pause keeps steps from beginning; those in the middle come to their end and are recorded.
func Pause(ctx context.Context, tx *database.Tx, id string) error {
	r, err := lockControl(ctx, tx, id)
	if err != nil {
		return err
	}
	if r.status != Running || r.phase == aborting {
		return r.refuse("paused", "only a run that is running can be")
	}
	return r.set(ctx, tx, Paused, r.phase)
}

// Resume lets a paused run go on. Failed steps become pending again, with a fresh count of attempts, and waits between attempts
// end at once; a failed undo of a rollback is tried again.
func Resume(ctx context.Context, tx *database.Tx, id string) error {
	r, err := lockControl(ctx, tx, id)
	if err != nil {
		return err
	}
	if r.status != Paused {
		return r.refuse("resumed", "only a run that is paused can be")
	}
	reset := resetStepsSQL
	if r.phase == rollingBack {
		reset = resetUndoSQL
	}
	for _, query := range []string{reset, resetWaitsSQL} {
		if _, err := tx.Exec(ctx, query, r.tenant, id); err != nil {
			return err
		}
	}
	return r.set(ctx, tx, Running, r.phase)
}

// Abort ends a run without undoing anything: at once when no step is in the middle, else as soon as those have come to their
// end; until then the run shows as running, and Run.Aborting says so. Steps that have not begun stay pending.
func Abort(ctx context.Context, tx *database.Tx, id string) error {
	r, err := lockControl(ctx, tx, id)
	if err != nil {
		return err
	}
	if !alive(r.status) || r.phase == aborting {
		return r.refuse("aborted", "only a run that is alive can be")
	}
	var running int
	if err := tx.QueryRow(ctx, stepsRunningSQL, []any{r.tenant, id}, &running); err != nil {
		return err
	}
	if running > 0 {
		return r.set(ctx, tx, Running, aborting)
	}
	return r.set(ctx, tx, Aborted, "")
}

// control is what a decision about a run needs to know of it.
type control struct{ tenant, id, status, phase string }

// lockControl reads a run and keeps the engine from beginning a step of it until the transaction ends.
func lockControl(ctx context.Context, tx *database.Tx, id string) (control, error) {
	query := controlSQL
	if tx.Kind() == database.Postgres {
		query += ` for no key update`
	}
	r := control{id: id}
	err := tx.QueryRow(ctx, query, []any{tx.Scope().Value(), id}, &r.tenant, &r.status, &r.phase)
	if omni.Is(err, omni.CodeNotFound) {
		return r, notFound(id)
	}
	return r, err
}

func (r control) set(ctx context.Context, tx *database.Tx, status, phase string) error {
	finished := time.Time{}
	if !alive(status) {
		finished = tx.Now()
	}
	forget := 0 // a run that goes on has no reason any more why it stopped
	if status == Running && phase == "" {
		forget = 1
	}
	_, err := tx.Exec(ctx, setStatusSQL, r.tenant, r.id, status, phase, forget, database.Time(tx.Now()), database.Time(finished))
	if err != nil {
		return err
	}
	tx.Signal(signalControl)
	tx.Signal(signalProgress)
	return nil
}

func (r control) refuse(what, rule string) error {
	state := strings.ReplaceAll(r.status, "_", " ")
	if r.phase == aborting {
		state = "being aborted"
	}
	return omni.Errorf(omni.CodeRefused, "the run %s cannot be %s: it is %s", r.id, what, state).WithHint("%s", rule)
}

func notFound(id string) error {
	return omni.Errorf(omni.CodeNotFound, "there is no run %q", id)
}
