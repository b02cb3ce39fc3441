package workflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

type opKind int

const (
	opStart opKind = iota
	opUndoStart
	opFinish // the checkpoint of Do or Undo, or a step that is skipped
	opSettle // a change of the run's status
)

// op is one change that is to be committed, alone or with others.
type op struct {
	kind opKind
	m    *machine // belongs to the loop; the committer reads only what is copied below
	i    int      // the step; not for opSettle

	run    Run
	before Step // what the row must be
	after  Step // what it becomes; its times are set in the transaction
	wait   time.Duration
	commit func(ctx context.Context, tx *database.Tx, c Call) error // the action's, with its outcome bound
	call   Call
	to     transition
	hooks  Hooks
	quiet  bool // without hooks: they have refused to record a failure
	last   time.Time

	tries int   // how often it could not be committed for reasons that are not its own
	err   error // what became of it
	moved bool  // the run or the step is not what the engine believed
}

// hookError is an error of code that was given to the engine, as opposed to one of the database.
type hookError struct{ err error }

func (h *hookError) Error() string { return h.err.Error() }
func (h *hookError) Unwrap() error { return h.err }

// guarded turns a panic of a hook or an action into an error that is not worth a retry.
func guarded(what string, fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = Permanent(omni.Errorf(omni.CodeInternal, "%s panicked: %v", what, p).
				WithCause(fmt.Errorf("%v\n%s", p, debug.Stack())))
		}
	}()
	return fn()
}

func hook(what string, fn func() error) error {
	if err := guarded(what, fn); err != nil {
		return &hookError{err}
	}
	return nil
}

// lockedRun is the row of a run, locked for the transaction.
type lockedRun struct {
	status, phase string
	version       int64
}

// mayStart says whether the decision to begin the step still stands.
func (o *op) mayStart(r lockedRun) bool {
	if !alive(r.status) {
		return false
	}
	if o.kind == opUndoStart {
		return o.before.undo == undoRunning || (r.status == Running && r.phase == rollingBack)
	}
	return o.before.Status == Running || (r.status == Running && r.phase == "")
}

// undoStart begins an attempt to undo: one statement each, since a rollback goes step by step.
func (o *op) undoStart(ctx context.Context, tx *database.Tx) error {
	n, err := tx.Exec(ctx, startUndoSQL, o.run.Tenant, o.run.ID, o.after.ID, o.after.undoAttempts, o.after.undoStarts)
	o.moved = err == nil && n == 0
	return err
}

// stamp sets the times of the checkpoint.
func (o *op) stamp(now time.Time) {
	s := &o.after
	if o.ends() {
		s.FinishedAt = now
	}
	s.notBefore = time.Time{}
	if o.wait > 0 {
		s.notBefore = now.Add(o.wait)
	}
}

// ends says that the step comes to its end, as opposed to an attempt.
func (o *op) ends() bool { return o.after.over() && o.after.Status != o.before.Status }

// plain says that the checkpoint is of the common sort, of which one statement writes many.
func (o *op) plain() bool { return o.ends() && o.after.undo == "" && o.wait == 0 }

// finish writes the checkpoint, and lets the action and the hook write theirs.
func (o *op) finish(ctx context.Context, tx *database.Tx) error {
	o.stamp(tx.Now())
	s := &o.after
	n, err := tx.Exec(ctx, finishSQL, o.run.Tenant, o.run.ID, s.ID, s.Status, s.undo, database.Time(s.notBefore),
		database.Time(s.FinishedAt), s.ended, s.Message, s.Error, string(s.Result), o.before.starts, o.before.undoStarts,
		o.before.Status, o.before.undo)
	if err != nil {
		return err
	}
	if n == 0 {
		return o.recorded(ctx, tx)
	}
	return o.tell(ctx, tx)
}

// tell lets the action and the hook write their part of the checkpoint.
func (o *op) tell(ctx context.Context, tx *database.Tx) error {
	ctx = o.run.context(ctx)
	s := &o.after
	if o.commit != nil {
		if err := hook("the commit of action "+s.Action, func() error { return o.commit(ctx, tx, o.call) }); err != nil {
			return err
		}
	}
	if !o.ends() || o.hooks.OnStep == nil || o.quiet {
		return nil
	}
	var last *time.Time
	if !o.last.IsZero() {
		last = &o.last
	}
	return hook("the hook of steps", func() error { return o.hooks.OnStep(ctx, tx, o.run, *s, last) })
}

// recorded is for a checkpoint that finds nothing to change: its first commit went through and only the answer was lost, or
// somebody else has changed the step.
func (o *op) recorded(ctx context.Context, tx *database.Tx) error {
	var (
		status, undo       string
		starts, undoStarts int
		ended              int64
	)
	err := tx.QueryRow(ctx, stepStateSQL, []any{o.run.Tenant, o.run.ID, o.after.ID}, &status, &undo, &starts, &undoStarts, &ended)
	if err != nil {
		return err
	}
	o.moved = status != o.after.Status || undo != o.after.undo || starts != o.after.starts ||
		undoStarts != o.after.undoStarts || ended != o.after.ended
	return nil
}

// settle changes the run's status.
func (o *op) settle(ctx context.Context, tx *database.Tx) error {
	r := &o.run
	r.Status, r.phase, r.Error, r.FinishedAt = o.to.status, o.to.phase, o.to.err, time.Time{}
	if !r.Alive() {
		r.FinishedAt = tx.Now()
	}
	n, err := tx.Exec(ctx, settleSQL, r.Tenant, r.ID, r.Status, r.phase, r.Error, database.Time(r.FinishedAt), r.Version)
	if err != nil {
		return err
	}
	if n == 0 {
		var is lockedRun
		err := tx.QueryRow(ctx, runStateSQL, []any{r.Tenant, r.ID}, &is.status, &is.phase, &is.version)
		o.moved = is != lockedRun{r.Status, r.phase, r.Version + 1}
		return err
	}
	if o.hooks.OnRun == nil {
		return nil
	}
	ctx = r.context(ctx)
	told := *r
	told.Version++
	return hook("the hook of runs", func() error { return o.hooks.OnRun(ctx, tx, told) })
}

// context is that of the run's work: its request and trace, and the part of omnid that acts.
func (r *Run) context(ctx context.Context) context.Context {
	return omni.WithRequest(ctx, omni.Request{Identity: omni.System(r.Kind), ID: r.requestID, TraceParent: r.traceParent})
}

// text bounds what is stored of a message: valid UTF-8 without NUL, which PostgreSQL refuses.
func text(s string) string {
	if len(s) > MaxText {
		s = s[:MaxText-len("…")] + "…"
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "�"), "\x00", "�")
}

// result is an outcome's result as JSON; what cannot be stored is left out, since the effect has happened and doing it again would
// not help.
func result(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	out, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("the result cannot be stored: %w", err)
	}
	if len(out) > MaxResult {
		return nil, errors.New("the result cannot be stored: it is too large")
	}
	return out, nil
}
