package failover_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/failover"
	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
	"github.com/omnicloud/omnicloud/pkg/provider"
)

func TestRunSucceeds(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db)
		w.shop(nil)
		run, err := w.trigger(func(r *failover.TriggerRequest) { r.Reason = "maintenance" })
		must(t, err)
		if run.Status != failover.Running || run.Mode != failover.Planned || run.InitiatedBy != "key:ops" || run.Trigger != "manual" {
			t.Errorf("it began as %+v", run)
		}
		w.lead()
		run = w.until(run.ID, failover.Succeeded)
		for _, name := range []string{"db", "app", "lb"} {
			if got := w.roles(name); got != "east=standby west=active serving west" {
				t.Errorf("%s: %s", name, got)
			}
		}
		if w.dns.answer() != "10.2.0.1" || run.DNSSwitchedMS == nil || run.DurationMS == nil || run.FinishedAt == nil {
			t.Errorf("DNS answers %s; %+v", w.dns.answer(), run)
		}
		var ids []string
		for _, s := range run.Steps {
			ids = append(ids, s.ID)
			if s.Status != failover.StepSucceeded || s.DurationMS == nil {
				t.Errorf("step %s: %+v", s.ID, s)
			}
		}
		want := "1.guard 1.db.fence 1.db.promote 1.db.verify 1.db.route 2.guard 2.app.fence 2.app.promote 2.app.verify 2.app.route " +
			"3.guard 3.lb.fence 3.lb.promote 3.lb.verify 3.lb.route 4.dns 5.meter 6.db.release 6.app.release 6.lb.release"
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("steps %s", got)
		}
		t.Run("the next plan predicts from it", func(t *testing.T) {
			plan, err := w.s.PlanFor(w.ctx, failover.Request{Tenant: "acme", Kind: failover.KindFailback, To: "east"})
			must(t, err)
			if plan.PredictedMS == nil || plan.From != "west" || plan.Kind != failover.KindFailback {
				t.Errorf("got %+v", plan)
			}
		})
		t.Run("each step and the whole are on the audit trail, each once", func(t *testing.T) {
			audited := w.audited()
			for action, n := range map[string]int{
				"failover.trigger": 1, "failover.succeeded": 1, "failover.step": len(run.Steps), "resource.move": 3,
			} {
				if audited[action] != n {
					t.Errorf("%s was audited %d times, not %d", action, audited[action], n)
				}
			}
		})
		t.Run("back again", func(t *testing.T) {
			w.policy(nil)
			back, err := w.trigger(func(r *failover.TriggerRequest) { r.Kind, r.From, r.To = failover.KindFailback, "", "" })
			must(t, err)
			w.until(back.ID, failover.Succeeded)
			if got := w.roles("db"); got != "east=active west=standby serving east" {
				t.Error(got)
			}
		})
	})
}

// audited counts the audit records by action.
func (w *world) audited() map[string]int {
	w.t.Helper()
	out := map[string]int{}
	must(w.t, w.db.Read(w.ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		return tx.Query(ctx, `select event from outbox where type = 'omni.audit.record'`, nil, func(scan func(...any) error) error {
			var text string
			err := scan(&text)
			if _, rest, ok := strings.Cut(text, `"action":"`); ok {
				action, _, _ := strings.Cut(rest, `"`)
				out[action]++
			}
			return err
		})
	}))
	return out
}

func TestForcedRunAndRejoin(t *testing.T) {
	w := newWorld(t, databasetest.Open(t, database.Infra))
	w.shop(nil)
	w.policy(nil)
	w.lead()
	_, err := w.s.SetFrozen(w.ctx, true, "people may move it all the same")
	must(t, err)
	w.sky.set("east", true)
	plan, err := w.s.PlanFor(w.ctx, failover.Request{Tenant: "acme", From: "east", To: "west"})
	must(t, err)
	if plan.Mode != failover.Forced || len(plan.AtRisk) != 1 || plan.AtRisk[0].Resource != "db" {
		t.Fatalf("got %+v", plan)
	}
	run, err := w.trigger(func(r *failover.TriggerRequest) { r.PlanHash = plan.Hash })
	must(t, err)
	w.until(run.ID, failover.Succeeded)
	if got := w.roles("db"); got != "east=fenced west=active serving west" {
		t.Fatal(got)
	}
	w.sky.set("east", false)
	back, err := w.trigger(func(r *failover.TriggerRequest) { r.Kind, r.From, r.To = failover.KindFailback, "", "" })
	must(t, err)
	done := w.until(back.ID, failover.Succeeded)
	if done.Steps[0].ID != "0.app.release" && done.Steps[0].ID != "0.db.release" {
		t.Errorf("it began with %s", done.Steps[0].ID)
	}
	if got := w.roles("db"); got != "east=active west=standby serving east" {
		t.Error(got)
	}
}

// flaky fails the first calls of each action on each placement.
type flaky struct {
	provider.Driver
	mu    sync.Mutex
	calls map[string]int
}

func (f *flaky) Do(ctx context.Context, c provider.Call) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if k := c.Target.Region + string(c.Action); f.calls[k] < 5 {
		f.calls[k]++
		return omni.Errorf(omni.CodeUnavailable, "not yet")
	}
	return f.Driver.Do(ctx, c)
}

func TestWhatServesAgainIsTriedSixTimes(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db, func(o *failover.Options) {
			o.Drivers = registry{&flaky{Driver: o.Drivers.(registry).driver, calls: map[string]int{}}}
		})
		w.resource("acme", "db", "database", nil, placement("east", infra.Active, nil), placement("west", infra.Standby, nil))
		w.lead()
		run, err := w.trigger(func(r *failover.TriggerRequest) { r.Mode = failover.Forced })
		must(t, err)
		run = w.until(run.ID, failover.Succeeded)
		for _, s := range run.Steps {
			if (s.Action == failover.ActionFence || s.Action == failover.ActionPromote) && s.Attempts != 6 {
				t.Errorf("%s was tried %d times", s.ID, s.Attempts)
			}
		}
		if n := w.count(`select count(*) from workflow_steps where max_attempts = 6 and action in ('fence', 'promote', 'verify')`); n != 3 {
			t.Errorf("%d steps may be tried six times", n)
		}
	})
}

func TestStepFails(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		t.Run("it pauses, and resumes once the cause is mended", func(t *testing.T) {
			w := newWorld(t, db)
			w.shop(map[string]map[string]any{"app.west": {"failActions": []any{"promote"}, "failMessage": "disk on fire"}})
			stop := w.lead()
			run, err := w.trigger(nil)
			must(t, err)
			run = w.until(run.ID, failover.Paused)
			if !strings.Contains(run.Error, "disk on fire") {
				t.Errorf("the run's error is %q", run.Error)
			}
			if got := w.roles("db") + " / " + w.roles("app") + " / " + w.roles("lb"); got !=
				"east=fenced west=active serving west / east=fenced west=standby serving east / east=active west=standby serving east" {
				t.Error(got)
			}
			_, err = w.s.Approve(w.ctx, "acme", run.ID, "")
			wants(t, err, omni.CodeRefused, "paused")
			_, err = w.s.Pause(w.ctx, "other", run.ID, "")
			wants(t, err, omni.CodeNotFound)
			w.resource("acme", "app", "app", []string{"db"}, placement("east", infra.Active, nil), placement("west", infra.Standby, nil))
			_, err = w.s.Resume(w.ctx, "acme", run.ID, "put out")
			must(t, err)
			w.until(run.ID, failover.Succeeded)
			stop()
			if n := w.audited()["failover.resume"]; n != 1 {
				t.Errorf("resume was audited %d times", n)
			}
		})
	})
	t.Run("it pauses, and is aborted; the next run finishes what is between the regions", func(t *testing.T) {
		w := newWorld(t, databasetest.Open(t, database.Infra))
		w.shop(map[string]map[string]any{"app.west": {"unhealthy": true}})
		w.lead()
		_, err := w.trigger(nil)
		wants(t, err, omni.CodeRefused, "app in west is not healthy")
		run, err := w.trigger(func(r *failover.TriggerRequest) { r.Mode = failover.Forced })
		must(t, err)
		run = w.until(run.ID, failover.Paused) // verify fails
		if !strings.Contains(run.Error, "not healthy") {
			t.Errorf("the run's error is %q", run.Error)
		}
		_, err = w.trigger(nil)
		wants(t, err, omni.CodeConflict, run.ID)
		_, err = w.s.Abort(w.ctx, "acme", run.ID, "enough")
		must(t, err)
		w.until(run.ID, failover.Aborted)
		if got := w.roles("app"); got != "east=fenced west=active serving east" {
			t.Fatal(got)
		}
		w.resource("acme", "app", "app", []string{"db"}, placement("east", infra.Active, nil), placement("west", infra.Standby, nil))
		run, err = w.trigger(nil)
		must(t, err)
		run = w.until(run.ID, failover.Succeeded)
		if !strings.Contains(steps(run), "1.app.verify") || strings.Contains(steps(run), "app.promote") {
			t.Errorf("the steps are\n%s", steps(run))
		}
		if got := w.roles("app") + " / " + w.roles("lb"); got != "east=standby west=active serving west / east=standby west=active serving west" {
			t.Error(got)
		}
	})
	t.Run("it pauses, is aborted, and what it has fenced is taken back", func(t *testing.T) {
		w := newWorld(t, databasetest.Open(t, database.Infra))
		w.shop(map[string]map[string]any{"app.west": {"failActions": []any{"promote"}}})
		w.policy(nil)
		w.lead()
		run, err := w.trigger(nil)
		must(t, err)
		w.until(run.ID, failover.Paused)
		_, err = w.s.Abort(w.ctx, "acme", run.ID, "west is no good")
		must(t, err)
		if got := w.roles("app"); got != "east=fenced west=standby serving east" {
			t.Fatal(got)
		}
		run, err = w.trigger(func(r *failover.TriggerRequest) { r.Kind, r.From, r.To = failover.KindFailback, "", "" })
		must(t, err)
		run = w.until(run.ID, failover.Succeeded)
		for _, name := range []string{"db", "app", "lb"} {
			if got := w.roles(name); got != "east=active west=standby serving east" {
				t.Errorf("%s: %s\n%s", name, got, steps(run))
			}
		}
		for _, e := range w.sim.Effects("acme", "app", "east") {
			if e.Action == provider.Demote {
				t.Error("the app that had everything was to catch up with one that was never promoted")
			}
		}
	})
	t.Run("all of it can be taken back out of a region that has died meanwhile", func(t *testing.T) {
		w := newWorld(t, databasetest.Open(t, database.Infra))
		w.shop(map[string]map[string]any{"db.west": {"failActions": []any{"promote"}}})
		w.policy(nil)
		w.lead()
		run, err := w.trigger(nil)
		must(t, err)
		w.until(run.ID, failover.Paused)
		_, err = w.s.Abort(w.ctx, "acme", run.ID, "")
		must(t, err)
		w.sky.set("west", true)
		run, err = w.trigger(func(r *failover.TriggerRequest) { r.Kind, r.From, r.To = failover.KindFailback, "", "" })
		must(t, err)
		if run.Mode != failover.Forced || run.From != "west" {
			t.Errorf("it began as %+v", run)
		}
		w.until(run.ID, failover.Succeeded)
		if got := w.roles("db"); got != "east=active west=fenced serving east" {
			t.Error(got)
		}
	})
	t.Run("it rolls back", func(t *testing.T) {
		w := newWorld(t, databasetest.Open(t, database.Infra))
		w.shop(map[string]map[string]any{"lb.west": {"failActions": []any{"promote"}}})
		w.policy(func(p *failover.PolicySpec) { p.OnStepFailure = failover.RollbackOnFailure })
		w.lead()
		run, err := w.trigger(nil)
		must(t, err)
		run = w.until(run.ID, failover.RolledBack)
		for _, name := range []string{"db", "app", "lb"} {
			if got := w.roles(name); got != "east=active west=standby serving east" {
				t.Errorf("%s: %s\n%s", name, got, steps(run))
			}
		}
		effects := w.sim.Effects("acme", "db", "east")
		if len(effects) != 2 || effects[0].Action != provider.Fence || effects[1].Action != provider.Promote {
			t.Errorf("the old database saw %v", effects)
		}
	})
	t.Run("it does not roll back into a region that is down", func(t *testing.T) {
		w := newWorld(t, databasetest.Open(t, database.Infra))
		w.shop(map[string]map[string]any{"lb.west": {"failActions": []any{"promote"}}})
		w.policy(func(p *failover.PolicySpec) { p.OnStepFailure = failover.RollbackOnFailure })
		w.sky.set("east", true)
		plan, err := w.s.PlanFor(w.ctx, failover.Request{Tenant: "acme", From: "east", To: "west"})
		must(t, err)
		if !slices.ContainsFunc(plan.Warnings, func(s string) bool { return strings.Contains(s, "instead of rolling it back") }) {
			t.Errorf("the plan warns of %q", plan.Warnings)
		}
		run, err := w.trigger(nil)
		must(t, err)
		w.lead()
		w.until(run.ID, failover.Paused)
		if got := w.roles("db"); got != "east=fenced west=active serving west" {
			t.Errorf("the database that serves is %s", got)
		}
	})
	t.Run("what a driver does not support is skipped, and said", func(t *testing.T) {
		w := newWorld(t, databasetest.Open(t, database.Infra))
		w.shop(map[string]map[string]any{"lb.east": {"unsupportedActions": []any{"fence", "demote"}}})
		w.lead()
		run, err := w.trigger(nil)
		must(t, err)
		run = w.until(run.ID, failover.Succeeded)
		i := slices.IndexFunc(run.Steps, func(s failover.Step) bool { return s.ID == "3.lb.fence" })
		if s := run.Steps[i]; s.Status != failover.StepSkipped || !strings.Contains(s.Message, "does not support") {
			t.Errorf("got %+v", s)
		}
	})
	t.Run("DNS that is not confirmed holds the run", func(t *testing.T) {
		w := newWorld(t, databasetest.Open(t, database.Infra))
		w.shop(nil)
		w.dns.fails = omni.Errorf(omni.CodeUnavailable, "ns2 answers the old address")
		w.lead()
		run, err := w.trigger(nil)
		must(t, err)
		run = w.until(run.ID, failover.Paused)
		if run.DNSSwitchedMS != nil || !strings.Contains(run.Error, "ns2") {
			t.Errorf("got %+v", run)
		}
	})
}

func TestContinueAfterFailures(t *testing.T) {
	for name, c := range map[string]struct {
		fails  map[string]string // the action that fails, by the placement of the database
		cordon bool
		roles  string
	}{
		"a guard that fails keeps its level where it is":            {nil, true, "east=active west=standby serving east"},
		"what could not be fenced is not let go at the end":         {map[string]string{"db.east": "fence"}, false, "east=active west=standby serving east"},
		"what could not be promoted leaves the old one fenced only": {map[string]string{"db.west": "promote"}, false, "east=fenced west=standby serving east"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, databasetest.Open(t, database.Infra))
			w.shop(nil)
			w.policy(func(p *failover.PolicySpec) { p.OnStepFailure = failover.ContinueOnFailure })
			run, err := w.trigger(nil)
			must(t, err)
			change := map[string]map[string]any{}
			for placement, action := range c.fails {
				change[placement] = map[string]any{"failActions": []any{action}}
			}
			w.shop(change)
			if c.cordon {
				w.write(func(ctx context.Context, tx *database.Tx) error {
					_, err := w.store.Cordon(ctx, tx, "west", "floods")
					return err
				})
			}
			w.lead()
			run = w.until(run.ID, failover.Failed)
			if got := w.roles("db"); got != c.roles {
				t.Errorf("%s\n%s", got, steps(run))
			}
			for _, e := range w.sim.Effects("acme", "db", "east") {
				if e.Action == provider.Demote {
					t.Errorf("the only database was demoted\n%s", steps(run))
				}
			}
			want := "east=standby west=active serving west"
			if c.cordon {
				want = "east=active west=standby serving east"
			}
			if got := w.roles("app"); got != want {
				t.Errorf("the app is %s", got)
			}
		})
	}
	t.Run("a standby that did not rejoin is not promoted", func(t *testing.T) {
		w := newWorld(t, databasetest.Open(t, database.Infra))
		w.shop(nil)
		w.policy(func(p *failover.PolicySpec) { p.OnStepFailure = failover.ContinueOnFailure })
		w.lead()
		run, err := w.trigger(func(r *failover.TriggerRequest) { r.Mode = failover.Forced })
		must(t, err)
		w.until(run.ID, failover.Succeeded)
		w.shop(map[string]map[string]any{"db.east": {"failActions": []any{"demote"}}})
		run, err = w.trigger(func(r *failover.TriggerRequest) { r.Kind, r.From, r.To = failover.KindFailback, "west", "east" })
		must(t, err)
		run = w.until(run.ID, failover.Failed)
		if got := w.roles("db"); got != "east=fenced west=active serving west" {
			t.Errorf("%s\n%s", got, steps(run))
		}
	})
}

// leasedRun begins a forced run whose source cannot be fenced but has a lease, and waits until that is being waited out.
func leasedRun(w *world, lease time.Duration) failover.Run {
	w.t.Helper()
	leased := placement("east", infra.Active, map[string]any{"failActions": []any{"fence", "check"}})
	leased.Lease = omni.Duration(lease)
	w.resource("acme", "db", "database", nil, leased, placement("west", infra.Standby, nil))
	w.sky.set("east", true)
	run, err := w.trigger(nil)
	must(w.t, err)
	eventually(w.t, "the lease is being waited out", func() bool { return w.count(`select count(*) from failover_leases`) == 1 })
	return run
}

func TestLease(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db)
		w.lead()
		begin := time.Now()
		run := w.until(leasedRun(w, 600*time.Millisecond).ID, failover.Succeeded)
		if took := time.Since(begin); took < 600*time.Millisecond {
			t.Errorf("it was promoted after %s", took)
		}
		if text := steps(run); !strings.Contains(text, "lease of 600ms was waited out") || strings.Contains(text, "anew") {
			t.Error(text)
		}
	})
}

func TestANewLeaderWaitsTheWholeLease(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"whose clock is ahead": time.Hour, "whose clock is behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
				w := newWorld(t, db)
				stop := w.lead()
				run := leasedRun(w, 600*time.Millisecond)
				stop()
				w.write(func(ctx context.Context, tx *database.Tx) error { // the difference between the clocks
					_, err := tx.Exec(ctx, `update failover_leases set contacted_at = $1`, database.Time(tx.Now().Add(-ahead)))
					return err
				})
				begin := time.Now()
				w.lead()
				run = w.until(run.ID, failover.Succeeded)
				if took := time.Since(begin); took < 600*time.Millisecond {
					t.Errorf("it was promoted after %s", took)
				}
				if text := steps(run); !strings.Contains(text, "lease of 600ms was waited out") || !strings.Contains(text, "anew") {
					t.Error(text)
				}
				if n := w.count(`select count(*) from failover_leases where epoch = 1`); n != 1 {
					t.Error("the new leader has spoken to the placement again, or its epoch was not stored")
				}
			})
		})
	}
}

// watched counts what is asked of a region.
type watched struct {
	provider.Driver
	region string
	asked  *atomic.Int64
}

func (w watched) Check(ctx context.Context, c provider.Call) (provider.State, error) {
	if c.Target.Region == w.region {
		w.asked.Add(1)
	}
	return w.Driver.Check(ctx, c)
}

func TestNobodyRenewsALeaseThatIsWaitedOut(t *testing.T) {
	var asked atomic.Int64
	w := newWorld(t, databasetest.Open(t, database.Infra), func(o *failover.Options) {
		o.Drivers = registry{watched{o.Drivers.(registry).driver, "east", &asked}}
	})
	leased := placement("east", infra.Active, map[string]any{"failActions": []any{"fence"}})
	leased.Lease = omni.Duration(time.Minute)
	w.resource("acme", "db", "database", nil, leased, placement("west", infra.Standby, nil))
	w.lead()
	_, err := w.trigger(func(r *failover.TriggerRequest) { r.Mode = failover.Forced })
	must(t, err)
	eventually(t, "the lease is being waited out", func() bool { return w.count(`select count(*) from failover_leases`) == 1 })
	asked.Store(0)
	plan, err := w.s.PlanFor(w.ctx, failover.Request{Tenant: "acme", From: "east", To: "west", Mode: failover.Planned})
	must(t, err)
	if n := asked.Load(); n != 0 || len(plan.RefusedBy) == 0 {
		t.Errorf("a plan that is refused anyway (%v) has asked the old placement %d times", plan.RefusedBy, n)
	}
}

func TestStepsOutlastTheirDriversAndLeases(t *testing.T) {
	w := newWorld(t, databasetest.Open(t, database.Infra))
	leased := placement("east", infra.Active, nil)
	leased.Lease = omni.Duration(24 * time.Hour) // the longest that a manifest may give
	w.resource("acme", "db", "database", nil, leased, placement("west", infra.Standby, nil))
	run, err := w.trigger(nil)
	must(t, err)
	must(t, w.db.Read(w.ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		r, err := workflow.Get(ctx, tx, run.ID)
		for _, s := range r.Steps {
			switch failover.Action(s.Action) {
			case failover.ActionFence, failover.ActionPromote, failover.ActionRelease:
				if s.Timeout < 2*time.Hour { // a check and an action, each with the longest timeout of the exec and http drivers
					t.Errorf("%s is cut off after %s", s.ID, s.Timeout)
				}
			}
		}
		return err
	}))
}

func TestFenceFailsWithoutLease(t *testing.T) {
	w := newWorld(t, databasetest.Open(t, database.Infra))
	w.shop(map[string]map[string]any{"db.east": {"failActions": []any{"fence"}}})
	w.sky.set("east", true)
	w.lead()
	run, err := w.trigger(nil)
	must(t, err)
	w.until(run.ID, failover.Paused)
	if got := w.roles("db"); got != "east=active west=standby serving east" {
		t.Error(got)
	}
	if n := len(w.sim.Effects("acme", "db", "west")); n != 0 {
		t.Errorf("the standby was touched %d times before the old one was fenced", n)
	}
}

func TestTwoNeverTakeWrites(t *testing.T) {
	unknown := map[string]any{"unsupportedActions": []any{"fence", "demote", "stop"}}
	t.Run("a database that cannot be fenced holds the run, until a reason forces it", func(t *testing.T) {
		w := newWorld(t, databasetest.Open(t, database.Infra))
		w.shop(map[string]map[string]any{"db.east": unknown})
		w.lead()
		for _, mode := range []failover.Mode{failover.Planned, failover.Forced} {
			run, err := w.trigger(func(r *failover.TriggerRequest) { r.Mode = mode })
			must(t, err)
			run = w.until(run.ID, failover.Paused)
			if n := len(w.sim.Effects("acme", "db", "west")); n != 0 || !strings.Contains(run.Error, "no lease") || w.roles("db") != "east=active west=standby serving east" {
				t.Errorf("%s: the standby was touched %d times; %s; %s", mode, n, run.Error, w.roles("db"))
			}
			_, err = w.s.Abort(w.ctx, "acme", run.ID, "")
			must(t, err)
		}
		run, err := w.trigger(func(r *failover.TriggerRequest) { r.Mode, r.Reason = failover.Forced, "its machine was switched off" })
		must(t, err)
		w.until(run.ID, failover.Succeeded)
	})
	t.Run("a rollback does not wake the old database beside one that cannot be demoted", func(t *testing.T) {
		w := newWorld(t, databasetest.Open(t, database.Infra))
		w.shop(map[string]map[string]any{"lb.west": {"failActions": []any{"promote"}}, "db.west": unknown})
		w.policy(func(p *failover.PolicySpec) { p.OnStepFailure = failover.RollbackOnFailure })
		w.lead()
		run, err := w.trigger(nil)
		must(t, err)
		run = w.until(run.ID, failover.Paused)
		if effects := w.sim.Effects("acme", "db", "east"); len(effects) != 1 || !strings.Contains(run.Error, "1.db.promote") {
			t.Errorf("the old database saw %v; %s", effects, run.Error)
		}
	})
}

func TestRefusals(t *testing.T) {
	db := databasetest.Open(t, database.Infra)
	w := newWorld(t, db)
	w.shop(map[string]map[string]any{"db.west": {"lagSeconds": 30.0, "lagBytes": 12}})
	for name, c := range map[string]struct {
		change func(*failover.TriggerRequest)
		code   omni.Code
		says   string
	}{
		"an unknown tenant":         {func(r *failover.TriggerRequest) { r.Tenant, r.Confirm = "nobody", "nobody" }, omni.CodeNotFound, "nobody"},
		"no confirmation":           {func(r *failover.TriggerRequest) { r.Confirm = "" }, omni.CodeRefused, "confirm"},
		"another's confirmation":    {func(r *failover.TriggerRequest) { r.Confirm = "acmy" }, omni.CodeRefused, "acmy"},
		"an unknown target":         {func(r *failover.TriggerRequest) { r.To = "mars" }, omni.CodeNotFound, "mars"},
		"the same region":           {func(r *failover.TriggerRequest) { r.To = "east" }, omni.CodeRefused, "already"},
		"where it is":               {func(r *failover.TriggerRequest) { r.From, r.To = "west", "east" }, omni.CodeRefused, "acme is in east already"},
		"no placements there":       {func(r *failover.TriggerRequest) { r.To = "north" }, omni.CodeRefused, "no placement in north"},
		"no placements, forced":     {func(r *failover.TriggerRequest) { r.To, r.Mode = "north", failover.Forced }, omni.CodeRefused, "nothing of acme can move"},
		"no target, no policy":      {func(r *failover.TriggerRequest) { r.To = "" }, omni.CodeInvalid, "to:"},
		"no source":                 {func(r *failover.TriggerRequest) { r.From = "" }, omni.CodeInvalid, "from:"},
		"too far behind":            {nil, omni.CodeRefused, "30.0s behind"},
		"forced without a reason":   {func(r *failover.TriggerRequest) { r.Mode = failover.Forced }, omni.CodeRefused, "30.0s behind"},
		"a plan of another world":   {func(r *failover.TriggerRequest) { r.PlanHash = "beef" }, omni.CodeStale, "no longer true"},
		"an unknown kind":           {func(r *failover.TriggerRequest) { r.Kind = "dance" }, omni.CodeInvalid, "dance"},
		"an unknown mode":           {func(r *failover.TriggerRequest) { r.Mode = "wild" }, omni.CodeInvalid, "wild"},
		"a reason without an end":   {func(r *failover.TriggerRequest) { r.Reason = strings.Repeat("x", 5000) }, omni.CodeInvalid, "reason"},
		"failback without a policy": {func(r *failover.TriggerRequest) { r.Kind, r.From, r.To = failover.KindFailback, "", "" }, omni.CodeInvalid, "primary"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.trigger(c.change)
			wants(t, err, c.code, c.says)
		})
	}
	t.Run("a cordoned target", func(t *testing.T) {
		w.write(func(ctx context.Context, tx *database.Tx) error {
			_, err := w.store.Cordon(ctx, tx, "west", "floods")
			return err
		})
		_, err := w.trigger(nil)
		wants(t, err, omni.CodeRefused, "west is cordoned (floods)")
		w.write(func(ctx context.Context, tx *database.Tx) error {
			_, err := w.store.Uncordon(ctx, tx, "west")
			return err
		})
	})
	t.Run("a target that is down", func(t *testing.T) {
		w.sky.set("west", true)
		_, err := w.trigger(nil)
		wants(t, err, omni.CodeRefused, "west is down")
		w.sky.set("west", false)
	})
	t.Run("a target that DNS could not answer", func(t *testing.T) {
		named := placement("west", infra.Standby, nil)
		named.Address = "lb.west.example:443"
		w := newWorld(t, databasetest.Open(t, database.Infra))
		w.resource("acme", "lb", "loadbalancer", nil, placement("east", infra.Active, nil), named)
		_, err := w.trigger(nil)
		wants(t, err, omni.CodeRefused, `DNS could not answer shop.acme.test. A with the address of lb in west, "lb.west.example"`)
		plan, err := w.s.PlanFor(w.ctx, failover.Request{Tenant: "acme", From: "east", To: "west", Mode: failover.Forced})
		must(t, err)
		if len(plan.RefusedBy) != 0 || !slices.ContainsFunc(plan.Warnings, func(s string) bool { return strings.Contains(s, "the dns step will fail") }) {
			t.Errorf("forced: %v, %q", plan.RefusedBy, plan.Warnings)
		}
	})
	t.Run("a planned move from a region that is down", func(t *testing.T) {
		w.sky.set("east", true)
		_, err := w.trigger(func(r *failover.TriggerRequest) { r.Mode = failover.Planned })
		wants(t, err, omni.CodeRefused, "planned move needs it")
		w.sky.set("east", false)
	})
	t.Run("forced with a reason is accepted, and a dry run changes nothing", func(t *testing.T) {
		run, err := w.trigger(func(r *failover.TriggerRequest) {
			r.Mode, r.Reason, r.DryRun, r.Confirm = failover.Forced, "it burns", true, ""
		})
		must(t, err)
		page, err := w.s.Runs(w.ctx, "", "", omni.PageRequest{})
		must(t, err)
		if run.ID != "" || len(run.Steps) == 0 || run.PlanHash == "" || len(page.Items) != 0 {
			t.Errorf("got %+v, and there are %d runs", run, len(page.Items))
		}
	})
	if n := w.audited()["failover.trigger"]; n != 0 {
		t.Errorf("%d triggers were audited", n)
	}
}

func TestPlanIsPinned(t *testing.T) {
	w := newWorld(t, databasetest.Open(t, database.Infra))
	w.shop(nil)
	plan := func() failover.Plan {
		t.Helper()
		p, err := w.s.PlanFor(w.ctx, failover.Request{Tenant: "acme", From: "east", To: "west"})
		must(t, err)
		return p
	}
	first := plan()
	if again := plan(); again.Hash != first.Hash {
		t.Error("the same world has another hash")
	}
	if len(first.DNS) != 1 || first.DNS[0].To[0] != "10.2.0.1" {
		t.Errorf("DNS: %+v", first.DNS)
	}
	for name, change := range map[string]func(){
		"a policy": func() { w.policy(nil) },
		"a resource": func() {
			w.resource("acme", "mail", "app", nil, placement("east", infra.Active, nil), placement("west", infra.Standby, nil))
		},
		"a placement": func() {
			w.resource("acme", "lb", "loadbalancer", []string{"app"}, placement("east", infra.Active, nil), placement("west", infra.Standby, nil), placement("north", infra.Standby, nil))
		},
	} {
		before := plan()
		change()
		_, err := w.trigger(func(r *failover.TriggerRequest) { r.PlanHash = before.Hash })
		if !omni.Is(err, omni.CodeStale) {
			t.Errorf("after %s had changed: %v", name, err)
		}
	}
	_, err := w.trigger(func(r *failover.TriggerRequest) { r.PlanHash = plan().Hash })
	must(t, err)
}

func TestOneOfFiftyWins(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db)
		w.shop(nil)
		var won, lost atomic.Int64
		var wait sync.WaitGroup
		for range 50 {
			wait.Go(func() {
				switch _, err := w.trigger(nil); {
				case err == nil:
					won.Add(1)
				case omni.Is(err, omni.CodeConflict):
					lost.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if won.Load() != 1 || lost.Load() != 49 {
			t.Errorf("%d won, %d conflicts", won.Load(), lost.Load())
		}
	})
}

// dying is a driver whose answers get lost: the leader goes right after an action has had its effect.
type dying struct {
	provider.Driver
	mu     sync.Mutex
	left   map[string]bool // effects whose answer was lost once already
	effect map[string]int
	die    func()
}

func (d *dying) Do(ctx context.Context, c provider.Call) error {
	err := d.Driver.Do(ctx, c)
	if err != nil {
		return err // it had no effect
	}
	d.mu.Lock()
	key := fmt.Sprintf("%s %s %s", c.Target.Resource, c.Target.Region, c.Action)
	d.effect[key]++
	first := !d.left[key]
	d.left[key] = true
	d.mu.Unlock()
	if first && d.die != nil {
		d.die()
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func TestEveryAnswerIsLost(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		died := make(chan struct{}, 100)
		driver := &dying{left: map[string]bool{}, effect: map[string]int{}, die: func() { died <- struct{}{} }}
		w := newWorld(t, db, func(o *failover.Options) { o.Drivers = registry{driver} })
		driver.Driver = w.sim
		w.shop(nil)
		run, err := w.trigger(nil)
		must(t, err)
		const actions = 9 // fence, promote and release of three resources
		for range actions {
			stop := w.lead()
			select {
			case <-died:
			case <-time.After(15 * time.Second):
				r, _ := w.s.Run(w.ctx, "", run.ID)
				t.Fatalf("it hangs:\n%s", steps(r))
			}
			stop()
			if r, err := w.s.Run(w.ctx, "", run.ID); err != nil || !r.Status.Alive() {
				t.Fatal(r.Status, err)
			}
		}
		w.lead()
		w.until(run.ID, failover.Succeeded)
		for key, n := range driver.effect {
			if n != 1 {
				t.Errorf("%s was done %d times", key, n)
			}
		}
	})
}

// old is a driver that a newer leader has spoken to.
type old struct{ provider.Driver }

func (old) Do(context.Context, provider.Call) error { return provider.ErrStaleEpoch }

func TestStaleEpochIsFinal(t *testing.T) {
	w := newWorld(t, databasetest.Open(t, database.Infra), func(o *failover.Options) {
		o.Drivers = registry{old{o.Drivers.(registry).driver}}
	})
	w.shop(nil)
	w.lead()
	run, err := w.trigger(nil)
	must(t, err)
	run = w.until(run.ID, failover.Paused)
	i := slices.IndexFunc(run.Steps, func(s failover.Step) bool { return s.Status == failover.StepFailed })
	if s := run.Steps[i]; s.Attempts != 1 || !strings.Contains(s.Error, "newer leader") {
		t.Errorf("got %+v", s)
	}
}

// slow is a driver that calls meanwhile after each fence had its effect.
type slow struct {
	provider.Driver
	meanwhile func()
}

func (s slow) Do(ctx context.Context, c provider.Call) error {
	err := s.Driver.Do(ctx, c)
	if c.Action == provider.Fence {
		s.meanwhile()
	}
	return err
}

func TestAResourceIsDeletedUnderARun(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		var once sync.Once
		var w *world
		w = newWorld(t, db, func(o *failover.Options) {
			o.Drivers = registry{slow{o.Drivers.(registry).driver, func() {
				once.Do(func() {
					w.write(func(ctx context.Context, tx *database.Tx) error { return w.store.DeleteResource(ctx, tx, "acme", "db") })
				})
			}}}
		})
		w.resource("acme", "db", "database", nil, placement("east", infra.Active, nil), placement("west", infra.Standby, nil))
		w.resource("acme", "other", "database", nil, placement("east", infra.Active, nil), placement("west", infra.Standby, nil))
		w.lead()
		run, err := w.trigger(nil)
		must(t, err)
		run = w.until(run.ID, failover.Paused)
		if !strings.Contains(run.Error, "1.db.fence") {
			t.Errorf("it paused because of %s\n%s", run.Error, steps(run))
		}
		_, err = w.s.Abort(w.ctx, "acme", run.ID, "")
		must(t, err)
		w.until(run.ID, failover.Aborted)
	})
}
