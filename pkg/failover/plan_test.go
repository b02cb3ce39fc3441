package failover_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/omnicloud/omnicloud/pkg/failover"
	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

func resource(name, typ string, needs ...string) infra.Resource {
	return infra.Resource{
		Tenant: "acme", Name: name, Type: typ, DependsOn: needs, Serving: "east", Version: 1,
		Placements: []infra.Placement{
			{Region: "east", Role: infra.Active, Driver: "sim", Address: "10.1.0.1"},
			{Region: "west", Role: infra.Standby, Driver: "sim", Address: "10.2.0.1:443"},
		},
	}
}

func snapshot(resources ...infra.Resource) failover.World {
	return failover.World{
		Now: noon, Regions: []infra.Region{{Name: "east"}, {Name: "north"}, {Name: "west"}}, Resources: resources,
		Health: map[string]failover.Verdict{"east": {Health: failover.Up}, "west": {Health: failover.Up}},
	}
}

func away() failover.Request { return failover.Request{Tenant: "acme", From: "east", To: "west"} }

func plan(tb testing.TB, w failover.World, r failover.Request) failover.Plan {
	tb.Helper()
	p, err := failover.MakePlan(w, r)
	must(tb, err)
	return p
}

func TestPlan(t *testing.T) {
	t.Run("databases come before their readers, also where nothing is declared", func(t *testing.T) {
		p := plan(t, snapshot(resource("a-lb", "loadbalancer"), resource("b-app", "app"), resource("c-queue", "queue"), resource("d-db", "database"), resource("mail", "smtp")), away())
		if got := fmt.Sprint(p.Levels); got != "[[d-db mail] [c-queue] [b-app] [a-lb]]" {
			t.Error(got)
		}
	})
	t.Run("declared dependencies win over types, and it is said", func(t *testing.T) {
		p := plan(t, snapshot(resource("db", "database", "app"), resource("app", "app"), resource("lb", "loadbalancer")), away())
		if got := fmt.Sprint(p.Levels); got != "[[app lb] [db]]" || !strings.Contains(fmt.Sprint(p.Warnings), "contradict") {
			t.Error(got, p.Warnings)
		}
	})
	t.Run("only what is active in the source moves", func(t *testing.T) {
		there := resource("there", "app")
		there.Placements[0].Role, there.Placements[1].Role, there.Serving = infra.Standby, infra.Active, "west"
		p := plan(t, snapshot(resource("db", "database"), there), away())
		if got := fmt.Sprint(p.Levels); got != "[[db]]" {
			t.Error(got)
		}
	})
	t.Run("the prediction is the sum of the slowest of each level", func(t *testing.T) {
		w := snapshot(resource("a", "database"), resource("b", "cache"))
		w.History = map[failover.HistoryKey]time.Duration{
			{Action: failover.ActionGuard}:                                    time.Second,
			{Driver: "sim", Type: "database", Action: failover.ActionPromote}: 5 * time.Second,
			{Driver: "sim", Type: "cache", Action: failover.ActionPromote}:    2 * time.Second,
			{Action: failover.ActionDNS}:                                      time.Second,
		}
		if p := plan(t, w, away()); p.PredictedMS == nil || *p.PredictedMS != 10_000 {
			t.Errorf("predicted %v", p.PredictedMS)
		}
		if p := plan(t, snapshot(resource("a", "database")), away()); p.PredictedMS != nil {
			t.Errorf("it predicts %d out of nothing", *p.PredictedMS)
		}
	})
	t.Run("forced leaves out what needs the source, and leaves behind what cannot go", func(t *testing.T) {
		alone := resource("alone", "app")
		alone.Placements = alone.Placements[:1]
		fenced := resource("fenced", "app")
		fenced.Placements[1].Role = infra.Fenced
		w := snapshot(resource("db", "database"), alone, fenced)
		w.Health["east"] = failover.Verdict{Health: failover.Down}
		p := plan(t, w, away())
		said := strings.Join(p.Warnings, "\n")
		if p.Mode != failover.Forced || fmt.Sprint(p.Levels) != "[[db]]" || !strings.Contains(said, "alone") || !strings.Contains(said, "fenced") {
			t.Errorf("%s %v %s", p.Mode, p.Levels, said)
		}
		for _, s := range p.Steps {
			if s.Action == failover.ActionRelease {
				t.Errorf("there is %s", s.ID)
			}
		}
		r := away()
		r.Reason = "both regions are gone, one is back"
		if p := plan(t, w, r); fmt.Sprint(p.Levels) != "[[db] [fenced]]" {
			t.Errorf("with a reason it moves %v", p.Levels)
		}
		r.Mode = failover.Planned
		if p := plan(t, w, r); len(p.RefusedBy) < 2 {
			t.Errorf("refused by %+v", p.RefusedBy)
		}
	})
	t.Run("a region that is not well or not known is warned of", func(t *testing.T) {
		for _, h := range []failover.Health{failover.Degraded, failover.Unknown} {
			w := snapshot(resource("db", "database"))
			w.Health["west"] = failover.Verdict{Health: h, Reason: "slow"}
			if p := plan(t, w, away()); len(p.RefusedBy) != 0 || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "(slow)") {
				t.Errorf("%s: %+v", h, p)
			}
		}
	})
	t.Run("the target is the policy's first that can take it", func(t *testing.T) {
		w := snapshot(resource("db", "database"))
		w.Policy = &failover.Policy{Name: "default", Spec: failover.PolicySpec{Primary: "east", Targets: []string{"north", "west"}}}
		w.Regions[1].Cordoned = true
		r := away()
		r.To = ""
		if p := plan(t, w, r); p.To != "west" {
			t.Errorf("to %s", p.To)
		}
		w.Health["west"] = failover.Verdict{Health: failover.Down}
		_, err := failover.MakePlan(w, r)
		wants(t, err, omni.CodeRefused, "north, west")
	})
	t.Run("what makes no sense is an error", func(t *testing.T) {
		_, err := failover.MakePlan(snapshot(), away())
		wants(t, err, omni.CodeRefused, "no resources")
		_, err = failover.MakePlan(snapshot(resource("a", "app", "b"), resource("b", "app", "a")), away())
		wants(t, err, omni.CodeInvalid, "a → b → a")
		r := away()
		r.From = "north"
		_, err = failover.MakePlan(snapshot(resource("a", "app")), r)
		wants(t, err, omni.CodeRefused, "nothing of acme is active in north")
	})
}

// drawn is a random tenant: any types, an acyclic graph, some resources elsewhere.
func drawn(t *rapid.T) []infra.Resource {
	var list []infra.Resource
	types := []string{"database", "cache", "queue", "app", "loadbalancer", "smtp"}
	for i := range rapid.IntRange(1, 25).Draw(t, "n") {
		r := resource(fmt.Sprintf("r%02d", i), rapid.SampledFrom(types).Draw(t, "type"))
		for j := range i {
			if rapid.IntRange(0, 5).Draw(t, "edge") == 0 {
				r.DependsOn = append(r.DependsOn, fmt.Sprintf("r%02d", j))
			}
		}
		switch rapid.IntRange(0, 6).Draw(t, "state") {
		case 0: // it is there already
			r.Placements[0].Role, r.Placements[1].Role, r.Serving = infra.Standby, infra.Active, "west"
		case 1: // an earlier run has left it between
			r.Placements[0].Role = infra.Fenced
		case 2: // it must join again first
			r.Placements[1].Role = infra.Fenced
		}
		list = append(list, r)
	}
	return list
}

func TestPlanOfAnyWorld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := drawn(t)
		w := snapshot(list...)
		r := away()
		r.Mode = rapid.SampledFrom([]failover.Mode{failover.Planned, failover.Forced}).Draw(t, "mode")
		p, err := failover.MakePlan(w, r)
		if err != nil {
			return // nothing there to move
		}
		again := snapshot(list...)
		rand.Shuffle(len(again.Resources), func(i, j int) {
			again.Resources[i], again.Resources[j] = again.Resources[j], again.Resources[i]
		})
		if q, err := failover.MakePlan(again, r); err != nil || text(q) != text(p) {
			t.Fatalf("another order gives another plan: %v\n%s\n%s", err, text(p), text(q))
		}
		lag := 1.5
		again.Now, again.History = noon.Add(time.Hour), map[failover.HistoryKey]time.Duration{{Action: failover.ActionDNS}: time.Second}
		again.Placements = map[failover.PlacementKey]failover.PlacementState{{Resource: "r00", Region: "west"}: {Healthy: true, LagSeconds: &lag}}
		if q, err := failover.MakePlan(again, r); err != nil || q.Hash != p.Hash {
			t.Fatalf("time, lag or history changed the hash: %v", err)
		}
		checkOrder(t, list, p)
	})
}

func text(p failover.Plan) string {
	raw, _ := json.Marshal(p) //nolint:errchkjson // a plan marshals
	return string(raw)
}

// checkOrder holds a plan against what must never happen.
func checkOrder(t *rapid.T, list []infra.Resource, p failover.Plan) {
	at := map[string]int{}
	for i, s := range p.Steps {
		at[s.Resource+" "+string(s.Action)] = i
		if i > 0 && s.Level < p.Steps[i-1].Level {
			t.Fatalf("%s stands behind %s", s.ID, p.Steps[i-1].ID)
		}
	}
	ids := map[string]bool{}
	for _, s := range p.Steps {
		if ids[s.ID] {
			t.Fatalf("%s is there twice", s.ID)
		}
		ids[s.ID] = true
		if s.Action == failover.ActionPromote {
			if fence, ok := at[s.Resource+" fence"]; !ok || fence > at[s.Resource+" promote"] {
				t.Fatalf("%s is promoted before it is fenced", s.Resource)
			}
			if at[s.Resource+" verify"] < at[s.Resource+" promote"] || at[s.Resource+" route"] < at[s.Resource+" verify"] {
				t.Fatalf("%s is not verified and routed after its promotion", s.Resource)
			}
		}
	}
	level := map[string]int{}
	for i, names := range p.Levels {
		if !slices.IsSorted(names) || len(names) == 0 {
			t.Fatalf("level %d is %v", i+1, names)
		}
		for _, name := range names {
			level[name] = i + 1
		}
	}
	needs := map[string][]string{}
	for _, r := range list {
		needs[r.Name] = r.DependsOn
	}
	for name, l := range level {
		for other := range behindAll(needs, name) {
			if level[other] >= l && level[other] > 0 {
				t.Fatalf("%s needs %s, but moves in level %d and it in %d", name, other, l, level[other])
			}
		}
	}
}

// behindAll gives all that a resource needs, directly or not.
func behindAll(needs map[string][]string, name string) map[string]bool {
	out := map[string]bool{}
	for todo := slices.Clone(needs[name]); len(todo) > 0; todo = todo[1:] {
		if !out[todo[0]] {
			out[todo[0]] = true
			todo = append(todo, needs[todo[0]]...)
		}
	}
	return out
}

func TestHashSeesTheWorld(t *testing.T) {
	base := func() failover.World { return snapshot(resource("db", "database"), resource("app", "app", "db")) }
	hash := plan(t, base(), away()).Hash
	for name, change := range map[string]func(*failover.World, *failover.Request){
		"a version": func(w *failover.World, _ *failover.Request) { w.Resources[0].Version++ },
		"a role":    func(w *failover.World, _ *failover.Request) { w.Resources[0].Placements[1].Role = infra.Fenced },
		"a cordon":  func(w *failover.World, _ *failover.Request) { w.Regions[2].Cordoned = true },
		"a policy":  func(w *failover.World, _ *failover.Request) { w.Policy = &failover.Policy{Version: 1} },
		"the mode":  func(_ *failover.World, r *failover.Request) { r.Mode = failover.Forced },
		"a record": func(w *failover.World, _ *failover.Request) {
			w.Records = []failover.Record{{Name: "x", Resource: "db"}}
		},
		"an addition": func(w *failover.World, _ *failover.Request) {
			w.Resources = append(w.Resources, resource("new", "app"))
		},
	} {
		w, r := base(), away()
		change(&w, &r)
		if plan(t, w, r).Hash == hash {
			t.Errorf("%s does not change the hash", name)
		}
	}
}

// thousand is a tenant of 1000 resources in three levels.
func thousand() []infra.Resource {
	var list []infra.Resource
	for i := range 1000 {
		name := func(n int) string { return fmt.Sprintf("r%04d", n) }
		switch {
		case i < 334:
			list = append(list, resource(name(i), "database"))
		case i < 667:
			list = append(list, resource(name(i), "app", name(i-334), name((i-334+7)%334)))
		default:
			list = append(list, resource(name(i), "loadbalancer", name(i-333)))
		}
	}
	return list
}

func BenchmarkPlan(b *testing.B) {
	w := snapshot(thousand()...)
	for b.Loop() {
		if p := plan(b, w, away()); len(p.Levels) != 3 || len(p.Steps) != 5005 {
			b.Fatal(len(p.Levels), len(p.Steps))
		}
	}
}
