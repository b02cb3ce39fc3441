package failover

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/provider"
)

// checksAtOnce bounds the drivers' checks of one plan.
const checksAtOnce = 32

// snapshot reads what the database knows of a tenant's world.
func (s *Service) snapshot(ctx context.Context, tx *database.Tx, tenant string) (World, error) {
	w := World{Now: tx.Now()}
	var err error
	if w.Regions, err = s.infra.AllRegions(ctx, tx); err != nil {
		return w, err
	}
	if w.Resources, err = s.infra.AllResources(ctx, tx, tenant); err != nil {
		return w, err
	}
	if w.Policy, err = policyOf(ctx, tx, tenant); err != nil {
		return w, err
	}
	if w.History, err = readHistory(ctx, tx); err != nil {
		return w, err
	}
	verdicts, err := queryVerdicts(ctx, tx, selectVerdicts)
	if err != nil {
		return w, err
	}
	w.stored = make(map[string]Verdict, len(verdicts))
	for _, v := range verdicts {
		w.stored[v.Region] = v
	}
	err = tx.Query(ctx, aliveRun, []any{tenant}, func(scan func(...any) error) error { return scan(&w.Alive) })
	return w, err
}

// judgeAll judges every region by the tenant's policy.
func (s *Service) judgeAll(w *World) {
	var t Trigger
	if w.Policy != nil {
		t = w.Policy.Spec.Trigger
	}
	w.Health = make(map[string]Verdict, len(w.Regions))
	for _, r := range w.Regions {
		w.Health[r.Name] = s.judge(r, t, w.Now).Following(w.stored[r.Name])
	}
}

func (s *Service) judge(r infra.Region, t Trigger, now time.Time) Verdict {
	return Judge(r, s.opts.Observations.Observations(r.Name, now.Add(-lookback(r, t))), t, now)
}

// survey reads the database and the records, and judges the regions.
func (s *Service) survey(ctx context.Context, tenant string) (World, error) {
	var w World
	err := s.db.Read(ctx, database.Tenant(tenant), func(ctx context.Context, tx *database.Tx) (err error) {
		w, err = s.snapshot(ctx, tx, tenant)
		return err
	})
	if err != nil {
		return w, err
	}
	s.judgeAll(&w)
	if s.opts.Records != nil {
		w.Records, err = s.opts.Records(ctx, tenant)
	}
	return w, err
}

// world surveys the tenant's world and asks the drivers.
func (s *Service) world(ctx context.Context, r Request) (World, error) {
	w, err := s.survey(ctx, r.Tenant)
	if err != nil {
		return w, err
	}
	if r, err = resolve(w, r); err != nil {
		return w, nil //nolint:nilerr // MakePlan reports it
	}
	if w.Alive == "" { // else the plan is refused, and asking could renew a lease that the run is waiting out
		s.ask(ctx, &w, r)
	}
	return w, nil
}

// ask has the drivers check what the request would move: the targets, and in a planned move the sources too.
func (s *Service) ask(ctx context.Context, w *World, r Request) {
	w.Placements = map[PlacementKey]PlacementState{}
	var mu sync.Mutex
	var wait sync.WaitGroup
	slots := make(chan struct{}, checksAtOnce)
	check := func(m mover, p infra.Placement) {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			state := s.state(ctx, m.Resource, p)
			mu.Lock()
			defer mu.Unlock()
			w.Placements[PlacementKey{m.Name, p.Region}] = state
		})
	}
	list, _ := movers(*w, r.From, r.To)
	for _, m := range list {
		if m.moved || m.rejoins {
			continue
		}
		check(m, m.to)
		if r.Mode == Planned && w.health(r.From) != Down {
			check(m, m.from)
		}
	}
	wait.Wait()
}

// state is what a placement's driver says of it, for nobody's run.
func (s *Service) state(ctx context.Context, r infra.Resource, p infra.Placement) PlacementState {
	driver, err := s.opts.Drivers.Driver(p.Driver)
	if err != nil {
		return PlacementState{Error: err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.CheckTimeout)
	defer cancel()
	state, err := driver.Check(ctx, provider.Call{Target: target(r, p), Action: provider.Check})
	switch {
	case errors.Is(err, provider.ErrNotSupported):
		return PlacementState{Silent: true}
	case err != nil:
		return PlacementState{Error: err.Error()}
	}
	return PlacementState{Role: state.Role, Healthy: state.Healthy, LagSeconds: state.LagSeconds, LagBytes: state.LagBytes}
}

func target(r infra.Resource, p infra.Placement) provider.Target {
	return provider.Target{
		Tenant: r.Tenant, Resource: r.Name, Type: r.Type, Region: p.Region, Address: p.Address, Driver: p.Driver, Config: p.Config,
	}
}
