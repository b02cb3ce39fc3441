package sim_test

import (
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/provider"
	"github.com/omnicloud/omnicloud/pkg/provider/providertest"
	"github.com/omnicloud/omnicloud/pkg/provider/sim"
)

func TestContract(t *testing.T) {
	providertest.Run(t, func(*testing.T) providertest.Subject {
		driver := sim.New(sim.Options{Seed: 1})
		var made atomic.Int64
		return providertest.Subject{
			Driver: driver,
			Target: func(_ *testing.T, q providertest.Quirk) (provider.Target, bool) {
				every := []any{"check", "promote", "demote", "fence", "start", "stop"}
				config := map[string]any{"role": "standby"}
				switch q {
				case providertest.Obedient:
				case providertest.Unsupported:
					config["unsupportedActions"] = []any{"fence"}
				case providertest.Fails:
					config["failActions"], config["failMessage"] = every, providertest.Complaint
				case providertest.Hangs:
					config["hangActions"], config["timeout"] = every, providertest.HangTimeout.String()
				case providertest.Floods, providertest.Nonsense:
					return provider.Target{}, false
				}
				name := "db-" + strconv.FormatInt(made.Add(1), 10)
				return provider.Target{Tenant: "acme", Resource: name, Region: "east", Driver: "sim", Config: config}, true
			},
			Effects: func(_ *testing.T, target provider.Target) []string {
				var list []string
				for _, e := range driver.Effects(target.Tenant, target.Resource, target.Region) {
					list = append(list, fmt.Sprintf("%s %s/%s %d", e.Action, e.Run, e.Step, e.Epoch))
				}
				return list
			},
			BadConfigs: map[string]map[string]any{
				"latency":        {"latency": "soon"},
				"failRate":       {"failRate": 1.5},
				"failActions[1]": {"failActions": []any{"fence", "explode"}},
				"role":           {"role": "king"},
				"unhealthy":      {"unhealthy": "yes"},
			},
		}
	})
}

func promote(resource, step string, config map[string]any) provider.Call {
	return provider.Call{
		Target: provider.Target{Tenant: "acme", Resource: resource, Region: "east", Config: config},
		Action: provider.Promote, Role: "active", Run: "run_1", Step: step, Epoch: 1,
	}
}

func TestLatencyTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		err := sim.New(sim.Options{}).Do(t.Context(), promote("db", "s1", map[string]any{"latency": "2s", "latencyJitter": "1s"}))
		if took := time.Since(start); err != nil || took < 2*time.Second || took > 3*time.Second {
			t.Errorf("took %s (%v), want 2s to 3s", took, err)
		}
		err = sim.New(sim.Options{}).Do(t.Context(), promote("db", "s1", map[string]any{"latency": "2m"}))
		if !omni.Is(err, omni.CodeUnavailable) {
			t.Errorf("a latency beyond the timeout of 30s: %v, want CodeUnavailable", err)
		}
	})
}

func TestChanceIsDecidedBySeedAndCall(t *testing.T) {
	fates := func(seed uint64, reverse bool) map[string]bool {
		d, out := sim.New(sim.Options{Seed: seed}), map[string]bool{}
		for i := range 200 {
			if reverse {
				i = 199 - i
			}
			step := strconv.Itoa(i)
			out[step] = d.Do(t.Context(), promote("db", step, map[string]any{"failRate": 0.3})) == nil
		}
		return out
	}
	same := func(a, b map[string]bool) (n int) {
		for step := range a {
			if a[step] == b[step] {
				n++
			}
		}
		return n
	}
	first := fates(1, false)
	if n := same(first, fates(1, true)); n != 200 {
		t.Errorf("the same seed in another order gives %d of 200 the same fate", n)
	}
	if n := same(first, fates(2, false)); n == 200 {
		t.Error("another seed changes nothing")
	}
	failed := 0
	for _, ok := range first {
		if !ok {
			failed++
		}
	}
	if failed < 30 || failed > 90 {
		t.Errorf("%d of 200 failed, want about 60", failed)
	}
}

func TestFailFirstLetsARetrySucceed(t *testing.T) {
	d, config := sim.New(sim.Options{}), map[string]any{"failFirst": 2}
	for attempt, want := range []bool{false, false, true, true} {
		if got := d.Do(t.Context(), promote("db", "s1", config)) == nil; got != want {
			t.Errorf("attempt %d succeeded = %v, want %v", attempt+1, got, want)
		}
	}
	if effects := d.Effects("acme", "db", "east"); len(effects) != 1 {
		t.Errorf("effects %v, want one", effects)
	}
}

func TestCheck(t *testing.T) {
	d := sim.New(sim.Options{})
	config := map[string]any{"role": "standby", "lagSeconds": 2.5, "lagBytes": 100}
	c := promote("db", "s1", config)
	state, err := d.Check(t.Context(), c)
	if err != nil || state.LagSeconds == nil || *state.LagSeconds != 2.5 || state.LagBytes == nil || *state.LagBytes != 100 {
		t.Errorf("standby: %+v (%v), want its lag", state, err)
	}
	if err := d.Do(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if state, _ = d.Check(t.Context(), c); state.Role != "active" || state.LagSeconds != nil {
		t.Errorf("active: %+v, want no lag", state)
	}
	c.Epoch = 9
	c.Step = "s2"
	if err := d.Do(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	c.Epoch = 8
	if _, err := d.Check(t.Context(), c); !errors.Is(err, provider.ErrStaleEpoch) {
		t.Errorf("check with a lower epoch: %v, want ErrStaleEpoch", err)
	}
}

func TestTheWorldIsBounded(t *testing.T) {
	d := sim.New(sim.Options{MaxTargets: 1})
	if err := d.Do(t.Context(), promote("a", "s1", nil)); err != nil {
		t.Fatal(err)
	}
	if err := d.Do(t.Context(), promote("b", "s1", nil)); !omni.Is(err, omni.CodeUnavailable) {
		t.Errorf("one more than fits: %v, want CodeUnavailable", err)
	}
	for i := range 1000 {
		if err := d.Do(t.Context(), promote("a", strconv.Itoa(i), nil)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(d.Effects("acme", "a", "east")); n > 64 {
		t.Errorf("%d effects are kept", n)
	}
}

func BenchmarkZeroLatency(b *testing.B) {
	d := sim.New(sim.Options{})
	for i := 0; b.Loop(); i++ {
		if err := d.Do(b.Context(), promote("db", strconv.Itoa(i), nil)); err != nil {
			b.Fatal(err)
		}
	}
}
