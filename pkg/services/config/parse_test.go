package config_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/services/config"
)

// registry knows the kinds by their types; nothing is applied.
func registry() config.Registry {
	return config.NewRegistry(
		config.Kind{Name: "Tenant", Plural: "tenants", Order: 1, New: func() any { return new(tenantSpec) }},
		config.Kind{Name: "Region", Plural: "regions", Order: 2, New: func() any { return new(infra.RegionSpec) }, Doc: "a place"},
		config.Kind{Name: "Resource", Plural: "resources", Tenanted: true, Order: 3, New: func() any { return new(infra.ResourceSpec) }},
		config.Kind{Name: "Odd", Plural: "odds", Order: 4, New: func() any { return new(oddSpec) }},
	)
}

type tenantSpec struct {
	DisplayName string `json:"displayName,omitempty" yaml:"displayName,omitempty"`
}

// oddSpec has a field of every type that a spec may have.
type oddSpec struct {
	Small   int8             `yaml:"small,omitempty"`
	Count   uint16           `yaml:"count,omitempty"`
	Ratio   float64          `yaml:"ratio,omitempty"`
	On      bool             `yaml:"on,omitempty"`
	Wait    omni.Duration    `yaml:"wait,omitempty" default:"5s"`
	Maybe   *int             `yaml:"maybe,omitempty"`
	Free    map[string]any   `yaml:"free,omitempty"`
	Inner   inner            `yaml:"inner"`
	Any     any              `yaml:"any,omitempty"`
	ByName  map[string]inner `yaml:"byName,omitempty"`
	Skipped string           `yaml:"-"`
	shared  `yaml:",inline"`
}

type (
	inner  struct{ A, B string }
	shared struct {
		Common string `yaml:"common,omitempty" doc:"none (default) or all"`
	}
)

const head = "apiVersion: omni/v1\nkind: Odd\nmetadata: {name: x}\n"

func parse(t *testing.T, content string) (config.Manifests, []omni.FieldError) {
	t.Helper()
	m, err := registry().Parse([]config.File{{Name: "a.yaml", Content: content}})
	if err == nil {
		return m, nil
	}
	var e *omni.Error
	if !errors.As(err, &e) || e.Code != omni.CodeInvalid {
		t.Fatalf("error is %v", err)
	}
	return m, e.Fields
}

const shop = `# a comment
apiVersion: omni/v1
kind: Region
metadata: {name: us-east-1}
spec:
  zones:
    - name: a
      probes: [{name: p, type: http, target: "http://127.0.0.1:1/", interval: 500ms, status: 204}]
---
apiVersion: omni/v1
kind: Resource
metadata: {name: orders-db, tenant: acme, labels: {tier: gold}}
spec:
  type: database
  dependsOn: []
  placements:
    - {region: us-east-1, role: active, driver: exec, address: "127.0.0.1:1", config: {command: [/bin/true, 1, 1.5, true, null], deep: {a: 2024-01-01}}}
---
`

func TestParse(t *testing.T) {
	m, faults := parse(t, shop)
	if len(faults) != 0 || len(m.Objects) != 2 {
		t.Fatalf("%d objects, %+v", len(m.Objects), faults)
	}
	region := m.Objects[0].Spec.(*infra.RegionSpec)
	probe := region.Zones[0].Probes[0]
	if probe.Interval.Std() != 500*time.Millisecond || probe.Status != 204 || probe.Type != infra.ProbeHTTP {
		t.Errorf("probe is %+v", probe)
	}
	resource := m.Objects[1]
	want := map[string]any{"command": []any{"/bin/true", 1.0, 1.5, true, nil}, "deep": map[string]any{"a": "2024-01-01"}}
	if got := resource.Spec.(*infra.ResourceSpec).Placements[0].Config; !reflect.DeepEqual(got, want) {
		t.Errorf("config is %#v", got)
	}
	if resource.Metadata.Tenant != "acme" || resource.Metadata.Labels["tier"] != "gold" {
		t.Errorf("metadata is %+v", resource.Metadata)
	}
	t.Run("takes JSON", func(t *testing.T) {
		m, faults := parse(t, `{"apiVersion":"omni/v1","kind":"Tenant","metadata":{"name":"acme"},"spec":{"displayName":"Acme"}}`)
		if len(faults) != 0 || m.Objects[0].Spec.(*tenantSpec).DisplayName != "Acme" {
			t.Errorf("%+v, %+v", m, faults)
		}
	})
	t.Run("takes every type of field", func(t *testing.T) {
		m, faults := parse(t, head+"spec: {small: -128, count: 65535, ratio: 1, on: true, wait: 1m, maybe: 3, any: [1], inner: {a: x, b: '1'}, byName: {q: {a: '', b: ''}}, common: c}")
		if len(faults) != 0 {
			t.Fatal(faults)
		}
		odd := m.Objects[0].Spec.(*oddSpec)
		if odd.Small != -128 || odd.Count != 65535 || odd.Ratio != 1 || !odd.On || odd.Wait.Std() != time.Minute || *odd.Maybe != 3 || odd.Inner.B != "1" || odd.Common != "c" || len(odd.ByName) != 1 {
			t.Errorf("read %+v", odd)
		}
	})
	t.Run("repeats what an anchor names", func(t *testing.T) {
		m, faults := parse(t, head+"spec: {inner: &i {a: x, b: y}, byName: {q: *i}}")
		if len(faults) != 0 || m.Objects[0].Spec.(*oddSpec).ByName["q"].B != "y" {
			t.Errorf("%+v", faults)
		}
	})
}

func TestParseFaults(t *testing.T) {
	good := "inner: {a: x, b: y}"
	for name, tc := range map[string]struct {
		content string
		want    []string // file:line:column: path, and what the message holds
	}{
		"unknown field":         {head + "spec:\n  " + good + "\n  rato: 1\n", []string{"6:3 spec.rato did you mean ratio?"}},
		"unknown top field":     {head + "spec: {" + good + "}\nstatus: {}\n", []string{"5:1 status not a field"}},
		"duplicate key":         {head + "spec:\n  " + good + "\n  small: 1\n  small: 2\n", []string{"7:3 spec.small twice; the first is on line 6"}},
		"duplicate spec":        {head + "spec: {" + good + "}\nspec: {}\n", []string{"5:1 spec twice"}},
		"every fault":           {head + "spec:\n  small: a\n  on: yes please\n  wait: 5\n  inner: {a: x}\n", []string{"5:10 spec.small whole number", "6:7 spec.on true or false", "7:9 spec.wait not a duration", "8:10 spec.inner.b missing"}},
		"missing object":        {head + "spec: {}\n", []string{"4:7 spec.inner missing"}},
		"missing spec":          {head, []string{"1:1 spec missing"}},
		"null is missing":       {head + "spec: {inner: ~}\n", []string{"4:7 spec.inner missing"}},
		"missing everything":    {"{}", []string{"1:1 apiVersion missing", "1:1 kind missing", "1:1 metadata missing"}},
		"empty kind":            {"apiVersion: omni/v1\nkind: ''\nmetadata: {name: a}\n", []string{`2:7 kind "" is not a kind`}},
		"not an object":         {"- a\n- b\n", []string{"1:1  must be an object"}},
		"other version":         {"apiVersion: v1\nkind: Tenant\nmetadata: {name: a}\n", []string{"1:13 apiVersion must be omni/v1"}},
		"unknown kind":          {"apiVersion: omni/v1\nkind: Resorce\nmetadata: {name: a}\n", []string{"2:7 kind did you mean Resource?"}},
		"integer too large":     {head + "spec: {small: 128, count: 70000, " + good + "}", []string{"4:15 spec.small too large", "4:27 spec.count too large"}},
		"integer beyond 64 bit": {head + "spec: {small: 99999999999999999999, " + good + "}", []string{"4:15 spec.small too large"}},
		"octal":                 {head + "spec: {small: 010, " + good + "}", []string{"4:15 spec.small in decimal"}},
		"a fraction":            {head + "spec: {small: 1.5, " + good + "}", []string{"4:15 spec.small whole number"}},
		"a number in quotes":    {head + "spec: {small: '1', " + good + "}", []string{"4:15 spec.small whole number"}},
		"not a number":          {head + "spec: {ratio: .nan, " + good + "}", []string{"4:15 spec.ratio a number"}},
		"duration overflows":    {head + "spec: {wait: 9999999999h, " + good + "}", []string{"4:14 spec.wait not a duration"}},
		"negative duration":     {head + "spec: {wait: -5s, " + good + "}", []string{"4:14 spec.wait not a duration"}},
		"number as text":        {head + "spec: {inner: {a: 1.10, b: no}}", []string{"4:19 spec.inner.a in quotes"}},
		"exact in JSON only":    {head + "spec: {free: {n: 9007199254740993}, " + good + "}", []string{"4:18 spec.free.n in quotes"}},
		"list for a map":        {head + "spec: {free: [], " + good + "}", []string{"4:14 spec.free must be an object"}},
		"map for a text":        {head + "spec: {inner: {a: {}, b: []}}", []string{"4:19 spec.inner.a must be text", "4:26 spec.inner.b must be text"}},
		"merge key":             {head + "spec: {inner: &i {a: x, b: y}, free: {<<: *i}}", []string{"4:39 spec.free not supported"}},
		"tag":                   {head + "spec: {inner: {a: !!binary aGk=, b: !x y}}", []string{"4:19 spec.inner.a tags are not supported", "4:37 spec.inner.b tags are not supported"}},
		"itself":                {head + "spec: {any: &a [*a], " + good + "}", []string{"4:17 spec.any[0] holds it"}},
		"bidi name":             {"apiVersion: omni/v1\nkind: Tenant\nmetadata: {name: \"a\u202eb\"}\n", []string{"3:18 metadata.name U+202E"}},
		"bad name":              {"apiVersion: omni/v1\nkind: Tenant\nmetadata: {name: A_b}\n", []string{`3:18 metadata.name must be 1 to 63`}},
		"empty name":            {"apiVersion: omni/v1\nkind: Tenant\nmetadata: {name: ''}\n", []string{`3:18 metadata.name must be 1 to 63`}},
		"invisible key":         {head + "spec: {free: {\"a\\u200bb\": 1}, " + good + "}", []string{"4:15 spec.free U+200B"}},
		"NUL":                   {head + "spec: {inner: {a: \"a\\0b\", b: y}}", []string{"4:19 spec.inner.a U+0000"}},
		"tenant missing":        {"apiVersion: omni/v1\nkind: Resource\nmetadata: {name: a}\nspec: {type: app, placements: []}\n", []string{"3:11 metadata.tenant belongs to a tenant"}},
		"tenant too many":       {"apiVersion: omni/v1\nkind: Tenant\nmetadata: {name: a, tenant: b}\n", []string{"3:29 metadata.tenant left out"}},
		"the same twice":        {"apiVersion: omni/v1\nkind: Tenant\nmetadata: {name: a}\n---\napiVersion: omni/v1\nkind: Tenant\nmetadata: {name: a}\n", []string{"7:18 metadata.name there already, at a.yaml:1"}},
		"syntax":                {"a: b\n  c: d\n", []string{"2:0  is not YAML"}},
		"syntax further down":   {head + "spec: {" + good + "}\n---\na: [\n", []string{"6:0  is not YAML"}},
		"nothing at all":        {"# only a comment\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			m, faults := parse(t, tc.content)
			if len(faults) != len(tc.want) {
				t.Fatalf("faults are %s\nwant %d, objects %+v", list(faults), len(tc.want), m.Objects)
			}
			for i, want := range tc.want {
				place, rest, _ := strings.Cut(want, " ")
				path, says, _ := strings.Cut(rest, " ")
				f := faults[i]
				if fmt.Sprintf("%d:%d", f.Line, f.Column) != place || f.Path != path || !strings.Contains(f.Message, says) || f.File != "a.yaml" {
					t.Errorf("fault is %s; want %s", list(faults[i:i+1]), want)
				}
			}
		})
	}
}

func list(faults []omni.FieldError) string {
	var b strings.Builder
	for _, f := range faults {
		fmt.Fprintf(&b, "\n%s:%d:%d %s %s", f.File, f.Line, f.Column, f.Path, f.Message)
	}
	return b.String()
}

func TestParseBounds(t *testing.T) {
	bomb := head + "spec:\n  inner: {a: x, b: y}\n  free:\n    l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 12; i++ {
		bomb += fmt.Sprintf("    l%d: &l%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*l%d, ", i-1), 10), ", "))
	}
	var many strings.Builder
	for i := range 10_001 {
		fmt.Fprintf(&many, "---\n{apiVersion: omni/v1, kind: Tenant, metadata: {name: t%d}}\n", i)
	}
	for name, tc := range map[string]struct {
		content string
		says    string
	}{
		"alias bomb":     {bomb, "aliases stand for more than 20000 values"},
		"deep nesting":   {head + "spec: {inner: {a: x, b: y}, any: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}", "nested more than 32 deep"},
		"deeper nesting": {strings.Repeat("[", 1<<20), "is not YAML"},
		"deep blocks":    {strings.Repeat("- ", 1<<19), "is not YAML"},
		"many objects":   {many.String(), "more than the 10000 objects"},
		"a long text":    {head + "spec: {inner: {a: " + strings.Repeat("x", 70_000) + ", b: y}}", "longer than 65536 bytes"},
		"comments":       {strings.Repeat("#\n", 1<<20), "holds no objects"},
	} {
		t.Run(name, func(t *testing.T) {
			started := time.Now()
			_, err := registry().Parse([]config.File{{Name: "b.yaml", Content: tc.content}})
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error is %v", err)
			}
			if took := time.Since(started); took > 10*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
	t.Run("too many bytes", func(t *testing.T) {
		_, err := registry().Parse([]config.File{{Content: strings.Repeat(" ", 5<<20)}})
		if !omni.Is(err, omni.CodeTooLarge) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("at most 50 faults are told", func(t *testing.T) {
		_, faults := parse(t, head+"spec:\n  inner: {a: x, b: y}\n"+strings.Repeat("  ? [k]\n  : v\n", 200))
		if len(faults) != 50 {
			t.Errorf("%d faults", len(faults))
		}
	})
	t.Run("faults of several files are told together", func(t *testing.T) {
		_, err := registry().Parse([]config.File{{Name: "a.yaml", Content: "x: ["}, {Name: "b.yaml", Content: "kind: Nope"}})
		if err == nil || !strings.Contains(err.Error(), "a.yaml") || !strings.Contains(fmt.Sprintf("%+v", err), "more") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestExplain(t *testing.T) {
	r := registry()
	t.Run("tells the fields of a manifest", func(t *testing.T) {
		got, err := r.Explain("resource", "")
		if err != nil || got.Name != "Resource" || len(got.Fields) != 4 || got.Fields[2].Fields[1].Name != "tenant" || !got.Fields[2].Fields[1].Required {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("goes down into lists", func(t *testing.T) {
		got, err := r.Explain("regions", "spec.zones[0].probes")
		if err != nil || got.Path != "spec.zones[].probes" || got.Type != "list of object" {
			t.Fatalf("%+v, %v", got, err)
		}
		for _, f := range got.Fields {
			if f.Name == "interval" && (f.Type != "duration" || f.Default != "5s" || f.Required || f.Path != "spec.zones[].probes[].interval") {
				t.Errorf("interval is %+v", f)
			}
			if f.Name == "type" && !f.Required {
				t.Errorf("type is %+v", f)
			}
		}
	})
	t.Run("finds defaults in tags and in words", func(t *testing.T) {
		got, err := r.Explain("Odd", "spec")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range got.Fields {
			if want, ok := map[string]string{"wait": "5s", "common": "none"}[f.Name]; ok && f.Default != want {
				t.Errorf("%s has the default %q", f.Name, f.Default)
			}
			if f.Name == "Skipped" {
				t.Errorf("%s is told", f.Name)
			}
		}
	})
	for _, path := range []string{"spec.nope", "spec.type.deeper"} {
		t.Run("does not know "+path, func(t *testing.T) {
			if _, err := r.Explain("Resource", path); !omni.Is(err, omni.CodeNotFound) {
				t.Errorf("error is %v", err)
			}
		})
	}
	if _, err := r.Explain("Nope", ""); !omni.Is(err, omni.CodeNotFound) {
		t.Errorf("error is %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		shop, head + "spec: {small: 1, inner: {a: x, b: y}, free: {a: [1, {b: c}]}, any: &a [*a]}", "a: &a {b: *a}", "{", "? [a]\n: b\n", "!!binary x",
		"%YAML 1.1\n---\na\n...\n", "\ufeffa: b", "--- |\n x\n--- >\n y\n", head + "spec: {inner: {a: \"\\ud800\", b: \"\\x00\"}, wait: 1h}", "<<: {a: b}", "kind: &k Odd\napiVersion: *k",
		head + "spec: *nothing", "\"\\x", "- - - -\n", "a: !<tag:yaml.org,2002:int> b",
	} {
		f.Add(s)
	}
	r := registry()
	f.Fuzz(func(t *testing.T, content string) {
		m, err := r.Parse([]config.File{{Name: "fuzz.yaml", Content: content}})
		if err != nil {
			var e *omni.Error
			if !errors.As(err, &e) || e.Message == "" || len(e.Fields) > 50 {
				t.Fatalf("error is %#v", err)
			}
			return
		}
		for _, o := range m.Objects {
			if omni.CheckName("name", o.Metadata.Name) != nil || o.Spec == nil {
				t.Fatalf("object is %+v", o)
			}
		}
	})
}
