package failover

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/election/epoch"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// Lead does what only the leader does, until ctx ends or leadership has moved on from epoch (CodeStale): it drives the runs that
// are alive (the workflow engine), judges the regions, and starts the runs that policies ask for. It returns when all that it
// has begun has ended.
func (s *Service) Lead(ctx context.Context, epoch int64) error {
	group, ctx := errgroup.WithContext(as(ctx))
	group.Go(func() error { return s.engine.Lead(ctx, epoch) })
	group.Go(func() error { return newController(s, epoch).run(ctx) })
	return group.Wait()
}

// regionTrigger is a region seen through one policy's trigger; policies that agree share it.
type regionTrigger struct {
	region  string
	trigger Trigger
}

// dueKey names what a policy may ask for: one run a tenant and region that is to be left.
type dueKey struct{ tenant, from string }

// due is a run that a policy asks for.
type due struct {
	policy   Policy
	kind     Kind
	from     string
	evidence Verdict
}

func (d due) key() dueKey { return dueKey{d.policy.Tenant, d.from} }

const (
	failbackEvery = 4               // ticks between two looks at who may return
	retryAfter    = 2 * time.Second // until a plan that was refused is made again
)

// controller is one leadership of the automation.
type controller struct {
	s      *Service
	epoch  int64
	ticks  int
	stored map[string]Verdict        // what the database has of each region, by the default trigger
	health map[regionTrigger]Verdict // what was judged last, for its Since
	calm   map[string]time.Time      // by run that awaits approval, since when its source has been up again

	mu      sync.Mutex
	blocked map[dueKey]Blocked
	busy    map[dueKey]bool
	begun   int // runs made since the tick has read which are alive
	retry   map[dueKey]time.Time
	work    sync.WaitGroup
}

func newController(s *Service, epoch int64) *controller {
	return &controller{
		s: s, epoch: epoch, stored: map[string]Verdict{}, health: map[regionTrigger]Verdict{},
		blocked: map[dueKey]Blocked{}, busy: map[dueKey]bool{}, retry: map[dueKey]time.Time{},
	}
}

func (c *controller) run(ctx context.Context) error {
	defer c.work.Wait()
	ticker := time.NewTicker(c.s.opts.Tick)
	defer ticker.Stop()
	for loaded := false; ; {
		var err error
		if !loaded {
			err = c.load(ctx)
			loaded = err == nil
		}
		if err == nil {
			err = c.tick(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // whatever failed, failed because this is over
		case omni.Is(err, omni.CodeStale):
			return err
		case err != nil:
			c.s.log.ErrorContext(ctx, "the controller could not look at the regions", "error", err, "cause", errors.Unwrap(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// load reads what an earlier leader has stored.
func (c *controller) load(ctx context.Context) error {
	return c.s.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		verdicts, err := queryVerdicts(ctx, tx, selectVerdicts)
		if err != nil {
			return err
		}
		for _, v := range verdicts {
			c.stored[v.Region] = v
		}
		list, err := queryBlocked(ctx, tx)
		for _, b := range list {
			c.blocked[dueKey{b.Tenant, b.From}] = b
		}
		return err
	})
}

// view is what one tick reads.
type view struct {
	now      time.Time
	regions  []infra.Region
	policies []Policy
	freeze   Freeze
	alive    map[string]Run // by tenant
	runs     *runsSeen
}

func (c *controller) tick(ctx context.Context) error {
	v := view{alive: map[string]Run{}, runs: &runsSeen{}}
	c.mu.Lock()
	c.begun = 0
	c.mu.Unlock()
	err := c.s.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) (err error) {
		v.now = tx.Now()
		if v.regions, err = c.s.infra.AllRegions(ctx, tx); err != nil {
			return err
		}
		if v.freeze, err = readFreeze(ctx, tx); err != nil {
			return err
		}
		if v.policies, err = c.s.allPolicies(ctx, tx); err != nil {
			return err
		}
		alive, err := queryRuns(ctx, tx, aliveRuns)
		clear(v.alive)
		for _, run := range alive {
			v.alive[run.Tenant] = run
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := c.publish(ctx, v); err != nil {
		return err
	}
	list, err := c.dues(ctx, v)
	if err != nil {
		return err
	}
	if err := c.withdraw(ctx, v); err != nil {
		return err
	}
	c.ticks++
	if err := c.unblock(ctx, list); err != nil {
		return err
	}
	for _, d := range list {
		if err := c.handle(ctx, v, d); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) allPolicies(ctx context.Context, tx *database.Tx) ([]Policy, error) {
	var all []Policy
	for req := (omni.PageRequest{Limit: omni.MaxPage}); ; {
		p, err := s.Policies(ctx, tx, "", req)
		if err != nil {
			return nil, err
		}
		all = append(all, p.Items...)
		if p.Next == "" {
			return all, nil
		}
		req.After = p.Next
	}
}

// publish stores and tells each verdict whose health has changed.
func (c *controller) publish(ctx context.Context, v view) error {
	var changed []Verdict
	for _, r := range v.regions {
		verdict := c.judged(v, r, Trigger{}.WithDefaults())
		if c.stored[r.Name].Health != verdict.Health {
			changed = append(changed, verdict)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	err := c.write(ctx, func(ctx context.Context, tx *database.Tx) error {
		for _, verdict := range changed {
			text, err := encode(verdict)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, upsertVerdict, verdict.Region, string(verdict.Health), database.Time(verdict.Since), text); err != nil {
				return err
			}
			if err := events.Append(ctx, tx, events.New(EventVerdict, "region/"+verdict.Region, "", verdict)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, verdict := range changed {
		c.stored[verdict.Region] = verdict
	}
	return nil
}

func (c *controller) write(ctx context.Context, fn func(context.Context, *database.Tx) error) error {
	return c.s.db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		if err := epoch.Fence(ctx, tx, c.epoch); err != nil {
			return err
		}
		return fn(ctx, tx)
	})
}

// judged judges a region by a trigger, once a tick, and remembers since when it has been so.
func (c *controller) judged(v view, r infra.Region, t Trigger) Verdict {
	k := regionTrigger{r.Name, t}
	before, known := c.health[k]
	if known && before.At.Equal(v.now) {
		return before
	}
	if !known {
		before = c.stored[r.Name]
	}
	verdict := c.s.judge(r, t, v.now).Following(before)
	c.health[k] = verdict
	return verdict
}

// dues lists the runs that policies ask for now.
func (c *controller) dues(ctx context.Context, v view) ([]due, error) {
	var list []due
	active := map[string]map[string]bool{} // by region, the tenants that are active there
	for _, p := range v.policies {
		leaving, err := c.failoverDue(ctx, v, p, active)
		if err != nil {
			return nil, err
		}
		list = append(list, leaving...)
		if c.ticks%failbackEvery == 0 {
			d, err := c.failbackDue(ctx, v, p)
			if err != nil {
				return nil, err
			}
			list = append(list, d...)
		}
	}
	for k, verdict := range c.health { // regions and triggers that are no more
		if !verdict.At.Equal(v.now) {
			delete(c.health, k)
		}
	}
	return list, nil
}

// failoverDue lists the regions that are down by the policy and have something of the tenant active. active is filled with what
// must be read for that.
func (c *controller) failoverDue(ctx context.Context, v view, p Policy, active map[string]map[string]bool) ([]due, error) {
	var list []due
	trigger := p.Spec.Trigger.WithDefaults()
	for _, r := range v.regions {
		verdict := c.judged(v, r, trigger)
		if verdict.Health != Down {
			continue
		}
		if active[r.Name] == nil {
			tenants, err := c.activeIn(ctx, r.Name)
			if err != nil {
				return nil, err
			}
			active[r.Name] = tenants
		}
		if active[r.Name][p.Tenant] {
			list = append(list, due{policy: p, kind: KindFailover, from: r.Name, evidence: verdict})
		}
	}
	return list, nil
}

func (c *controller) activeIn(ctx context.Context, region string) (map[string]bool, error) {
	tenants := map[string]bool{}
	err := c.s.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		for after := ""; ; {
			names, err := c.s.infra.TenantsActiveIn(ctx, tx, region, after, omni.MaxPage)
			for _, name := range names {
				tenants[name], after = true, name
			}
			if err != nil || len(names) < omni.MaxPage {
				return err
			}
		}
	})
	return tenants, err
}

func (c *controller) failbackDue(ctx context.Context, v view, p Policy) ([]due, error) {
	primary, ok := c.health[regionTrigger{p.Spec.Primary, p.Spec.Trigger.WithDefaults()}]
	if !ok || p.Spec.Failback.Mode != Automatic || primary.Health != Up {
		return nil, nil
	}
	seen, err := c.seen(ctx, v)
	if err != nil {
		return nil, err
	}
	last := seen.lastOf(p.Tenant)
	if !returns(p, primary, last, v.now) {
		return nil, nil
	}
	return []due{{policy: p, kind: KindFailback, from: last.To, evidence: primary}}, nil
}
