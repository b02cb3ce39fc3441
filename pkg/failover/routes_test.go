package failover_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/omnicloud/omnicloud/pkg/failover"
	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

// keys takes "ops" for the platform's key, and any other word for the key of that tenant.
type keys struct{}

func (keys) Authenticate(_ context.Context, token string) (omni.Identity, error) {
	id := omni.Identity{Actor: "key:" + token, KeyID: token, Permissions: []string{"*"}}
	if token != "ops" {
		id.Tenant = token
	}
	return id, nil
}

func TestRoutes(t *testing.T) {
	w := newWorld(t, databasetest.Open(t, database.Infra))
	w.shop(nil)
	w.policy(nil)
	api := rest.New(rest.Options{Title: "test", Version: "0", Authenticator: keys{}})
	infra.Routes(api, w.db, w.store)
	w.s.Routes(api)
	must(t, api.Check())
	server := httptest.NewServer(api.Handler())
	t.Cleanup(server.Close)
	call := func(key, method, path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+"/api/v1"+path, strings.NewReader(body))
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+key)
		if body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		res, err := server.Client().Do(req)
		must(t, err)
		defer res.Body.Close()
		raw, err := io.ReadAll(res.Body)
		must(t, err)
		return res.StatusCode, string(raw)
	}
	move := `{"tenant":"acme","from":"east","to":"west"`
	for _, c := range []struct {
		key, method, path, body string
		status                  int
		says                    string
	}{
		{"ops", "GET", "/regions", "", 200, `"name":"north"`},
		{"ops", "GET", "/regions/east", "", 200, `"interval":"1s"`},
		{"ops", "GET", "/regions/mars", "", 404, "mars"},
		{"ops", "GET", "/regions/east/health", "", 200, `"health":"up"`},
		{"ops", "POST", "/regions/north/cordon", `{"reason":"floods"}`, 200, `"cordon_reason":"floods"`},
		{"ops", "POST", "/regions/north/uncordon", "", 200, `"cordoned":false`},
		{"ops", "POST", "/regions/north/cordon", "", 200, `"cordoned":true`},
		{"ops", "DELETE", "/regions/east", "", 409, "referenced"},
		{"ops", "GET", "/resources", "", 422, "tenant"},
		{"ops", "GET", "/resources?tenant=acme", "", 200, `"name":"lb"`},
		{"acme", "GET", "/resources/db", "", 200, `"serving":"east"`},
		{"evil", "GET", "/resources/db", "", 404, ""},
		{"evil", "GET", "/resources/db?tenant=acme", "", 404, ""},
		{"ops", "DELETE", "/resources/db?tenant=acme", "", 409, "app"},
		{"ops", "GET", "/policies", "", 200, `"primary":"east"`},
		{"evil", "GET", "/policies", "", 200, `"items":[]`},
		{"acme", "GET", "/policies/default", "", 200, `"maxLag":"5s"`},
		{"ops", "POST", "/failover-plans", move + `}`, 200, `"hash":"`},
		{"ops", "POST", "/failover-plans", move + `,"colour":"red"}`, 422, "colour"},
		{"evil", "POST", "/failover-plans", move + `}`, 404, ""},
		{"ops", "POST", "/failovers", move + `}`, 409, "confirm"},
		{"ops", "POST", "/failovers", move + `,"confirm":"acme","plan_hash":"beef"}`, 412, "stale"},
		{"ops", "POST", "/failovers", `{"tenant":"nobody","from":"east","to":"west","confirm":"nobody"}`, 404, "nobody"},
		{"ops", "POST", "/automation/freeze", `{"reason":"storm"}`, 200, `"frozen":true`},
		{"ops", "GET", "/automation/freeze", "", 200, `"reason":"storm"`},
		{"acme", "POST", "/automation/freeze", "", 403, ""},
		{"ops", "DELETE", "/automation/freeze", "", 200, `"frozen":false`},
		{"ops", "POST", "/failovers", move + `,"confirm":"acme","max_lag":"10s"}`, 201, `"status":"running"`},
		{"ops", "POST", "/failovers", move + `,"confirm":"acme"}`, 409, "conflict"},
		{"ops", "GET", "/failovers", "", 200, `"steps":[]`},
		{"evil", "GET", "/failovers", "", 200, `"items":[]`},
		{"ops", "GET", "/failovers?status=succeeded", "", 200, `"items":[]`},
		{"ops", "GET", "/failovers/run_none", "", 404, "run_none"},
	} {
		status, body := call(c.key, c.method, c.path, c.body)
		if status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s %s %s as %s: got %d %s, want %d with %q", c.method, c.path, c.body, c.key, status, body, c.status, c.says)
		}
	}
	id := w.runs()[0].ID
	for _, c := range []struct {
		key, verb, body string
		status          int
		says            string
	}{
		{"evil", "pause", "", 404, ""},
		{"ops", "approve", "", 409, "running"},
		{"ops", "pause", `{"reason":"look"}`, 200, `"paused"`},
		{"acme", "resume", `{"reason":""}`, 200, `"running"`},
		{"ops", "abort", `{}`, 200, `"aborted"`},
		{"ops", "abort", "", 409, "aborted"},
	} {
		if status, body := call(c.key, "POST", "/failovers/"+id+"/"+c.verb, c.body); status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s as %s: got %d %s, want %d with %q", c.verb, c.key, status, body, c.status, c.says)
		}
	}
	t.Run("a run has the fields that scripts rely on", func(t *testing.T) {
		_, body := call("ops", "GET", "/failovers/"+id, "")
		var run map[string]any
		must(t, json.Unmarshal([]byte(body), &run))
		for _, field := range []string{"id", "tenant", "kind", "from", "to", "mode", "trigger", "status", "plan_hash", "initiated_at", "finished_at", "duration_ms", "dns_switched_ms", "steps"} {
			if _, ok := run[field]; !ok {
				t.Errorf("it lacks %s", field)
			}
		}
		step := run["steps"].([]any)[0].(map[string]any)
		for _, field := range []string{"id", "resource", "action", "level", "status", "attempts", "predicted_ms", "duration_ms"} {
			if _, ok := step[field]; !ok {
				t.Errorf("a step lacks %s", field)
			}
		}
		if run["status"] != string(failover.Aborted) {
			t.Errorf("it is %v", run["status"])
		}
	})
}
