package telemetry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/telemetry"
)

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	var level slog.LevelVar
	log := telemetry.NewLogger(&out, &level).With(slog.String("part", "relay"))
	ctx := omni.WithRequest(t.Context(), omni.Request{
		ID: "req_1", Identity: omni.System("failover"), TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	})
	log.DebugContext(ctx, "not shown")
	log.InfoContext(ctx, "shown", slog.Duration("took", 1500*time.Millisecond))
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v in %s", err, &out)
	}
	for key, want := range map[string]any{
		"msg": "shown", "level": "info", "part": "relay", "took": "1.5s",
		"request_id": "req_1", "actor": "system:failover", "trace_id": "0af7651916cd43dd8448eb211c80319c",
	} {
		if line[key] != want {
			t.Errorf("%s is %v, want %v", key, line[key], want)
		}
	}
	out.Reset()
	level.Set(slog.LevelDebug)
	log.Debug("shown too")
	if !strings.Contains(out.String(), "shown too") || strings.Contains(out.String(), "request_id") {
		t.Errorf("got %s", &out)
	}
}

func TestParseLevel(t *testing.T) {
	for text, want := range map[string]slog.Level{"debug": slog.LevelDebug, "INFO": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError} {
		if got, err := telemetry.ParseLevel(text); got != want || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	if _, err := telemetry.ParseLevel("loud"); !omni.Is(err, omni.CodeInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestHTTPMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := telemetry.NewHTTP(reg)
	end := m.Begin()
	if got, err := testutil.GatherAndCount(reg, "omnicloud_http_requests_in_flight"); got != 1 || err != nil {
		t.Fatalf("%d in flight series, %v", got, err)
	}
	end("GET", "/api/v1/regions/{name}", 200, 3*time.Millisecond)
	for i := range 2000 { // a fault of the caller must not cost memory without end
		m.Begin()(fmt.Sprintf("M%d", i), fmt.Sprintf("/raw/%d", i), 404, time.Millisecond)
	}
	want := `
# HELP omnicloud_http_requests_in_flight Requests that are being worked on, streams among them.
# TYPE omnicloud_http_requests_in_flight gauge
omnicloud_http_requests_in_flight 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "omnicloud_http_requests_in_flight"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(reg, "omnicloud_http_requests_total"); err != nil || n > 501 {
		t.Errorf("%d series, %v", n, err)
	}
}

func TestAllMetrics(t *testing.T) {
	reg := telemetry.NewRegistry("1.2.3")
	for range 2 { // two parts may count into one registry
		telemetry.NewHTTP(reg).Begin()("GET", "/x", 200, 0)
		w := telemetry.NewWorkflow(reg)
		w.RunChanged("failover", "succeeded", true, time.Second)
		w.RunsAlive("failover", 1)
		w.StepDone("promote", "succeeded", time.Second)
		p := telemetry.NewProbes(reg)
		p.Done("us-east-1", "http", true, time.Millisecond, 0)
		p.Scheduled(3)
		r := telemetry.NewRelay(reg)
		r.Delivered("infra", "audit", 2)
		r.Failed("infra", "audit")
		r.Lag("infra", 4, time.Second)
		l := telemetry.NewLeadership(reg)
		l.Began(7)
		l.Ended()
		telemetry.NewDatabase(reg).Transaction("infra", "write", errors.New("no"), 1, time.Millisecond)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	for name, want := range map[string]float64{
		"omnicloud_runs_total": 2, "omnicloud_relay_delivered_total": 4, "omnicloud_leader_changes_total": 2,
		"omnicloud_leader_epoch": 7, "omnicloud_leader": 0, "omnicloud_relay_oldest_seconds": 1, "omnicloud_build_info": 1,
	} {
		if got := value(t, reg, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if telemetry.NewProbes(nil) == nil {
		t.Error("without a registry nobody counts, but it works")
	}
}

func value(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue() + f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("%s is not there", name)
	return 0
}
