package rest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

func TestHostileInput(t *testing.T) {
	h := things(rest.Options{}).Handler()
	nested := func(n int) string {
		return `{"name":"a","spec":{"size":1,"tags":` + strings.Repeat(`{"x":`, n) + `"y"` + strings.Repeat("}", n) + `}}`
	}
	cases := []struct {
		name, body string
		status     int
		path       string // of the first error
		says       string // part of its message
	}{
		{"nothing", "", 422, "body", "missing"},
		{"only spaces", "   \n", 422, "body", "missing"},
		{"null", "null", 422, "body", "object"},
		{"a list", "[]", 422, "body", "object"},
		{"half of it", `{"name":"a"`, 422, "body", "ends"},
		{"two values", `{"name":"a","spec":{"size":1}} {}`, 422, "body", "more behind"},
		{"a text for a number", `{"name":"a","spec":{"size":"1"}}`, 422, "spec.size", "integer"},
		{"a number for a text", `{"name":7,"spec":{"size":1}}`, 422, "name", "string"},
		{"an object for a list", `{"name":"a","spec":{"size":1,"parts":{}}}`, 422, "spec.parts", "array"},
		{"a fraction for a whole number", `{"name":"a","spec":{"size":1.5}}`, 422, "spec.size", ""},
		{"a number out of range", `{"name":"a","spec":{"size":101}}`, 422, "spec.size", "100"},
		{"a number beyond float64", `{"name":"a","spec":{"size":1,"ratio":1e999}}`, 422, "spec.ratio", "too large"},
		{"a number of many digits", `{"name":"a","spec":{"size":` + strings.Repeat("9", 200) + `}}`, 422, "spec.size", "100 characters"},
		{"NaN", `{"name":"a","spec":{"size":NaN}}`, 422, "spec.size", "'N'"},
		{"Infinity", `{"name":"a","spec":{"size":1,"ratio":-Infinity}}`, 422, "spec.ratio", "digit"},
		{"a number with a zero in front", `{"name":"a","spec":{"size":01}}`, 422, "spec", "'}'"},
		{"a missing field", `{"spec":{"size":1}}`, 422, "name", "missing"},
		{"a missing field inside", `{"name":"a","spec":{}}`, 422, "spec.size", "missing"},
		{"an unknown field", `{"name":"a","nmae":"a","spec":{"size":1}}`, 422, "nmae", "not a field"},
		{"an unknown field inside", `{"name":"a","spec":{"size":1,"parts":[{"name":"x","colour":1}]}}`, 422, "spec.parts[0].colour", "not a field"},
		{"a field in other letters", `{"NAME":"a","spec":{"size":1}}`, 422, "", ""},
		{"a name twice", `{"name":"a","name":"b","spec":{"size":1}}`, 422, "name", "twice"},
		{"a name twice, once escaped", `{"name":"a","n\u0061me":"b","spec":{"size":1}}`, 422, "name", "twice"},
		{"a name twice in a map", `{"name":"a","spec":{"size":1,"tags":{"k":"1","k":"2"}}}`, 422, "spec.tags.k", "twice"},
		{"NUL", "{\"name\":\"a\\u0000\",\"spec\":{\"size\":1}}", 422, "name", "NUL"},
		{"a raw NUL", "{\"name\":\"a\x00\",\"spec\":{\"size\":1}}", 422, "name", "control"},
		{"half a surrogate", `{"name":"\ud800","spec":{"size":1}}`, 422, "name", "surrogate"},
		{"not UTF-8", "{\"name\":\"\xff\",\"spec\":{\"size\":1}}", 422, "name", "UTF-8"},
		{"a duration that is none", `{"name":"a","spec":{"size":1,"ttl":"soon"}}`, 422, "spec.ttl", "not a duration"},
		{"a duration inside a list", `{"name":"a","spec":{"size":1,"parts":[{"name":"x"},{"name":"y","wait":"-1s"}]}}`, 422, "spec.parts[1].wait", "not a duration"},
		{"too many items", `{"name":"a","spec":{"size":1,"parts":[{"name":"x"},{"name":"x"},{"name":"x"},{"name":"x"}]}}`, 422, "spec.parts", "3"},
		{"a name that is too long", `{"name":"` + strings.Repeat("a", 21) + `","spec":{"size":1}}`, 422, "name", "20"},
		{"depth beyond the bound", nested(63), 422, "", "64 levels"},
		{"a depth bomb", strings.Repeat("[", 500_000), 422, "", "64 levels"},
		{"a body beyond 1 MiB", `{"name":"` + strings.Repeat("a", 1<<20) + `"}`, 413, "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := do(t, h, "POST", "/api/v1/things", c.body)
			if a.status != c.status {
				t.Fatalf("got %d, want %d: %.300s", a.status, c.status, a.body)
			}
			p := a.problem(t)
			if len(a.body) > 4000 {
				t.Errorf("the answer has %d bytes", len(a.body))
			}
			if c.status == 413 {
				return
			}
			if p.Code != omni.CodeInvalid || len(p.Errors) == 0 || p.Hint == "" {
				t.Fatalf("got %s", a.body)
			}
			if c.path != "" && p.Errors[0].Path != c.path {
				t.Errorf("the error names %q, want %q: %s", p.Errors[0].Path, c.path, a.body)
			}
			if !strings.Contains(p.Errors[0].Message, c.says) {
				t.Errorf("the error says %q, want %q in it", p.Errors[0].Message, c.says)
			}
		})
	}
	t.Run("all faults are told at once", func(t *testing.T) {
		p := do(t, h, "POST", "/api/v1/things", `{"name":"","spec":{"size":-1,"x":1}}`).problem(t)
		if len(p.Errors) != 3 || !strings.Contains(p.Detail, "and 2 more") {
			t.Errorf("got %+v", p)
		}
	})
	t.Run("a value is not echoed", func(t *testing.T) {
		if a := do(t, h, "POST", "/api/v1/things", `{"name":"a","spec":{"size":"hunter2"}}`); strings.Contains(a.body, "hunter2") {
			t.Errorf("got %s", a.body)
		}
	})
	t.Run("a body just within the bound", func(t *testing.T) {
		body := `{"name":"a","spec":{"size":1}}`
		body += strings.Repeat(" ", 1<<20-len(body))
		if a := do(t, h, "POST", "/api/v1/things", body); a.status != 201 {
			t.Errorf("got %d: %.200s", a.status, a.body)
		}
	})
}

func TestHostileRequests(t *testing.T) {
	h := things(rest.Options{}).Handler()
	good := `{"name":"a","spec":{"size":1}}`
	cases := []struct {
		name, method, target, body string
		header                     [2]string
		status                     int
		path                       string
	}{
		{"another media type", "POST", "/api/v1/things", good, [2]string{"Content-Type", "text/xml"}, 415, "Content-Type"},
		{"a media type that is none", "POST", "/api/v1/things", good, [2]string{"Content-Type", ";;;"}, 415, "Content-Type"},
		{"JSON by another name", "POST", "/api/v1/things", good, [2]string{"Content-Type", "x/y+json"}, 415, "Content-Type"},
		{"JSON with a charset", "POST", "/api/v1/things", good, [2]string{"Content-Type", "Application/JSON; charset=utf-8"}, 201, ""},
		{"an unknown parameter", "GET", "/api/v1/things?tenant=acme&tennant=x", "", [2]string{"Accept", "*/*"}, 422, "tennant"},
		{"a limit that is no number", "GET", "/api/v1/things?tenant=acme&limit=ten", "", [2]string{"Accept", "*/*"}, 422, "limit"},
		{"a negative limit", "GET", "/api/v1/things?tenant=acme&limit=-1", "", [2]string{"Accept", "*/*"}, 422, "limit"},
		{"a boolean that is none", "GET", "/api/v1/things/ok?wide=perhaps", "", [2]string{"Accept", "*/*"}, 422, "wide"},
		{"a body where none belongs", "POST", "/api/v1/things/a/touch", `{"a":1}`, [2]string{"Accept", "*/*"}, 422, "body"},
		{"a wish for another form", "GET", "/api/v1/things/ok", "", [2]string{"Accept", "text/csv"}, 200, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := do(t, h, c.method, c.target, c.body, c.header[0], c.header[1])
			if a.status != c.status {
				t.Fatalf("got %d, want %d: %s", a.status, c.status, a.body)
			}
			if c.path != "" {
				if p := a.problem(t); len(p.Errors) != 1 || p.Errors[0].Path != c.path {
					t.Errorf("got %s", a.body)
				}
			}
		})
	}
	t.Run("errors of JSON tell line and column", func(t *testing.T) {
		p := do(t, h, "POST", "/api/v1/things", "{\n  \"name\": \"é\",\n  \"spec\": {\"size\": x}\n}").problem(t)
		if len(p.Errors) != 1 || p.Errors[0].Line != 3 || p.Errors[0].Column != 20 || p.Errors[0].Path != "spec.size" {
			t.Errorf("got %+v", p.Errors)
		}
	})
	for _, id := range []string{strings.Repeat("a", 129), "a b", "ü", "a\"b", "<script>"} {
		t.Run(fmt.Sprintf("the request id %.10q is not taken over", id), func(t *testing.T) {
			got := do(t, h, "GET", "/api/v1/open", "", "X-Request-ID", id).header.Get("X-Request-ID")
			if got == id || !strings.HasPrefix(got, "req_") {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestCorrelation(t *testing.T) {
	h := things(rest.Options{}).Handler()
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	t.Run("ids are taken over", func(t *testing.T) {
		a := do(t, h, "GET", "/api/v1/open", "", "X-Request-ID", "r-1", "X-Correlation-ID", "c-1", "Traceparent", parent)
		if a.header.Get("X-Request-ID") != "r-1" || a.header.Get("X-Correlation-ID") != "c-1" {
			t.Errorf("got %v", a.header)
		}
		if !strings.Contains(a.body, `"ID":"r-1"`) || !strings.Contains(a.body, parent) {
			t.Errorf("the handler sees %s", a.body)
		}
	})
	t.Run("the correlation id stands in for a request id", func(t *testing.T) {
		if got := do(t, h, "GET", "/api/v1/open", "", "X-Correlation-ID", "c-1").header.Get("X-Request-ID"); got != "c-1" {
			t.Errorf("got %q", got)
		}
	})
	for header, want := range map[string]bool{
		parent:                                  true,
		strings.ToUpper(parent):                 false,
		parent + "-00":                          false,
		"cc" + parent[2:] + "-what-comes-later": true,
		"cc" + parent[2:] + "x":                 false,
		"ff" + parent[2:]:                       false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": false,
		"": false,
		"00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01": false,
	} {
		if got := rest.WellFormedTraceParent(header); got != want {
			t.Errorf("%q: got %t, want %t", header, got, want)
		}
	}
}
