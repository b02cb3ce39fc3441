package failover_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/failover"
	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
)

// runs lists all runs, newest first.
func (w *world) runs() []failover.Run {
	w.t.Helper()
	page, err := w.s.Runs(w.ctx, "", "", omni.PageRequest{})
	must(w.t, err)
	return page.Items
}

func (w *world) count(query string) int {
	w.t.Helper()
	n := 0
	must(w.t, w.db.Read(w.ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		return tx.QueryRow(ctx, query, nil, &n)
	}))
	return n
}

func TestRegionDies(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db)
		w.shop(nil)
		w.policy(nil)
		w.lead()
		eventually(t, "the verdicts are stored", func() bool {
			return w.count(`select count(*) from failover_verdicts where health = 'up'`) == 3
		})
		w.sky.set("east", true)
		eventually(t, "a run has begun", func() bool { return len(w.runs()) == 1 })
		run := w.until(w.runs()[0].ID, failover.Succeeded)
		if run.Trigger != "policy" || run.Mode != failover.Forced || run.InitiatedBy != "system:failover" || run.Evidence == nil ||
			len(run.Evidence.Votes) != 3 || !strings.Contains(run.Reason, "east is down") {
			t.Errorf("got %+v", run)
		}
		if got := w.roles("lb"); got != "east=fenced west=active serving west" {
			t.Error(got)
		}
		v, err := w.s.RegionHealth(w.ctx, "east")
		must(t, err)
		if v.Health != failover.Down || v.Since.After(run.InitiatedAt) {
			t.Errorf("got %+v", v)
		}
		eventually(t, "the verdict was told", func() bool { return w.count(`select count(*) from outbox where type = 'omni.region.verdict'`) >= 4 })
		if n := len(w.runs()); n != 1 {
			t.Errorf("there are %d runs", n)
		}
	})
}

func TestAutomationIsFrozen(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db)
		w.shop(nil)
		w.policy(nil)
		_, err := w.s.SetFrozen(w.ctx, true, "a migration")
		must(t, err)
		w.lead()
		w.sky.set("east", true)
		blocked := func() []failover.Blocked {
			f, err := w.s.Automation(w.ctx)
			must(t, err)
			return f.Blocked
		}
		eventually(t, "it says what it would have done", func() bool { return len(blocked()) == 1 })
		if b := blocked()[0]; b.Cause != failover.BlockedFrozen || b.Tenant != "acme" || !strings.Contains(b.Reason, "key:ops (a migration)") {
			t.Errorf("got %+v", b)
		}
		ticks := time.NewTimer(200 * time.Millisecond) // some twenty looks at it
		<-ticks.C
		if n := w.count(`select count(*) from outbox where type = 'omni.failover.blocked'`); n != 1 {
			t.Errorf("it was told %d times", n)
		}
		if n := len(w.runs()); n != 0 {
			t.Fatalf("%d runs began", n)
		}
		f, err := w.s.SetFrozen(w.ctx, false, "")
		must(t, err)
		if f.Frozen {
			t.Error("still frozen")
		}
		eventually(t, "a run has begun", func() bool { return len(w.runs()) == 1 })
		w.until(w.runs()[0].ID, failover.Succeeded)
		eventually(t, "nothing is blocked any more", func() bool { return len(blocked()) == 0 })
		if got := w.audited(); got["automation.freeze"] != 1 || got["automation.unfreeze"] != 1 {
			t.Errorf("audited %v", got)
		}
	})
}

func TestApproval(t *testing.T) {
	w := newWorld(t, databasetest.Open(t, database.Infra))
	w.shop(nil)
	w.policy(func(p *failover.PolicySpec) { p.Approval = failover.Manual })
	w.lead()
	w.sky.set("east", true)
	eventually(t, "a run waits", func() bool {
		runs := w.runs()
		return len(runs) == 1 && runs[0].Status == failover.AwaitingApproval
	})
	id := w.runs()[0].ID
	_, err := w.s.Approve(w.ctx, "", id, "go")
	must(t, err)
	w.until(id, failover.Succeeded)
	_, err = w.s.Abort(w.ctx, "", id, "")
	wants(t, err, omni.CodeRefused, "succeeded")
}

// waits gives the id of the one run that awaits approval.
func (w *world) waits() string {
	w.t.Helper()
	eventually(w.t, "a run waits", func() bool { runs := w.runs(); return len(runs) > 0 && runs[0].Status == failover.AwaitingApproval })
	return w.runs()[0].ID
}

func TestOnlyAPlanThatIsStillTrueIsApproved(t *testing.T) {
	for name, change := range map[string]func(ctx context.Context, tx *database.Tx, w *world) error{
		"its resources": func(ctx context.Context, tx *database.Tx, w *world) error {
			return w.store.DeleteResource(ctx, tx, "acme", "lb")
		},
		"nothing of acme is active": func(ctx context.Context, tx *database.Tx, w *world) error {
			for _, name := range []string{"lb", "app", "db"} {
				if err := w.store.DeleteResource(ctx, tx, "acme", name); err != nil {
					return err
				}
			}
			_, err := w.store.ApplyResource(ctx, tx, omni.Metadata{Name: "db", Tenant: "acme"}, infra.ResourceSpec{
				Type: "database", Placements: []infra.PlacementSpec{placement("north", infra.Active, nil)},
			})
			return err
		},
		"the cordon of a region": func(ctx context.Context, tx *database.Tx, w *world) error {
			_, err := w.store.Cordon(ctx, tx, "west", "a test")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
				w := newWorld(t, db)
				w.shop(nil)
				w.policy(func(p *failover.PolicySpec) { p.Approval = failover.Manual })
				w.lead()
				w.sky.set("east", true)
				id := w.waits()
				w.write(func(ctx context.Context, tx *database.Tx) error { return change(ctx, tx, w) })
				_, err := w.s.Approve(w.ctx, "acme", id, "go")
				wants(t, err, omni.CodeStale, id, name)
				run, err := w.s.Run(w.ctx, "acme", id)
				must(t, err)
				if run.Status != failover.AwaitingApproval {
					t.Errorf("the run is %s", run.Status)
				}
				if n := len(w.sim.Effects("acme", "db", "west")); n != 0 {
					t.Errorf("the standby was touched %d times", n)
				}
			})
		})
	}
}

func TestNothingChangesUnderARun(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db)
		w.store = infra.NewStore(infra.Options{Busy: w.s.Busy})
		w.shop(nil)
		manual := func(p *failover.PolicySpec) { p.Approval = failover.Manual }
		w.policy(manual)
		w.lead()
		w.sky.set("east", true)
		id := w.waits()
		w.shop(nil) // as they are
		w.policy(manual)
		for name, change := range map[string]func(ctx context.Context, tx *database.Tx) error{
			"resource lb": func(ctx context.Context, tx *database.Tx) error { return w.store.DeleteResource(ctx, tx, "acme", "lb") },
			"resource db": func(ctx context.Context, tx *database.Tx) error {
				_, err := w.store.ApplyResource(ctx, tx, omni.Metadata{Name: "db", Tenant: "acme"}, infra.ResourceSpec{
					Type: "database", Placements: []infra.PlacementSpec{placement("east", infra.Active, nil)},
				})
				return err
			},
			"policy default": func(ctx context.Context, tx *database.Tx) error { return w.s.DeletePolicy(ctx, tx, "acme", "default") },
			"policy default cannot": func(ctx context.Context, tx *database.Tx) error {
				_, err := w.s.ApplyPolicy(ctx, tx, omni.Metadata{Name: "default", Tenant: "acme"}, failover.PolicySpec{Primary: "east", Targets: []string{"north"}})
				return err
			},
		} {
			wants(t, w.db.Write(w.ctx, database.Platform(), change), omni.CodeConflict, name, id)
		}
		_, err := w.s.Approve(w.ctx, "acme", id, "go")
		must(t, err)
		w.until(id, failover.Succeeded)
		w.policy(nil)
		w.write(func(ctx context.Context, tx *database.Tx) error { return w.store.DeleteResource(ctx, tx, "acme", "lb") })
	})
}

// TestARunAndAChangeDoNotMeet has changes race with runs being made: a run's plan is of what there is.
func TestARunAndAChangeDoNotMeet(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db) // nobody leads: the runs stay as they begin
		w.store = infra.NewStore(infra.Options{Busy: w.s.Busy})
		for i := range 12 {
			w.resource("acme", "db", "database", nil, placement("east", infra.Active, nil), placement("west", infra.Standby, nil))
			var changed error
			var group sync.WaitGroup
			group.Go(func() {
				changed = w.db.Write(w.ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
					_, err := w.store.ApplyResource(ctx, tx, omni.Metadata{Name: "db", Tenant: "acme"}, infra.ResourceSpec{
						Type: "database", Placements: []infra.PlacementSpec{placement("east", infra.Active, nil), placement("north", infra.Standby, nil)},
					})
					return err
				})
			})
			run, err := w.trigger(nil)
			group.Wait()
			switch {
			case changed == nil && err == nil:
				t.Fatalf("round %d: west was taken away under the run %s, which goes there", i, run.ID)
			case changed != nil && !omni.Is(changed, omni.CodeConflict):
				t.Fatalf("round %d: %v", i, changed)
			}
			if err == nil {
				_, err = w.s.Abort(w.ctx, "acme", run.ID, "")
				must(t, err)
			}
		}
	})
}

func TestARunIsWithdrawnThatNobodyApprovedInTime(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db)
		w.shop(nil)
		w.policy(func(p *failover.PolicySpec) {
			p.Approval, p.Trigger.Window, p.Cooldown = failover.Manual, omni.Duration(200*time.Millisecond), omni.Duration(time.Hour)
		})
		w.lead()
		w.sky.set("east", true)
		id := w.waits()
		begin := time.Now()
		w.sky.set("east", false)
		w.until(id, failover.Aborted)
		if took := time.Since(begin); took < 200*time.Millisecond {
			t.Errorf("it was aborted after %s already", took)
		}
		if got := w.audited(); got["failover.abort"] != 1 || got["failover.approve"] != 0 {
			t.Errorf("audited %v", got)
		}
		if n := w.count(`select count(*) from outbox where event like '%east has been up again for 200ms%'`); n != 1 {
			t.Errorf("the reason was audited %d times", n)
		}
		w.sky.set("east", true) // it moved nothing, so that no cooldown follows
		if again := w.waits(); again == id {
			t.Error("there is no new run")
		}
	})
}

func TestEachTenantHasItsOwnLastRun(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db)
		policy := func(tenant, primary, target string) {
			w.write(func(ctx context.Context, tx *database.Tx) error {
				_, err := w.s.ApplyPolicy(ctx, tx, omni.Metadata{Name: "default", Tenant: tenant}, failover.PolicySpec{
					Primary: primary, Targets: []string{target}, Trigger: failover.Trigger{Zones: 2}, Cooldown: omni.Duration(time.Hour),
				})
				return err
			})
		}
		w.resource("acme", "db", "database", nil, placement("east", infra.Active, nil), placement("west", infra.Standby, nil), placement("north", infra.Standby, nil))
		policy("acme", "east", "west")
		for i := range 5 {
			tenant := fmt.Sprintf("tenant-%d", i)
			w.resource(tenant, "db", "database", nil, placement("west", infra.Active, nil), placement("north", infra.Standby, nil))
			policy(tenant, "west", "north")
		}
		w.lead()
		w.sky.set("east", true)
		eventually(t, "acme has moved", func() bool { runs := w.runs(); return len(runs) == 1 && runs[0].Status == failover.Succeeded })
		w.sky.set("east", false)
		w.sky.set("west", true)
		eventually(t, "the others have moved", func() bool {
			return w.count(`select count(*) from failover_runs where status = 'succeeded' and target = 'north'`) == 5
		})
		eventually(t, "acme cools down", func() bool {
			f, err := w.s.Automation(w.ctx)
			must(t, err)
			return len(f.Blocked) == 1 && f.Blocked[0].Tenant == "acme" && f.Blocked[0].Cause == failover.BlockedCooldown
		})
	})
}

func TestAutomaticFailback(t *testing.T) {
	w := newWorld(t, databasetest.Open(t, database.Infra))
	w.shop(nil)
	w.policy(func(p *failover.PolicySpec) {
		p.Failback = failover.Failback{Mode: failover.Automatic, HealthyFor: omni.Duration(100 * time.Millisecond)}
	})
	w.lead()
	w.sky.set("east", true)
	eventually(t, "it has left", func() bool {
		runs := w.runs()
		return len(runs) == 1 && runs[0].Status == failover.Succeeded
	})
	w.sky.set("east", false)
	eventually(t, "it has returned", func() bool {
		runs := w.runs()
		return len(runs) == 2 && runs[0].Status == failover.Succeeded
	})
	run := w.runs()[0]
	if run.Kind != failover.KindFailback || run.Mode != failover.Planned || run.From != "west" || run.To != "east" || run.Trigger != "policy" {
		t.Errorf("got %+v", run)
	}
	if got := w.roles("db"); got != "east=active west=standby serving east" {
		t.Error(got)
	}
}

func TestRefusedByGuard(t *testing.T) {
	w := newWorld(t, databasetest.Open(t, database.Infra))
	w.shop(map[string]map[string]any{"db.west": {"lagSeconds": 60.0}})
	w.policy(nil)
	w.lead()
	w.sky.set("east", true)
	eventually(t, "it says what keeps it", func() bool {
		f, err := w.s.Automation(w.ctx)
		must(t, err)
		return len(f.Blocked) == 1 && f.Blocked[0].Cause == failover.BlockedRefused && strings.Contains(f.Blocked[0].Reason, "60.0s behind")
	})
	if n := len(w.runs()); n != 0 {
		t.Errorf("%d runs began", n)
	}
}

func TestBrake(t *testing.T) {
	w := newWorld(t, databasetest.Open(t, database.Infra), func(o *failover.Options) { o.MaxPerHour = 2 })
	for i := range 5 {
		tenant := fmt.Sprintf("tenant%d", i)
		w.resource(tenant, "db", "database", nil, placement("east", infra.Active, nil), placement("west", infra.Standby, nil))
		w.write(func(ctx context.Context, tx *database.Tx) error {
			_, err := w.s.ApplyPolicy(ctx, tx, omni.Metadata{Name: "default", Tenant: tenant}, failover.PolicySpec{Primary: "east", Targets: []string{"west"}})
			return err
		})
	}
	w.lead()
	w.sky.set("east", true)
	eventually(t, "three are held", func() bool {
		f, err := w.s.Automation(w.ctx)
		must(t, err)
		n := 0
		for _, b := range f.Blocked {
			if b.Cause == failover.BlockedBrake {
				n++
			}
		}
		return n == 3 && len(w.runs()) == 2
	})
}

func TestNewLeaderGoesOn(t *testing.T) {
	w := newWorld(t, databasetest.Open(t, database.Infra))
	w.shop(map[string]map[string]any{"db.west": {"latency": "300ms"}})
	w.policy(nil)
	stop := w.lead()
	w.sky.set("east", true)
	eventually(t, "a run has begun", func() bool { return len(w.runs()) == 1 })
	stop()
	id := w.runs()[0].ID
	if !w.runs()[0].Status.Alive() {
		t.Fatal("it was too fast for this test")
	}
	w.lead()
	w.until(id, failover.Succeeded)
	if n := len(w.runs()); n != 1 {
		t.Errorf("there are %d runs", n)
	}
}

func TestDecide(t *testing.T) {
	ended := noon.Add(-10 * time.Minute)
	base := func() failover.Facts {
		return failover.Facts{
			Now: noon, Kind: failover.KindFailover, From: "east", MaxAlive: 10, MaxPerHour: 60,
			Policy:  failover.Policy{Tenant: "acme", Spec: failover.PolicySpec{Primary: "east", Targets: []string{"west", "north"}}},
			Regions: []infra.Region{{Name: "east"}, {Name: "north"}, {Name: "west"}},
			Health:  map[string]failover.Verdict{"east": {Health: failover.Down}, "west": {Health: failover.Up}, "north": {Health: failover.Up}},
		}
	}
	for name, c := range map[string]struct {
		change func(*failover.Facts)
		target string
		cause  string
	}{
		"the first target":                  {func(*failover.Facts) {}, "west", ""},
		"the next when the first is closed": {func(f *failover.Facts) { f.Regions[2].Cordoned = true }, "north", ""},
		"the next when the first is not up": {func(f *failover.Facts) { f.Health["west"] = failover.Verdict{Health: failover.Degraded} }, "north", ""},
		"home when away and hit again": {func(f *failover.Facts) {
			f.From, f.Policy.Spec.Targets = "west", []string{"west"}
			f.Health["east"] = f.Health["north"]
		}, "east", ""},
		"nowhere":             {func(f *failover.Facts) { f.Health = nil }, "", failover.BlockedTarget},
		"frozen":              {func(f *failover.Facts) { f.Freeze.Frozen = true }, "", failover.BlockedFrozen},
		"within the cooldown": {func(f *failover.Facts) { f.Last = &failover.Run{ID: "r", FinishedAt: &ended} }, "", failover.BlockedCooldown},
		"after the cooldown": {func(f *failover.Facts) {
			f.Last, f.Policy.Spec.Cooldown = &failover.Run{ID: "r", FinishedAt: &ended}, omni.Duration(9*time.Minute)
		}, "west", ""},
		"too many at once":        {func(f *failover.Facts) { f.AliveRuns = 10 }, "", failover.BlockedBrake},
		"too many in an hour":     {func(f *failover.Facts) { f.RunsInHour = 60 }, "", failover.BlockedBrake},
		"it is leaving already":   {func(f *failover.Facts) { f.Alive = &failover.Run{From: "east"} }, "", ""},
		"it is busy with another": {func(f *failover.Facts) { f.Alive = &failover.Run{From: "north"} }, "", failover.BlockedAlive},
		"back to its primary": {func(f *failover.Facts) {
			f.Kind, f.From = failover.KindFailback, "west"
			f.Health["east"] = failover.Verdict{Health: failover.Up}
		}, "east", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := base()
			c.change(&f)
			target, blocked := failover.Decide(f)
			cause := ""
			if blocked != nil {
				cause = blocked.Cause
			}
			if target != c.target || cause != c.cause {
				t.Errorf("got %q, blocked by %q (%+v)", target, cause, blocked)
			}
		})
	}
}

func TestPolicies(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db)
		apply := func(name string, spec failover.PolicySpec) (out omni.Outcome, err error) {
			err = w.db.Write(w.ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) (err error) {
				out, err = w.s.ApplyPolicy(ctx, tx, omni.Metadata{Name: name, Tenant: "acme"}, spec)
				return err
			})
			return out, err
		}
		good := failover.PolicySpec{Primary: "east", Targets: []string{"west"}}
		for _, want := range []omni.Outcome{omni.Created, omni.Unchanged} {
			if out, err := apply("default", good); err != nil || out != want {
				t.Fatal(out, err)
			}
		}
		good.Cooldown = omni.Duration(time.Hour)
		if out, err := apply("default", good); err != nil || out != omni.Updated {
			t.Fatal(out, err)
		}
		_, err := apply("second", good)
		wants(t, err, omni.CodeConflict, "default")
		for name, c := range map[string]struct {
			change func(*failover.PolicySpec)
			says   string
		}{
			"an unknown region":             {func(p *failover.PolicySpec) { p.Targets = []string{"west", "mars"} }, `spec.targets[1]: there is no region "mars"`},
			"no target":                     {func(p *failover.PolicySpec) { p.Targets = nil }, "spec.targets"},
			"its primary as a target":       {func(p *failover.PolicySpec) { p.Targets = []string{"east"} }, "spec.targets[0]"},
			"twice":                         {func(p *failover.PolicySpec) { p.Targets = []string{"west", "west"} }, "spec.targets[1]"},
			"more zones than there are":     {func(p *failover.PolicySpec) { p.Trigger.Zones = 4 }, "only 3 of east"},
			"failures beyond bounds":        {func(p *failover.PolicySpec) { p.Trigger.Failures = -1 }, "spec.trigger.failures"},
			"a window of nothing":           {func(p *failover.PolicySpec) { p.Trigger.Window = 1 }, "spec.trigger.window"},
			"what to do when a step failed": {func(p *failover.PolicySpec) { p.OnStepFailure = "cry" }, "spec.onStepFailure"},
			"whose approval":                {func(p *failover.PolicySpec) { p.Approval = "god" }, "spec.approval"},
			"how to fail back":              {func(p *failover.PolicySpec) { p.Failback.Mode = "never" }, "spec.failback.mode"},
		} {
			spec := good
			c.change(&spec)
			_, err := apply("default", spec)
			t.Run(name, func(t *testing.T) { wants(t, err, omni.CodeInvalid, c.says) })
		}
		must(t, w.db.Write(w.ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			p, err := w.s.Policy(ctx, tx, "acme", "default")
			if err != nil {
				return err
			}
			if p.Version != 2 || p.Spec.MaxLag.String() != "5s" || p.Spec.OnStepFailure != failover.PauseOnFailure {
				t.Errorf("got %+v", p)
			}
			return w.s.DeletePolicy(ctx, tx, "acme", "default")
		}))
	})
}

// partly shows some zones of a region as down.
type partly struct {
	*skies
	region string
	zones  []string
}

func (p partly) Observations(region string, since time.Time) []infra.Observation {
	list := p.skies.Observations(region, since)
	for i := range list {
		list[i].OK = list[i].OK && (region != p.region || !slices.Contains(p.zones, list[i].Zone))
	}
	return list
}

func TestGuardJudgesByThePolicy(t *testing.T) {
	w := newWorld(t, databasetest.Open(t, database.Infra), func(o *failover.Options) {
		o.Observations = partly{o.Observations.(*skies), "west", []string{"a", "b"}}
	})
	w.shop(nil)
	w.policy(func(p *failover.PolicySpec) { p.Trigger.Zones = 3 })
	w.lead()
	run, err := w.trigger(nil) // two of three zones are down, and the policy says that three must be
	must(t, err)
	w.until(run.ID, failover.Succeeded)
}

func TestRunsThatWaitDoNotBrake(t *testing.T) {
	w := newWorld(t, databasetest.Open(t, database.Infra), func(o *failover.Options) { o.MaxAlive, o.MaxPerHour = 1, 1 })
	for tenant, approval := range map[string]failover.Approval{"a": failover.Manual, "b": failover.Manual, "c": failover.Automatic} {
		w.resource(tenant, "db", "database", nil, placement("east", infra.Active, nil), placement("west", infra.Standby, nil))
		w.write(func(ctx context.Context, tx *database.Tx) error {
			_, err := w.s.ApplyPolicy(ctx, tx, omni.Metadata{Name: "default", Tenant: tenant},
				failover.PolicySpec{Primary: "east", Targets: []string{"west"}, Approval: approval})
			return err
		})
	}
	w.lead()
	w.sky.set("east", true)
	eventually(t, "the one that needs no approval moves", func() bool {
		return slices.ContainsFunc(w.runs(), func(r failover.Run) bool { return r.Tenant == "c" && r.Status == failover.Succeeded })
	})
}

func TestWhatRunsIsNotBlocked(t *testing.T) {
	w := newWorld(t, databasetest.Open(t, database.Infra))
	w.shop(map[string]map[string]any{"db.west": {"failActions": []any{"promote"}}})
	w.policy(nil)
	_, err := w.s.SetFrozen(w.ctx, true, "a migration")
	must(t, err)
	w.lead()
	w.sky.set("east", true)
	blocked := func() int {
		f, err := w.s.Automation(w.ctx)
		must(t, err)
		return len(f.Blocked)
	}
	eventually(t, "it is blocked", func() bool { return blocked() == 1 })
	_, err = w.s.SetFrozen(w.ctx, false, "")
	must(t, err)
	eventually(t, "its run has paused", func() bool { return len(w.runs()) == 1 && w.runs()[0].Status == failover.Paused })
	eventually(t, "it does not count as blocked any more", func() bool { return blocked() == 0 })
}

// silent shows a region as one whose probes have failed since a while ago, after having answered.
type silent struct {
	*skies
	region string
	since  time.Duration
}

func (s silent) Observations(region string, since time.Time) []infra.Observation {
	if region != s.region {
		return s.skies.Observations(region, since)
	}
	var list []infra.Observation
	for _, zone := range []string{"a", "b", "c"} {
		for i := range 4 {
			at := time.Now().Add(-s.since * time.Duration(3-i) / 3)
			list = append(list, infra.Observation{Region: region, Zone: zone, Probe: "web", Observer: "me", At: at, OK: i == 0})
		}
	}
	return list
}

// Where a driver tells lag as the age of the last contact, it grows for as long as the source is dead.
func TestLagThatOnlyTheOutageMadeIsNone(t *testing.T) {
	for lag, leaves := range map[float64]bool{21: true, 60: false} {
		w := newWorld(t, databasetest.Open(t, database.Infra), func(o *failover.Options) {
			o.Observations = silent{o.Observations.(*skies), "east", 20 * time.Second}
		})
		w.shop(map[string]map[string]any{"db.west": {"lagSeconds": lag}})
		w.policy(nil) // 5s are allowed
		w.lead()
		if leaves {
			eventually(t, "it has left", func() bool { return len(w.runs()) == 1 && w.runs()[0].Status == failover.Succeeded })
			continue
		}
		eventually(t, "it is held by what it lacked before", func() bool {
			f, err := w.s.Automation(w.ctx)
			must(t, err)
			return len(f.Blocked) == 1 && strings.Contains(f.Blocked[0].Reason, "60.0s behind, more than 5s without the 20.")
		})
	}
}
