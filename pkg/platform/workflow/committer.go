package workflow

import (
	"context"
	"errors"
	"slices"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/election/epoch"
)

// batch bounds how many changes share a transaction.
const batch = 256

// committer writes changes, all that have gathered while it was busy in one transaction.
type committer struct {
	e     *Engine
	epoch int64
	queue *queue[*op]
	done  func(...*op)    // called with those whose err or moved tells what became of them
	lost  func(err error) // leadership has moved on
}

func (c *committer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.queue.ready:
		}
		for ops := range slices.Chunk(c.queue.take(), batch) {
			c.commit(ctx, ops)
		}
	}
}

// points calls the failpoints that stand around the commit of ops.
func (c *committer) points(ops []*op, start, finish, settle string) {
	var seen [opSettle + 1]bool
	for _, o := range ops {
		seen[o.kind] = true
	}
	if seen[opStart] || seen[opUndoStart] {
		c.e.opts.Failpoint(start)
	}
	if seen[opFinish] {
		c.e.opts.Failpoint(finish)
	}
	if seen[opSettle] {
		c.e.opts.Failpoint(settle)
	}
}

// commit commits ops. One that cannot be is taken out and committed alone, so that it does not keep the others.
func (c *committer) commit(ctx context.Context, ops []*op) {
	var alone []*op
	for len(ops) > 0 {
		bad, err := c.try(ctx, ops)
		if ctx.Err() != nil {
			return // the next leader looks at what was committed
		}
		var given *hookError
		switch {
		case err == nil:
			c.done(ops...)
			ops = nil
		case len(ops) == 1, unavailable(err) && !errors.As(err, &given): // its own fault, or nobody's: all wait
			for _, o := range ops {
				o.err = err
			}
			c.done(ops...)
			ops = nil
		case bad == nil: // only the commit itself told
			alone, ops = append(alone, ops...), nil
		default:
			alone = append(alone, bad)
			ops = slices.DeleteFunc(slices.Clone(ops), func(o *op) bool { return o == bad })
		}
	}
	for _, o := range alone {
		c.commit(ctx, []*op{o})
	}
}

// unavailable says that the database cannot be written to now, whatever is written.
func unavailable(err error) bool {
	return omni.Is(err, omni.CodeUnavailable) || omni.Is(err, omni.CodeFull)
}

// try commits ops in one transaction. bad is the one that failed, nil when it is not known.
func (c *committer) try(ctx context.Context, ops []*op) (bad *op, err error) {
	c.points(ops, beforeStart, beforeCheckpoint, beforeSettle)
	fenced, applied := false, false
	err = c.e.db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		bad, fenced, applied = nil, false, false
		for _, o := range ops {
			o.err, o.moved = nil, false
		}
		if err := epoch.Fence(ctx, tx, c.epoch); err != nil {
			fenced = omni.Is(err, omni.CodeStale)
			return err
		}
		tx.Signal(signalProgress)
		var err error
		bad, err = apply(ctx, tx, ops)
		applied = err == nil
		return err
	})
	if fenced {
		c.lost(err)
	}
	if err != nil && applied && !unavailable(err) {
		err = &hookError{err} // what actions and hooks had put off until the end of the transaction was refused
	}
	if err == nil {
		c.points(ops, afterStart, afterCheckpoint, afterSettle)
	}
	return bad, err
}

// apply writes ops; bad is the one that failed.
func apply(ctx context.Context, tx *database.Tx, ops []*op) (bad *op, err error) {
	runs, err := lockRuns(ctx, tx, ops)
	if err != nil {
		return nil, err
	}
	var starts, ends []*op
	for _, o := range ops {
		switch o.kind {
		case opStart, opUndoStart:
			r, ok := runs[o.run.ID]
			switch {
			case !ok || !o.mayStart(r):
				o.moved = true
			case o.kind == opStart:
				starts = append(starts, o)
			default:
				err = o.undoStart(ctx, tx)
			}
		case opFinish:
			if o.plain() {
				ends = append(ends, o)
			} else {
				err = o.finish(ctx, tx)
			}
		case opSettle:
			err = o.settle(ctx, tx)
		}
		if err != nil {
			return o, err
		}
	}
	if bad, err := finishSteps(ctx, tx, ends); err != nil {
		return bad, err
	}
	return startSteps(ctx, tx, starts)
}

// lockRuns locks the runs of which a step begins, or whose status changes, against decisions of others.
func lockRuns(ctx context.Context, tx *database.Tx, ops []*op) (map[string]lockedRun, error) {
	var ids []any
	seen := map[string]bool{}
	for _, o := range ops {
		if o.kind != opFinish && !seen[o.run.ID] {
			seen[o.run.ID] = true
			ids = append(ids, o.run.ID)
		}
	}
	runs := make(map[string]lockedRun, len(ids))
	if len(ids) == 0 {
		return runs, nil
	}
	query := lockRunsSQL(len(ids), tx.Kind() == database.Postgres)
	err := tx.Query(ctx, query, ids, func(scan func(...any) error) error {
		var (
			id string
			r  lockedRun
		)
		if err := scan(&id, &r.status, &r.phase, &r.version); err != nil {
			return err
		}
		runs[id] = r
		return nil
	})
	return runs, err
}

// group is ops that one statement can write.
type group struct {
	tenant, run      string
	attempts, starts int // of steps that begin
}

// grouped gathers ops by key, in the order in which keys appear, in chunks of few different sizes: a statement of each size is
// prepared once.
func grouped(ops []*op, key func(*op) group, each func(g group, members []*op) (*op, error)) (bad *op, err error) {
	groups := map[group][]*op{}
	var order []group
	for _, o := range ops {
		g := key(o)
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], o)
	}
	for _, g := range order {
		members := groups[g]
		for _, size := range []int{64, 16, 4, 1} {
			for len(members) >= size {
				if bad, err := each(g, members[:size]); err != nil {
					return bad, err
				}
				members = members[size:]
			}
		}
	}
	return nil, nil
}

// moved is why a statement for many did not fit them all. Alone, each will tell whether it is the one.
func moved(g group) error {
	return omni.Errorf(omni.CodeConflict, "a step of run %s is not what the engine believed", g.run)
}

// startSteps begins steps, those of one run with equal counts together.
func startSteps(ctx context.Context, tx *database.Tx, ops []*op) (bad *op, err error) {
	key := func(o *op) group { return group{o.run.Tenant, o.run.ID, o.after.Attempts, o.after.starts} }
	return grouped(ops, key, func(g group, members []*op) (*op, error) {
		args := []any{g.tenant, g.run, g.attempts, g.starts, database.Time(tx.Now())}
		for _, o := range members {
			args = append(args, o.after.ID)
			if o.before.StartedAt.IsZero() {
				o.after.StartedAt = tx.Now()
			}
		}
		n, err := tx.Exec(ctx, startStepsSQL(tx.Kind(), len(members)), args...)
		switch {
		case err != nil:
			return members[0], err
		case int(n) == len(members):
			return nil, nil
		case len(members) > 1:
			return members[0], moved(g)
		}
		members[0].moved = true
		return nil, nil
	})
}

// finishSteps writes the checkpoints of steps that have come to their end, those of one run together.
func finishSteps(ctx context.Context, tx *database.Tx, ops []*op) (bad *op, err error) {
	key := func(o *op) group { return group{tenant: o.run.Tenant, run: o.run.ID} }
	return grouped(ops, key, func(g group, members []*op) (*op, error) {
		if len(members) == 1 {
			return members[0], members[0].finish(ctx, tx)
		}
		args := []any{g.tenant, g.run, database.Time(tx.Now())}
		for _, o := range members {
			o.stamp(tx.Now())
			s := &o.after
			args = append(args, s.ID, s.Status, s.ended, s.Message, s.Error, string(s.Result), o.before.starts, o.before.Status)
		}
		n, err := tx.Exec(ctx, finishStepsSQL(tx.Kind(), len(members)), args...)
		if err == nil && int(n) != len(members) {
			err = moved(g)
		}
		if err != nil {
			return members[0], err
		}
		for _, o := range members {
			if err := o.tell(ctx, tx); err != nil {
				return o, err
			}
		}
		return nil, nil
	})
}
