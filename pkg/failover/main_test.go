package failover_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/failover"
	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/election/epoch"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
	"github.com/omnicloud/omnicloud/pkg/provider"
	"github.com/omnicloud/omnicloud/pkg/provider/sim"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// wants fails the test unless err has the code and says each text.
func wants(tb testing.TB, err error, code omni.Code, texts ...string) {
	tb.Helper()
	if omni.CodeOf(err) != code {
		tb.Fatalf("got code %q (%v), want %q", omni.CodeOf(err), err, code)
	}
	all := err.Error()
	if e, ok := err.(*omni.Error); ok { //nolint:errorlint // the outermost is meant
		for _, f := range e.Fields {
			all += "\n" + f.Path + ": " + f.Message
		}
	}
	for _, text := range texts {
		if !strings.Contains(all, text) {
			tb.Errorf("the error does not say %q: %s", text, all)
		}
	}
}

// skies holds what each region's probes see.
type skies struct {
	mu   sync.Mutex
	dark map[string]bool
}

func (s *skies) set(region string, dark bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dark[region] = dark
}

// Observations gives four observations of each of the region's three zones.
func (s *skies) Observations(region string, _ time.Time) []infra.Observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []infra.Observation
	for _, zone := range []string{"a", "b", "c"} {
		for i := range 4 {
			o := infra.Observation{Region: region, Zone: zone, Probe: "web", Observer: "me", At: time.Now().Add(time.Duration(i-4) * 100 * time.Millisecond), OK: !s.dark[region]}
			if !o.OK {
				o.Error = "connection refused"
			}
			list = append(list, o)
		}
	}
	return list
}

// names is DNS in memory: it follows the resource called lb.
type names struct {
	store *infra.Store
	mu    sync.Mutex
	value string
	asked int
	fails error
}

func (n *names) Switch(ctx context.Context, tx *database.Tx, tenant string, resources []string, _ string, _ int64) ([]infra.RecordChange, error) {
	for _, name := range resources {
		if name != "lb" {
			continue
		}
		r, err := n.store.Resource(ctx, tx, tenant, name)
		if err != nil {
			return nil, err
		}
		p, _ := r.Active()
		n.mu.Lock()
		n.value = p.Address
		n.mu.Unlock()
		return []infra.RecordChange{{Zone: "acme.test.", Name: "shop.acme.test.", Type: "A", Values: []string{p.Address}, Serial: 2}}, nil
	}
	return nil, nil
}

func (n *names) Confirm(context.Context, []infra.RecordChange) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	return n.fails
}

func (n *names) answer() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.value
}

type books struct{}

func (books) Settled(context.Context, string, string, []string) (bool, error) { return true, nil }

type directory struct{}

func (directory) Exists(_ context.Context, name string) (bool, error) { return name != "nobody", nil }

// world is a service on a database with two regions, three zones each, and a driver in memory.
type world struct {
	t     testing.TB
	db    *database.DB
	ctx   context.Context
	store *infra.Store
	sky   *skies
	dns   *names
	sim   *sim.Driver
	s     *failover.Service
}

// registry gives the one driver under any name.
type registry struct{ driver provider.Driver }

func (r registry) Driver(string) (provider.Driver, error) { return r.driver, nil }

func newWorld(tb testing.TB, db *database.DB, change ...func(*failover.Options)) *world {
	tb.Helper()
	w := &world{t: tb, db: db, sky: &skies{dark: map[string]bool{}}, sim: sim.New(sim.Options{Seed: 1})}
	w.ctx = omni.WithRequest(tb.Context(), omni.Request{Identity: omni.Identity{Actor: "key:ops", Permissions: []string{"*"}}, ID: "req1"})
	w.store = infra.NewStore(infra.Options{})
	w.dns = &names{store: w.store}
	opts := failover.Options{
		DB: db, Infra: w.store, Drivers: registry{w.sim}, Observations: w.sky, DNS: w.dns, Meter: books{}, Tenants: directory{},
		Records: func(context.Context, string) ([]failover.Record, error) {
			return []failover.Record{{Zone: "acme", Name: "shop.acme.test.", Type: "A", Resource: "lb", Values: []string{"10.1.0.1"}}}, nil
		},
		Now: time.Now, Tick: 10 * time.Millisecond, VerifyFor: 300 * time.Millisecond, CatchUpFor: 300 * time.Millisecond,
		MeterFor: time.Second, CheckTimeout: time.Second,
		Workflow: workflow.Options{Poll: 20 * time.Millisecond, Backoff: workflow.Backoff{Base: time.Millisecond, Max: 5 * time.Millisecond}},
	}
	for _, fn := range change {
		fn(&opts)
	}
	w.s = failover.New(opts)
	w.write(func(ctx context.Context, tx *database.Tx) error {
		for _, name := range []string{"east", "west", "north"} {
			spec := infra.RegionSpec{}
			for _, zone := range []string{"a", "b", "c"} {
				spec.Zones = append(spec.Zones, infra.Zone{Name: zone, Probes: []infra.Probe{
					{Name: "web", Type: infra.ProbeTCP, Target: "127.0.0.1:1", Interval: omni.Duration(time.Second), Timeout: omni.Duration(500 * time.Millisecond)},
				}})
			}
			if _, err := w.store.ApplyRegion(ctx, tx, omni.Metadata{Name: name}, spec); err != nil {
				return err
			}
		}
		return nil
	})
	return w
}

func (w *world) write(fn func(ctx context.Context, tx *database.Tx) error) {
	w.t.Helper()
	must(w.t, w.db.Write(w.ctx, database.Platform(), fn))
}

// placement is a resource's part in a region, for the sim driver.
func placement(region string, role infra.Role, config map[string]any) infra.PlacementSpec {
	c := map[string]any{"role": string(role)}
	maps.Copy(c, config)
	address := map[string]string{"east": "10.1.0.1", "west": "10.2.0.1", "north": "10.3.0.1"}[region]
	return infra.PlacementSpec{Region: region, Role: role, Driver: "sim", Address: address, Config: c}
}

func (w *world) resource(tenant, name, typ string, needs []string, placements ...infra.PlacementSpec) {
	w.t.Helper()
	w.write(func(ctx context.Context, tx *database.Tx) error {
		_, err := w.store.ApplyResource(ctx, tx, omni.Metadata{Name: name, Tenant: tenant}, infra.ResourceSpec{Type: typ, DependsOn: needs, Placements: placements})
		return err
	})
}

// shop gives acme a database, an app that needs it and a load balancer in front, from east to west. change adds to the
// config of placements: "db.west" and the like.
func (w *world) shop(change map[string]map[string]any) {
	w.t.Helper()
	for _, r := range []struct {
		name, typ string
		needs     []string
	}{{"db", "database", nil}, {"app", "app", []string{"db"}}, {"lb", "loadbalancer", []string{"app"}}} {
		w.resource("acme", r.name, r.typ, r.needs,
			placement("east", infra.Active, change[r.name+".east"]), placement("west", infra.Standby, change[r.name+".west"]))
	}
}

func (w *world) policy(change func(*failover.PolicySpec)) {
	w.t.Helper()
	spec := failover.PolicySpec{Primary: "east", Targets: []string{"west"}, Trigger: failover.Trigger{Zones: 2}, Cooldown: omni.Duration(time.Millisecond)}
	if change != nil {
		change(&spec)
	}
	w.write(func(ctx context.Context, tx *database.Tx) error {
		_, err := w.s.ApplyPolicy(ctx, tx, omni.Metadata{Name: "default", Tenant: "acme"}, spec)
		return err
	})
}

// lead makes the service the leader until the test ends or stop is called.
func (w *world) lead() (stop func()) {
	w.t.Helper()
	var n int64
	w.write(func(ctx context.Context, tx *database.Tx) (err error) {
		n, err = epoch.Take(ctx, tx, "test")
		return err
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.ctx))
	ended := make(chan error, 1)
	go func() { ended <- w.s.Lead(ctx, n) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				w.t.Errorf("leading ended with %v", err)
			}
		})
	}
	w.t.Cleanup(stop)
	return stop
}

func (w *world) trigger(change func(*failover.TriggerRequest)) (failover.Run, error) {
	t := failover.TriggerRequest{Tenant: "acme", From: "east", To: "west", Confirm: "acme"}
	if change != nil {
		change(&t)
	}
	return w.s.Trigger(w.ctx, t)
}

// until waits for a run to come to a status.
func (w *world) until(id string, status failover.Status) failover.Run {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
	defer cancel()
	run, err := w.s.Wait(ctx, id, func(r failover.Run) bool { return r.Status == status })
	if err != nil || run.Status != status {
		w.t.Fatalf("the run is %s (%s), not %s: %v\n%s", run.Status, run.Error, status, err, steps(run))
	}
	return run
}

func steps(run failover.Run) string {
	var b strings.Builder
	for _, s := range run.Steps {
		fmt.Fprintf(&b, "%-16s %-12s %s%s\n", s.ID, s.Status, s.Message, s.Error)
	}
	return b.String()
}

// roles lists a resource's placements as "east=fenced west=active", and where it serves.
func (w *world) roles(name string) string {
	w.t.Helper()
	var r infra.Resource
	must(w.t, w.db.Read(w.ctx, database.Tenant("acme"), func(ctx context.Context, tx *database.Tx) (err error) {
		r, err = w.store.Resource(ctx, tx, "acme", name)
		return err
	}))
	var parts []string
	for _, p := range r.Placements {
		parts = append(parts, p.Region+"="+string(p.Role))
	}
	return strings.Join(parts, " ") + " serving " + r.Serving
}

// eventually polls until cond holds.
func eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	for end := time.Now().Add(15 * time.Second); !cond(); {
		if time.Now().After(end) {
			tb.Fatalf("never: %s", what)
		}
		timer := time.NewTimer(5 * time.Millisecond)
		select {
		case <-timer.C:
		case <-tb.Context().Done():
			tb.Fatal(tb.Context().Err())
		}
	}
}
