package infra_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

func TestValidateRegion(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*omni.Metadata, *infra.RegionSpec)
		says   string
	}{
		"no zone":                {func(_ *omni.Metadata, s *infra.RegionSpec) { s.Zones = nil }, "spec.zones: must be 1 to 16"},
		"a tenant":               {func(m *omni.Metadata, _ *infra.RegionSpec) { m.Tenant = "acme" }, "metadata.tenant"},
		"a bad name":             {func(m *omni.Metadata, _ *infra.RegionSpec) { m.Name = "East_1" }, "metadata.name"},
		"too many zones":         {func(_ *omni.Metadata, s *infra.RegionSpec) { s.Zones = make([]infra.Zone, 17) }, "not 17"},
		"two zones of one name":  {func(_ *omni.Metadata, s *infra.RegionSpec) { s.Zones = append(s.Zones, infra.Zone{Name: "a"}) }, `spec.zones[1].name: "a" names another zone`},
		"an unknown type":        {probe(func(p *infra.Probe) { p.Type = "smoke" }), "spec.zones[0].probes[0].type"},
		"not a URL":              {probe(func(p *infra.Probe) { p.Target = "ftp://x" }), "probes[0].target: must be an http"},
		"not HOST:PORT":          {probe(func(p *infra.Probe) { p.Type, p.Target = infra.ProbeTCP, "x" }), "must be HOST:PORT"},
		"no command":             {probe(func(p *infra.Probe) { p.Type, p.Target = infra.ProbeExec, "" }), "probes[0].command"},
		"a target for heartbeat": {probe(func(p *infra.Probe) { p.Type = infra.ProbeHeartbeat }), "must be left out for heartbeat"},
		"too fast":               {probe(func(p *infra.Probe) { p.Interval = omni.Duration(time.Millisecond) }), "probes[0].interval: must be 100ms to 1h"},
		"a timeout beyond the interval": {probe(func(p *infra.Probe) {
			p.Interval, p.Timeout = omni.Duration(time.Second), omni.Duration(2*time.Second)
		}), "probes[0].timeout: must be at most the interval (1s), not 2s"},
		"a status that is none": {probe(func(p *infra.Probe) { p.Status = 42 }), "probes[0].status"},
	} {
		t.Run(name, func(t *testing.T) {
			meta, spec := region("east")
			c.change(&meta, &spec)
			wants(t, infra.ValidateRegion(meta, spec), omni.CodeInvalid, c.says)
		})
	}
	t.Run("every fault is named, not only the first", func(t *testing.T) {
		meta, spec := region("East")
		spec.Zones[0].Name = "-"
		spec.Zones[0].Probes[0].Target = ""
		wants(t, infra.ValidateRegion(meta, spec), omni.CodeInvalid, "metadata.name", "spec.zones[0].name", "spec.zones[0].probes[0].target")
	})
}

func probe(change func(*infra.Probe)) func(*omni.Metadata, *infra.RegionSpec) {
	return func(_ *omni.Metadata, s *infra.RegionSpec) { change(&s.Zones[0].Probes[0]) }
}

// strict is a driver check that knows one driver, which needs a command.
type strict struct{}

func (strict) Validate(driver string, config map[string]any) []omni.FieldError {
	if driver != "exec" {
		return []omni.FieldError{{Path: "driver", Message: "must be exec"}}
	}
	if config["command"] == nil {
		return []omni.FieldError{{Path: "config.command", Message: "is missing"}}
	}
	return nil
}

func TestValidateResource(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*infra.ResourceSpec)
		says   []string
	}{
		"none is active":     {func(s *infra.ResourceSpec) { s.Placements[0].Role = infra.Standby }, []string{"spec.placements: must have exactly one"}},
		"two are active":     {func(s *infra.ResourceSpec) { s.Placements[1].Role = infra.Active }, []string{"spec.placements[1].role", "in east and in west"}},
		"two in one region":  {func(s *infra.ResourceSpec) { s.Placements[1].Region = "east" }, []string{"spec.placements[1].region"}},
		"a role of runs":     {func(s *infra.ResourceSpec) { s.Placements[1].Role = infra.Fenced }, []string{"must be active or standby"}},
		"no placement":       {func(s *infra.ResourceSpec) { s.Placements = nil }, []string{"must be 1 to 32"}},
		"itself":             {func(s *infra.ResourceSpec) { s.DependsOn = []string{"orders-db"} }, []string{"orders-db → orders-db"}},
		"twice":              {func(s *infra.ResourceSpec) { s.DependsOn = []string{"x", "x"} }, []string{"spec.dependsOn[1]"}},
		"an unknown driver":  {func(s *infra.ResourceSpec) { s.Placements[1].Driver = "magic" }, []string{"spec.placements[1].driver: must be exec"}},
		"a driver's config":  {func(s *infra.ResourceSpec) { s.Placements[1].Config = nil }, []string{"spec.placements[1].config.command: is missing"}},
		"a blank address":    {func(s *infra.ResourceSpec) { s.Placements[0].Address = "a b" }, []string{"spec.placements[0].address"}},
		"a config too large": {func(s *infra.ResourceSpec) { s.Placements[0].Config["x"] = strings.Repeat("x", infra.MaxConfig) }, []string{"must be at most 65536 bytes"}},
		"no JSON":            {func(s *infra.ResourceSpec) { s.Placements[0].Config["x"] = func() {} }, []string{"cannot be written as JSON"}},
		"an endless lease":   {func(s *infra.ResourceSpec) { s.Placements[0].Lease = omni.Duration(48 * time.Hour) }, []string{"spec.placements[0].lease"}},
	} {
		t.Run(name, func(t *testing.T) {
			meta, spec := pair("orders-db")
			for i := range spec.Placements {
				spec.Placements[i].Driver, spec.Placements[i].Config = "exec", map[string]any{"command": "/bin/true"}
			}
			must(t, infra.ValidateResource(meta, spec, strict{}))
			c.change(&spec)
			wants(t, infra.ValidateResource(meta, spec, strict{}), omni.CodeInvalid, c.says...)
		})
	}
}

// FuzzValidate feeds manifests of any kind: whatever they hold, the answer is nil or CodeInvalid.
func FuzzValidate(f *testing.F) {
	meta, spec := pair("orders-db")
	m, r := region("east")
	for _, v := range []any{meta, spec, m, r} {
		raw, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, raw)
	}
	f.Fuzz(func(t *testing.T, metaJSON, specJSON []byte) {
		var meta omni.Metadata
		var resource infra.ResourceSpec
		var region infra.RegionSpec
		_ = json.Unmarshal(metaJSON, &meta)
		_ = json.Unmarshal(specJSON, &resource)
		_ = json.Unmarshal(specJSON, &region)
		for _, err := range []error{infra.ValidateResource(meta, resource, strict{}), infra.ValidateRegion(meta, region)} {
			if err != nil && !omni.Is(err, omni.CodeInvalid) {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestLevels(t *testing.T) {
	t.Run("a resource stands right behind the last that it needs", func(t *testing.T) {
		levels, err := infra.LevelsOf(map[string][]string{"lb": {"app"}, "app": {"db", "cache"}, "cache": nil, "db": nil, "mail": nil, "x": {"gone"}})
		must(t, err)
		if got := fmt.Sprint(levels); got != "[[cache db mail x] [app] [lb]]" {
			t.Error(got)
		}
	})
	t.Run("a cycle is named from its smallest name, without what only leads to it", func(t *testing.T) {
		_, err := infra.LevelsOf(map[string][]string{"a": {"z"}, "z": {"y"}, "y": {"x"}, "x": {"z"}, "w": {"x"}})
		wants(t, err, omni.CodeInvalid, "x → z → y → x")
	})
	t.Run("for any graph", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			needs := map[string][]string{}
			n := rapid.IntRange(0, 30).Draw(t, "n")
			for i := range n {
				name := fmt.Sprintf("r%02d", i)
				needs[name] = nil
				for j := range n {
					if rapid.IntRange(0, 9).Draw(t, "edge") == 0 {
						needs[name] = append(needs[name], fmt.Sprintf("r%02d", j))
					}
				}
			}
			levels, err := infra.LevelsOf(needs)
			again, errAgain := infra.LevelsOf(maps.Clone(needs))
			if fmt.Sprint(levels, err) != fmt.Sprint(again, errAgain) {
				t.Fatal("it is not deterministic")
			}
			if cyclic(needs) != (err != nil) {
				t.Fatalf("cyclic is %v, the error %v", cyclic(needs), err)
			}
			if err != nil {
				return
			}
			at := map[string]int{}
			for i, names := range levels {
				if !slices.IsSorted(names) {
					t.Fatalf("level %d is not sorted: %v", i, names)
				}
				for _, name := range names {
					at[name] = i
				}
			}
			if len(at) != n {
				t.Fatalf("%d of %d have a level", len(at), n)
			}
			for name, list := range needs {
				for _, other := range list {
					if at[other] >= at[name] {
						t.Fatalf("%s needs %s, but stands in level %d and it in %d", name, other, at[name], at[other])
					}
				}
			}
		})
	})
}

// cyclic is the plain reference: it follows every path.
func cyclic(needs map[string][]string) bool {
	state := map[string]int{}
	var visit func(string) bool
	visit = func(name string) bool {
		switch state[name] {
		case 1:
			return true
		case 2:
			return false
		}
		state[name] = 1
		if slices.ContainsFunc(needs[name], visit) {
			return true
		}
		state[name] = 2
		return false
	}
	for name := range needs {
		if visit(name) {
			return true
		}
	}
	return false
}
