package workflow

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// maxAlive bounds the runs that are looked at; with more alive ones, the youngest wait.
const maxAlive = 10000

// maxHookTries is how often a hook may say that something is unavailable before it counts as a failed attempt.
const maxHookTries = 10

// lead is one leadership: a loop that owns every machine, a committer, and the actions under way.
type lead struct {
	e      *Engine
	epoch  int64
	cancel context.CancelCauseFunc

	runs   map[string]*machine
	parked map[string]int64 // alive runs with nothing to do at this version
	doing  int
	turn   int // which run is served first

	events    *queue[func(ctx context.Context)]
	committer *committer
	workers   sync.WaitGroup
}

func newLead(e *Engine, epoch int64, cancel context.CancelCauseFunc) *lead {
	l := &lead{
		e: e, epoch: epoch, cancel: cancel, runs: map[string]*machine{}, parked: map[string]int64{},
		events: newQueue[func(context.Context)](),
	}
	l.committer = &committer{e: e, epoch: epoch, queue: newQueue[*op](), lost: cancel, done: func(ops ...*op) {
		for _, o := range ops {
			l.events.push(func(ctx context.Context) { l.committed(ctx, o) })
		}
	}}
	return l
}

func (l *lead) run(ctx context.Context) error {
	l.workers.Go(func() { l.committer.run(ctx) })
	defer l.workers.Wait()
	wake, stop := l.e.db.Watch(signalControl)
	defer stop()
	ticker := time.NewTicker(l.e.opts.Poll)
	defer ticker.Stop()
	l.poll(ctx)
	for {
		l.schedule(ctx)
		select {
		case <-ctx.Done():
			l.e.log.InfoContext(ctx, "leading of runs ends", "epoch", l.epoch, "cause", context.Cause(ctx).Error())
			if err := context.Cause(ctx); omni.Is(err, omni.CodeStale) {
				return err
			}
			return nil
		case <-wake:
			l.poll(ctx)
		case <-ticker.C:
			l.poll(ctx)
		case <-l.events.ready:
			for _, handle := range l.events.take() {
				handle(ctx)
			}
		}
	}
}

// poll looks for runs that are new, or that somebody has decided about.
func (l *lead) poll(ctx context.Context) {
	found := map[string]int64{}
	err := l.e.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		clear(found)
		return tx.Query(ctx, aliveSQL, []any{maxAlive}, func(scan func(...any) error) error {
			var (
				id, status string
				version    int64
			)
			if err := scan(&id, &status, &version); err != nil {
				return err
			}
			found[id] = version
			return nil
		})
	})
	if err != nil {
		if ctx.Err() == nil {
			l.e.log.WarnContext(ctx, "the alive runs cannot be read", "error", err)
		}
		return
	}
	for _, id := range slices.Sorted(maps.Keys(found)) {
		m := l.runs[id]
		version, parked := l.parked[id]
		if (m == nil && parked && version == found[id]) || (m != nil && !m.stale && m.run.Version == found[id]) {
			continue
		}
		l.load(ctx, id)
	}
	maps.DeleteFunc(l.parked, func(id string, _ int64) bool { _, ok := found[id]; return !ok })
	for id, m := range l.runs {
		if _, ok := found[id]; !ok && m.doing == 0 && !m.settling {
			delete(l.runs, id) // somebody else ended it
		}
	}
}

// load brings a run into memory, or up to date.
func (l *lead) load(ctx context.Context, id string) {
	var (
		r   Run
		now time.Time
	)
	err := l.e.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) (err error) {
		now = tx.Now()
		r, err = Get(ctx, tx, id)
		return err
	})
	m := l.runs[id]
	if err != nil {
		if m != nil {
			m.stale = true // until the next poll
		}
		if ctx.Err() == nil {
			l.e.log.WarnContext(ctx, "a run cannot be read", "run", id, "error", err)
		}
		return
	}
	var waits map[int]time.Duration
	if m == nil {
		m, waits = newMachine(r, now, func(action string) bool {
			a, ok := l.e.kinds[r.Kind].Actions[action]
			return ok && a.Undo == nil && a.UndoCommit == nil
		})
		l.runs[id] = m
	} else {
		waits = m.merge(r, now)
	}
	delete(l.parked, id)
	for i, d := range waits {
		l.wait(m, i, min(d, l.e.opts.Backoff.Max)) // the leader that has set it may have had a clock ahead of ours
	}
	l.park(m)
}

// park forgets a run that has nothing to do until somebody decides about it, and keeps only its version.
func (l *lead) park(m *machine) {
	if m.doing > 0 || m.settling || m.stale || len(m.left) > 0 || m.run.Status == Running {
		return
	}
	delete(l.runs, m.run.ID)
	if m.run.Alive() {
		l.parked[m.run.ID] = m.run.Version
	}
}

// wait has the step begin again after d. A step that was reset or began again in between is not disturbed: the mark is only
// taken away.
func (l *lead) wait(m *machine, i int, d time.Duration) {
	starts := m.steps[i].starts + m.steps[i].undoStarts
	time.AfterFunc(d, func() {
		l.events.push(func(context.Context) {
			if m.steps[i].starts+m.steps[i].undoStarts == starts {
				m.waiting[i] = false
			}
		})
	})
}

// schedule begins what may begin. Runs take turns in being first, so that a large one does not starve the others.
func (l *lead) schedule(ctx context.Context) {
	if ctx.Err() != nil || len(l.runs) == 0 {
		return
	}
	ids := slices.Sorted(maps.Keys(l.runs))
	l.turn = (l.turn + 1) % len(ids)
	var ops []*op
	for n := range ids {
		m := l.runs[ids[(n+l.turn)%len(ids)]]
		for _, t := range m.next(l.e.opts.Parallel - l.doing) {
			l.doing++
			ops = append(ops, l.begin(m, t))
		}
		if to, due := m.settle(); due {
			m.settling = true
			to.err = text(to.err)
			ops = append(ops, &op{kind: opSettle, m: m, run: m.run, to: to, hooks: l.e.kinds[m.run.Kind].Hooks})
		}
		l.park(m)
	}
	l.committer.queue.push(ops...)
}

// begin makes the first change of a task.
func (l *lead) begin(m *machine, t todo) *op {
	s := m.steps[t.step]
	o := &op{
		m: m, i: t.step, run: m.run, before: s, after: s, last: m.last, hooks: l.e.kinds[m.run.Kind].Hooks,
	}
	switch t.task {
	case taskSkip:
		o.kind = opFinish
		o.after.Status, o.after.Message = Skipped, "an earlier step of "+s.Lane+" failed"
		m.order++
		o.after.ended = m.order
	case taskDo:
		o.kind = opStart
		if s.Status != Running { // else a dead leader's attempt is only made again
			o.after.Attempts++
		}
		o.after.Status = Running
		o.after.starts++
		o.after.notBefore = time.Time{}
	case taskUndo:
		if m.plain[t.step] {
			return l.undone(o, nil)
		}
		o.kind = opUndoStart
		if s.undo != undoRunning {
			o.after.undoAttempts++
		}
		o.after.undo = undoRunning
		o.after.undoStarts++
		o.after.notBefore = time.Time{}
	}
	return o
}

// committed goes on from a change that was committed, or could not be.
func (l *lead) committed(ctx context.Context, o *op) {
	m := o.m
	switch {
	case o.err != nil:
		l.uncommitted(ctx, o)
	case o.moved:
		l.e.log.InfoContext(ctx, "a run is not what it was", "run", o.run.ID, "step", o.after.ID)
		l.drop(o)
		m.settling = m.settling && o.kind != opSettle
		l.load(ctx, o.run.ID)
	case o.kind == opSettle:
		m.settling = false
		m.run = o.run
		m.run.Version++
		l.settled(ctx, m)
	case o.kind == opFinish:
		l.drop(o)
		m.record(o.i, o.after)
		if o.wait > 0 {
			m.waiting[o.i] = true
			l.wait(m, o.i, o.wait)
		}
		l.measure(o)
	default:
		m.record(o.i, o.after)
		l.perform(ctx, o)
	}
}

func (l *lead) drop(o *op) {
	if o.kind != opSettle {
		l.doing--
		o.m.release(o.i)
	}
}

func (l *lead) settled(ctx context.Context, m *machine) {
	r := &m.run
	l.e.log.InfoContext(ctx, "run "+r.Status, "run", r.ID, "kind", r.Kind, "tenant", r.Tenant, "phase", r.phase, "why", r.Error)
	if l.e.opts.Metrics != nil {
		l.e.opts.Metrics.RunChanged(r.Kind, r.Status, !r.Alive(), r.FinishedAt.Sub(r.StartedAt))
	}
	l.park(m)
}

func (l *lead) measure(o *op) {
	if s := o.after; s.over() && l.e.opts.Metrics != nil && !s.StartedAt.IsZero() {
		l.e.opts.Metrics.StepDone(s.Action, s.Status, s.FinishedAt.Sub(s.StartedAt))
	}
}

// uncommitted decides what becomes of a change that could not be committed. Hooks and actions that refuse make it a failed attempt;
// anything else is tried until it goes through or the leadership ends.
func (l *lead) uncommitted(ctx context.Context, o *op) {
	var given *hookError
	if errors.As(o.err, &given) && o.kind == opFinish && (!unavailable(o.err) || o.tries >= maxHookTries) {
		l.e.log.WarnContext(ctx, "a step cannot be recorded", "run", o.run.ID, "step", o.after.ID, "error", o.err)
		next := *o
		next.tries = 0
		if o.commit == nil && o.after.Status != Succeeded { // not even its failure: then without the hook, so that the run goes on
			next.quiet = true
			l.committer.queue.push(&next)
			return
		}
		next.commit = nil
		err := omni.Errorf(omni.CodeOf(given.err), "it was done, but could not be recorded: %s", given.err.Error()).WithCause(given.err)
		if o.before.undo == "" && o.after.undo == "" {
			l.failed(&next, err)
		} else {
			l.undone(&next, err)
		}
		l.committer.queue.push(&next)
		return
	}
	if o.tries == 0 || !unavailable(o.err) {
		l.e.log.WarnContext(ctx, "a change of a run could not be committed and is tried again", "run", o.run.ID, "step", o.after.ID, "error", o.err)
	}
	o.tries++
	time.AfterFunc(l.e.opts.Backoff.after(o.tries), func() { l.committer.queue.push(o) })
}
