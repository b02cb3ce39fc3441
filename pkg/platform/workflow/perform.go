package workflow

import (
	"context"
	"errors"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// perform calls the action of a step whose start is committed, and has its checkpoint committed.
func (l *lead) perform(ctx context.Context, started *op) {
	if ctx.Err() != nil {
		return // leadership has ended between the commit and now
	}
	s := started.after
	o := &op{
		kind: opFinish, m: started.m, i: started.i, run: started.run, before: s, after: s, last: started.m.last, hooks: started.hooks,
		call: Call{Run: started.run, Step: s, Attempt: s.Attempts, Repeat: s.starts > 1, Epoch: l.epoch},
	}
	undo := started.kind == opUndoStart
	if undo {
		o.call.Attempt, o.call.Repeat = s.undoAttempts, s.undoStarts > 1
	}
	action, known := l.e.kinds[o.run.Kind].Actions[s.Action]
	finish := func(out Outcome, err error) {
		if undo {
			l.undone(o, err)
		} else {
			l.done(o, action, out, err)
		}
		l.committer.queue.push(o)
	}
	switch {
	case !known:
		finish(Outcome{}, Permanent(omni.Errorf(omni.CodeInternal, "this program has no action %s for runs of kind %s", s.Action, o.run.Kind).
			WithHint("was the run made by a newer version?")))
	case !undo && action.Do == nil, undo && action.Undo == nil:
		finish(Outcome{}, nil)
	default:
		l.workers.Go(func() {
			out, err := l.call(ctx, action, o.call, undo)
			l.events.push(func(ctx context.Context) {
				if ctx.Err() == nil { // else it is for the next leader to find out
					finish(out, err)
				}
			})
		})
	}
}

// call calls Do or Undo within the step's timeout.
func (l *lead) call(ctx context.Context, a Action, c Call, undo bool) (out Outcome, err error) {
	before, after := beforeDo, afterDo
	if undo {
		before, after = beforeUndo, afterUndo
	}
	l.e.opts.Failpoint(before)
	if ctx.Err() != nil {
		return out, ctx.Err()
	}
	limit, cancel := context.WithTimeout(c.Run.context(ctx), c.Step.Timeout)
	defer cancel()
	err = guarded("the action "+c.Step.Action, func() (err error) {
		if undo {
			return a.Undo(limit, c)
		}
		out, err = a.Do(limit, c)
		return err
	})
	if err != nil && errors.Is(limit.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
		err = omni.Errorf(omni.CodeUnfinished, "it did not end within %s: %w", omni.Duration(c.Step.Timeout), err)
	}
	if err != nil && ctx.Err() == nil {
		l.e.log.WarnContext(ctx, "an attempt failed", "run", c.Run.ID, "step", c.Step.ID, "attempt", c.Attempt, "undo", undo,
			"error", err, "cause", errors.Unwrap(err))
	}
	l.e.opts.Failpoint(after)
	return out, err
}

// done makes o the checkpoint of an attempt.
func (l *lead) done(o *op, a Action, out Outcome, err error) {
	if err != nil {
		l.failed(o, err)
		return
	}
	s := &o.after
	s.Status, s.Message, s.Error = Succeeded, text(out.Message), ""
	if out.Skipped {
		s.Status = Skipped
	}
	if s.Result, err = result(out.Result); err != nil {
		s.Message = text(s.Message + " (" + err.Error() + ")")
	}
	if a.Commit != nil {
		o.commit = func(ctx context.Context, tx *database.Tx, c Call) error { return a.Commit(ctx, tx, c, out) }
	}
	o.m.order++
	s.ended = o.m.order
}

// failed makes o the checkpoint of an attempt that failed: the last, or one that is followed by another.
func (l *lead) failed(o *op, err error) {
	s := &o.after
	s.Error, s.Message, s.Result = text(err.Error()), "", nil
	if s.Attempts >= s.MaxAttempts || IsPermanent(err) {
		s.Status = Failed
		o.m.order++
		s.ended = o.m.order
		return
	}
	s.Status, s.ended = Pending, 0
	o.wait = l.e.opts.Backoff.after(s.Attempts)
}

// undone makes o the checkpoint of an attempt to undo.
func (l *lead) undone(o *op, err error) *op {
	o.kind = opFinish
	s := &o.after
	s.Status, s.ended = o.before.Status, o.before.ended
	switch {
	case err == nil:
		s.Status, s.undo = RolledBack, undoDone
		o.m.order++
		s.ended = o.m.order
		a := l.e.kinds[o.run.Kind].Actions[s.Action]
		if a.UndoCommit != nil && (o.before.Status == Succeeded || o.before.Status == Skipped) {
			o.commit = a.UndoCommit
		}
	case s.undoAttempts >= s.MaxAttempts || IsPermanent(err):
		s.undo, s.Error = undoFailed, text(err.Error())
	default:
		s.undo, s.Error = "", text(err.Error())
		o.wait = l.e.opts.Backoff.after(s.undoAttempts)
	}
	return o
}
