package sim

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/provider"
)

// Bounds of the world.
const (
	DefaultMaxTargets = 200_000
	// remembered is how many (run, step) of one placement are known to have had their effect; older ones are forgotten.
	remembered = 32
	// maxAttempts is how many unfinished (run, step) of one placement have their attempts counted.
	maxAttempts = 256
)

// Options sets up a Driver.
type Options struct {
	Seed       uint64 // decides what chance decides
	MaxTargets int    // how many placements the world may have; 0 is DefaultMaxTargets. More are refused with CodeUnavailable
}

// Driver is the world. It is safe for concurrent use.
type Driver struct {
	seed uint64
	most int

	mu    sync.Mutex
	world map[key]*placement
}

type key struct{ tenant, resource, region string }

// work is one action of one step of a run.
type work struct {
	run, step string
	action    provider.Action
}

// placement is one target's state.
type placement struct {
	role     string
	before   string // the role before it was stopped; start gives it back
	epoch    int64
	done     []work // the last ones that had their effect, oldest first
	attempts map[work]int
	effects  []Effect
}

// Effect is one change that the world has seen.
type Effect struct {
	Action    provider.Action
	Run, Step string
	Epoch     int64
}

// New makes an empty world.
func New(opts Options) *Driver {
	if opts.MaxTargets <= 0 {
		opts.MaxTargets = DefaultMaxTargets
	}
	return &Driver{seed: opts.Seed, most: opts.MaxTargets, world: map[key]*placement{}}
}

// Validate implements provider.Driver.
func (d *Driver) Validate(config map[string]any) []omni.FieldError {
	_, s := read(config)
	return s.Faults()
}

// Check implements provider.Driver.
func (d *Driver) Check(ctx context.Context, c provider.Call) (provider.State, error) {
	c.Action = provider.Check
	conf, err := d.meet(ctx, c)
	if err != nil {
		return provider.State{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	state := provider.State{Role: conf.role, Healthy: !conf.unhealthy}
	if p := d.world[keyOf(c.Target)]; p != nil {
		if c.Epoch != 0 && c.Epoch < p.epoch {
			return provider.State{}, provider.ErrStaleEpoch
		}
		if p.role != "" {
			state.Role = p.role
		}
	}
	if state.Role == provider.RoleStopped {
		state.Healthy = false
	}
	if state.Role == provider.RoleStandby || state.Role == "" {
		state.LagSeconds, state.LagBytes = conf.lagSeconds, conf.lagBytes
	}
	return state, nil
}

// Do implements provider.Driver.
func (d *Driver) Do(ctx context.Context, c provider.Call) error {
	conf, err := d.meet(ctx, c)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := d.find(keyOf(c.Target), conf)
	if err != nil {
		return err
	}
	if c.Epoch < p.epoch {
		return provider.ErrStaleEpoch
	}
	p.epoch = c.Epoch
	w := work{c.Run, c.Step, c.Action}
	if slices.Contains(p.done, w) {
		return nil
	}
	if len(p.attempts) >= maxAttempts {
		clear(p.attempts)
	}
	p.attempts[w]++
	if p.attempts[w] <= conf.failFirst {
		return failure(c.Action, "this attempt fails, as failFirst says")
	}
	if conf.failRate > 0 && d.chance(c, p.attempts[w]).Float64() < conf.failRate {
		return failure(c.Action, "chance decided so, as failRate says")
	}
	p.apply(w, c.Epoch)
	return nil
}

// apply is an action's effect.
func (p *placement) apply(w work, epoch int64) {
	switch role := provider.RoleAfter(w.action); {
	case w.action == provider.Start:
		if p.role == provider.RoleStopped {
			p.role = p.before
		}
	case w.action == provider.Stop && p.role != provider.RoleStopped:
		p.before, p.role = p.role, role
	case role != "":
		p.role = role
	}
	delete(p.attempts, w)
	if w.run != "" { // without a run there is no key, and each call is one of its own
		p.done = keep(p.done, w)
	}
	p.effects = keep(p.effects, Effect{Action: w.action, Run: w.run, Step: w.step, Epoch: epoch})
}

// keep appends an item and drops the oldest beyond what is remembered.
func keep[T any](list []T, item T) []T {
	if len(list) >= remembered {
		list = slices.Delete(list, 0, len(list)-remembered+1)
	}
	return append(list, item)
}

// meet is what every call goes through first: its config, its latency and the actions that cannot succeed.
func (d *Driver) meet(ctx context.Context, c provider.Call) (settings, error) {
	conf, s := read(c.Target.Config)
	if err := s.Err("sim"); err != nil {
		return conf, err
	}
	wait := conf.latency
	if conf.jitter > 0 {
		wait += time.Duration(d.chance(c, -1).Int64N(int64(conf.jitter) + 1))
	}
	hangs := slices.Contains(conf.hangActions, string(c.Action))
	if hangs || wait > conf.timeout {
		wait = conf.timeout
		hangs = true
	}
	if err := sleep(ctx, wait); err != nil {
		return conf, omni.Errorf(omni.CodeUnavailable, "%s was interrupted: %w", c.Action, err)
	}
	switch {
	case hangs:
		return conf, failure(c.Action, "it did not end within "+omni.Duration(conf.timeout).String())
	case slices.Contains(conf.unsupported, string(c.Action)):
		return conf, provider.ErrNotSupported
	case slices.Contains(conf.failActions, string(c.Action)):
		return conf, failure(c.Action, conf.failMessage)
	}
	return conf, nil
}

// find gives a placement's state and makes it at first sight.
func (d *Driver) find(k key, conf settings) (*placement, error) {
	if p := d.world[k]; p != nil {
		return p, nil
	}
	if len(d.world) >= d.most {
		return nil, omni.Errorf(omni.CodeUnavailable, "the simulated world is full: it has %d placements", d.most).
			WithHint("restart omnid to begin with an empty world")
	}
	p := &placement{role: conf.role, before: conf.role, attempts: map[work]int{}}
	d.world[k] = p
	return p, nil
}

// Effects gives the last changes of a placement, oldest first: what tests and benchmarks look at.
func (d *Driver) Effects(tenant, resource, region string) []Effect {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.world[key{tenant, resource, region}]; p != nil {
		return slices.Clone(p.effects)
	}
	return nil
}

func keyOf(t provider.Target) key { return key{t.Tenant, t.Resource, t.Region} }

func failure(action provider.Action, why string) error {
	return omni.Errorf(omni.CodeUnavailable, "%s failed in the simulated world: %s", action, why)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
