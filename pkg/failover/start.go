package failover

import (
	"context"
	"slices"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// handle decides about a run that a policy asks for, and starts it beside the loop: asking drivers takes its time, and one slow
// tenant must not hold up the others.
func (c *controller) handle(ctx context.Context, v view, d due) error {
	c.mu.Lock()
	waits := c.busy[d.key()] || v.now.Before(c.retry[d.key()])
	c.mu.Unlock()
	if waits {
		return nil
	}
	facts, err := c.facts(ctx, v, d)
	if err != nil {
		return err
	}
	target, blocked := Decide(facts)
	if blocked != nil {
		return c.block(ctx, *blocked)
	}
	if target == "" { // a run moves the tenant already: nothing blocks that any more
		return c.forget(ctx, d.key())
	}
	c.mu.Lock()
	c.busy[d.key()] = true
	c.mu.Unlock()
	c.work.Go(func() {
		err := c.start(ctx, v, d, target)
		c.mu.Lock()
		delete(c.busy, d.key())
		if err == nil {
			c.begun++
		} else {
			c.retry[d.key()] = c.s.now().Add(retryAfter)
		}
		c.mu.Unlock()
		if err != nil && ctx.Err() == nil && !omni.Is(err, omni.CodeStale) {
			c.s.log.WarnContext(ctx, "a run by policy was not started", "tenant", d.policy.Tenant, "from", d.from, "to", target, "error", err)
		}
	})
	return nil
}

func (c *controller) facts(ctx context.Context, v view, d due) (Facts, error) {
	f := Facts{
		Now: v.now, Policy: d.policy, Kind: d.kind, From: d.from, Regions: v.regions, Health: map[string]Verdict{},
		Freeze: v.freeze, MaxAlive: c.s.opts.MaxAlive, MaxPerHour: c.s.opts.MaxPerHour,
	}
	trigger := d.policy.Spec.Trigger.WithDefaults()
	for _, r := range v.regions {
		f.Health[r.Name] = c.judged(v, r, trigger)
	}
	seen, err := c.seen(ctx, v)
	if err != nil {
		return f, err
	}
	if run, alive := v.alive[d.policy.Tenant]; alive {
		f.Alive = &run
	}
	f.Last = seen.lastOf(d.policy.Tenant)
	c.mu.Lock() // those that are being started, or were since the tick began, are not in what it has read
	f.AliveRuns = seen.alive + len(c.busy) + c.begun
	f.RunsInHour = seen.hour + len(c.busy) + c.begun
	c.mu.Unlock()
	return f, nil
}

// runsSeen is what decisions need to know of runs. It is read once a tick, by the first decision: most ticks decide nothing.
type runsSeen struct {
	read        bool
	alive, hour int            // of the brake
	last        map[string]Run // by tenant
}

// lastOf gives the tenant's run that ended last; nil when there is none.
func (r *runsSeen) lastOf(tenant string) *Run {
	if run, ended := r.last[tenant]; ended {
		return &run
	}
	return nil
}

func (c *controller) seen(ctx context.Context, v view) (*runsSeen, error) {
	if v.runs.read {
		return v.runs, nil
	}
	err := c.s.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) (err error) {
		if v.runs.alive, v.runs.hour, err = brake(ctx, tx, v.now); err != nil {
			return err
		}
		ended, err := queryRuns(ctx, tx, lastRuns)
		v.runs.last = make(map[string]Run, len(ended))
		for _, run := range ended {
			v.runs.last[run.Tenant] = run
		}
		return err
	})
	v.runs.read = err == nil
	return v.runs, err
}

func brake(ctx context.Context, tx *database.Tx, now time.Time) (alive, hour int, err error) {
	if err := tx.QueryRow(ctx, countRuns, nil, &alive); err != nil {
		return 0, 0, err
	}
	err = tx.QueryRow(ctx, countHour, []any{database.Time(now.Add(-time.Hour))}, &hour)
	return alive, hour, err
}

// start makes the run. What refuses it is recorded as blocked.
func (c *controller) start(ctx context.Context, v view, d due, target string) error {
	mode := Forced
	if d.kind == KindFailback {
		mode = Planned
	}
	r := Request{
		Tenant: d.policy.Tenant, Kind: d.kind, From: d.from, To: target, Mode: mode, byPolicy: true,
		Reason: reasonFor(d.kind, d.from, d.evidence, d.policy.Spec.WithDefaults().Failback.HealthyFor),
	}
	w, err := c.s.world(ctx, r)
	if err != nil {
		return err
	}
	if d.kind == KindFailover {
		w.Health[d.from] = w.Health[d.from].Following(d.evidence) // which knows when the outage began by the policy's own trigger
	}
	_, err = acceptable(w, r, "")
	if err == nil {
		err = c.write(ctx, func(ctx context.Context, tx *database.Tx) error {
			if err := c.brakes(ctx, tx); err != nil {
				return err
			}
			_, err := c.s.create(ctx, tx, w, r, "", &d.evidence)
			return err
		})
	}
	if omni.Is(err, omni.CodeRefused) || omni.Is(err, omni.CodeInvalid) || omni.Is(err, omni.CodeNotFound) {
		blocked := Blocked{
			Tenant: r.Tenant, Kind: r.Kind, From: r.From, Cause: BlockedRefused, Reason: err.Error(), Since: v.now,
		}
		if blockErr := c.block(ctx, blocked); blockErr != nil {
			return blockErr
		}
	}
	return err
}

// brakes holds the two limits once more inside the transaction that makes the run, and that nothing was frozen meanwhile.
func (c *controller) brakes(ctx context.Context, tx *database.Tx) error {
	freeze, err := readFreeze(ctx, tx)
	if err != nil {
		return err
	}
	alive, hour, err := brake(ctx, tx, tx.Now())
	if err != nil {
		return err
	}
	switch {
	case freeze.Frozen:
		return omni.Errorf(omni.CodeRefused, "automation is frozen by %s%s", freeze.By, because(freeze.Reason))
	case alive >= c.s.opts.MaxAlive, hour >= c.s.opts.MaxPerHour:
		return omni.Errorf(omni.CodeRefused, "the brake holds: %d runs by policy are alive, %d began in the last hour", alive, hour)
	}
	return nil
}

// block records what keeps a run from starting: once, until the cause is another.
func (c *controller) block(ctx context.Context, b Blocked) error {
	k := dueKey{b.Tenant, b.From}
	c.mu.Lock()
	before, known := c.blocked[k]
	c.mu.Unlock()
	if known && before.Cause == b.Cause && before.Kind == b.Kind && (b.Cause == BlockedRefused || before.Reason == b.Reason) {
		return nil
	}
	err := c.write(ctx, func(ctx context.Context, tx *database.Tx) error {
		_, err := tx.Exec(ctx, upsertBlocked, b.Tenant, b.From, string(b.Kind), b.Cause, b.Reason, database.Time(b.Since))
		if err != nil {
			return err
		}
		return events.Append(ctx, tx, events.New(EventBlocked, "failover/"+b.Tenant, b.Tenant, b))
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.blocked[k] = b
	c.mu.Unlock()
	return nil
}

// unblock forgets what is no longer due. What may return is looked at in some ticks only, so its blocks stay in the others.
func (c *controller) unblock(ctx context.Context, list []due) error {
	wanted := map[dueKey]bool{}
	for _, d := range list {
		wanted[d.key()] = true
	}
	looked := (c.ticks-1)%failbackEvery == 0
	var gone []dueKey
	c.mu.Lock()
	for k, b := range c.blocked {
		if !wanted[k] && (looked || b.Kind == KindFailover) {
			gone = append(gone, k)
		}
	}
	for k, at := range c.retry {
		if !wanted[k] && at.Before(c.s.now()) {
			delete(c.retry, k)
		}
	}
	c.mu.Unlock()
	return c.forget(ctx, gone...)
}

// forget removes what was recorded as blocked, where something was.
func (c *controller) forget(ctx context.Context, keys ...dueKey) error {
	c.mu.Lock()
	keys = slices.DeleteFunc(keys, func(k dueKey) bool { _, known := c.blocked[k]; return !known })
	c.mu.Unlock()
	if len(keys) == 0 {
		return nil
	}
	err := c.write(ctx, func(ctx context.Context, tx *database.Tx) error {
		for _, k := range keys {
			if _, err := tx.Exec(ctx, deleteBlocked, k.tenant, k.from); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range keys {
		delete(c.blocked, k)
	}
	return nil
}
