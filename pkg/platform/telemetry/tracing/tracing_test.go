package tracing_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
	"github.com/omnicloud/omnicloud/pkg/platform/telemetry/tracing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type anyKey struct{}

func (anyKey) Authenticate(context.Context, string) (omni.Identity, error) {
	return omni.Identity{Actor: "key:root", Permissions: []string{"*"}}, nil
}

// TestOneTrace follows a trace from a client's request through the text that is stored with a run to the call of a driver, which
// another process makes.
func TestOneTrace(t *testing.T) {
	const client = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	spans := tracetest.NewInMemoryExporter()
	open := func() *tracing.Provider {
		p, err := tracing.Open(t.Context(), tracing.Options{Service: "omnid", Exporter: spans})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := open()
	var storedText string
	api := rest.New(rest.Options{Authenticator: anyKey{}, Tracer: first})
	rest.Handle(api, rest.Route{Method: http.MethodPost, Path: "/api/v1/failovers", ID: "trigger", Permission: "failovers.trigger"},
		func(ctx context.Context, _ *struct{}) (*rest.Empty, error) {
			storedText = omni.RequestFrom(ctx).TraceParent
			_, _, end := first.Start(ctx, "plan", "")
			end(nil)
			return nil, nil
		})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/failovers", nil)
	r.Header.Set("Authorization", "Bearer x")
	r.Header.Set("Traceparent", client)
	api.Handler().ServeHTTP(httptest.NewRecorder(), r)

	second := open()
	ctx, _, endRun := second.Start(t.Context(), "run", storedText)
	driver, text, endDriver := second.Start(ctx, "driver promote", "")
	if got := omni.RequestFrom(driver).TraceParent; got != text || !rest.WellFormedTraceParent(text) {
		t.Errorf("the call carries %q, the context %q", text, got)
	}
	endDriver(errors.New("refused"))
	endRun(nil)

	parents := map[string]string{}
	ids := map[string]string{}
	for _, s := range spans.GetSpans() {
		if got := s.SpanContext.TraceID().String(); got != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("%s is in the trace %s", s.Name, got)
		}
		ids[s.SpanContext.SpanID().String()] = s.Name
		parents[s.Name] = s.Parent.SpanID().String()
	}
	ids["b7ad6b7169203331"] = "client"
	const request = "POST /api/v1/failovers"
	for name, want := range map[string]string{request: "client", "plan": request, "run": request, "driver promote": "run"} {
		if got := ids[parents[name]]; got != want {
			t.Errorf("%q is below %q, want %q", name, got, want)
		}
	}
	for _, p := range []*tracing.Provider{first, second} {
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "traces.jsonl")
	p, err := tracing.Open(t.Context(), tracing.Options{Service: "omnid", File: path})
	if err != nil {
		t.Fatal(err)
	}
	ctx, _, end := p.Start(t.Context(), "outer", "not a traceparent")
	tracing.Attribute(ctx, "region", strings.Repeat("x", 500))
	_, _, endInner := p.Start(ctx, "inner", "")
	endInner(omni.Errorf(omni.CodeRefused, "no"))
	end(nil)
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	lines := map[string]map[string]any{}
	for s := bufio.NewScanner(file); s.Scan(); {
		var line map[string]any
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		lines[line["name"].(string)] = line
	}
	if lines["inner"]["parent_id"] != lines["outer"]["span_id"] || lines["inner"]["error"] != "refused" || lines["outer"]["parent_id"] != nil {
		t.Errorf("got %v", lines)
	}
	if region := lines["outer"]["attributes"].(map[string]any)["region"].(string); len(region) != 200 {
		t.Errorf("an attribute has %d bytes", len(region))
	}
}

func TestEndpoint(t *testing.T) {
	var posts atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/traces" {
			posts.Add(1)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
	}))
	defer collector.Close()
	p, err := tracing.Open(t.Context(), tracing.Options{Service: "omnid", Endpoint: collector.URL})
	if err != nil {
		t.Fatal(err)
	}
	_, _, end := p.Start(t.Context(), "one", "")
	end(nil)
	if err := p.Close(t.Context()); err != nil || posts.Load() == 0 {
		t.Errorf("%d posts, %v", posts.Load(), err)
	}
	if _, err := tracing.Open(t.Context(), tracing.Options{Endpoint: "localhost:4318"}); !omni.Is(err, omni.CodeInvalid) {
		t.Errorf("got %v", err)
	}
	if _, err := tracing.Open(t.Context(), tracing.Options{File: t.TempDir()}); err == nil {
		t.Error("a directory is no file")
	}
}
