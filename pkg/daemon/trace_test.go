package daemon_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/failover"
	"github.com/omnicloud/omnicloud/pkg/services/config"
)

// simulated is a tenant whose one database stands in two regions of the simulated world.
const simulated = `
apiVersion: omni/v1
kind: Region
metadata: {name: east}
spec: {zones: [{name: a, probes: [{name: beat, type: heartbeat, interval: 1m}]}]}
---
apiVersion: omni/v1
kind: Region
metadata: {name: west}
spec: {zones: [{name: a, probes: [{name: beat, type: heartbeat, interval: 1m}]}]}
---
apiVersion: omni/v1
kind: Tenant
metadata: {name: acme}
---
apiVersion: omni/v1
kind: Resource
metadata: {name: db, tenant: acme}
spec:
  type: database
  placements:
    - {region: east, role: active, driver: sim, address: 192.0.2.1, config: {role: active}}
    - {region: west, role: standby, driver: sim, address: 192.0.2.2, config: {role: standby}}
`

// operate connects to an omnid that start has started.
func operate(t *testing.T, line ready, dir string) *client.Client {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	api, err := client.New(client.Options{Server: "http://" + line.Listen, Token: strings.TrimSpace(string(token))})
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// beat tells omnid that both regions are alive, and waits until it believes it.
func beat(t *testing.T, api *client.Client, line ready, dir string) {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	for _, region := range []string{"east", "west"} {
		err := client.Poll(t.Context(), 20*time.Millisecond, func(ctx context.Context) (bool, error) {
			post(t, "http://"+line.Listen+"/api/v1/probes/"+region+"/a/beat/heartbeat", strings.TrimSpace(string(token)))
			verdict, err := api.RegionHealth(ctx, region)
			return verdict.Health == failover.Up, err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestOneTraceLeadsFromTheRequestToTheDriver(t *testing.T) {
	dir, file := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "spans.jsonl")
	line, stop := start(t, dir, "--trace-file", file)
	api := operate(t, line, dir)
	if _, err := api.Apply(t.Context(), []config.File{{Name: "sim.yaml", Content: simulated}}, false); err != nil {
		t.Fatal(err)
	}
	beat(t, api, line, dir)
	run, err := api.Trigger(t.Context(), failover.TriggerRequest{Tenant: "acme", From: "east", To: "west", Confirm: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	err = client.Poll(t.Context(), 20*time.Millisecond, func(ctx context.Context) (bool, error) {
		run, err = api.Failover(ctx, run.ID)
		return !run.Status.Alive() || run.Status == failover.Paused, err
	})
	if err != nil || run.Status != failover.Succeeded {
		t.Fatalf("the run is %s: %s (%v)", run.Status, run.Error, err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	traces := map[string][]string{} // names of spans by trace
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for raw := range bytes.SplitSeq(bytes.TrimSpace(text), []byte("\n")) {
		var span struct {
			Name    string `json:"name"`
			TraceID string `json:"trace_id"`
		}
		if err := json.Unmarshal(raw, &span); err != nil {
			t.Fatal(err)
		}
		traces[span.TraceID] = append(traces[span.TraceID], span.Name)
	}
	for _, names := range traces {
		all := strings.Join(names, ", ")
		if strings.Contains(all, "/api/v1/failovers") && strings.Contains(all, "driver sim promote") {
			return
		}
	}
	t.Errorf("no trace has both the request and the driver's call: %v", traces)
}
