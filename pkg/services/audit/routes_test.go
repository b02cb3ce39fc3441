package audit_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

// tokens are keys that are named after their tenant.
type tokens struct{}

func (tokens) Authenticate(_ context.Context, token string) (omni.Identity, error) {
	if token == "platform" {
		token = ""
	}
	return omni.Identity{Actor: "key:test", Tenant: token, Permissions: []string{"audit.read"}}, nil
}

func TestRoutesShowATenantItsOwnLogOnly(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, database.Audit)
	s := newService(t, db)
	fill(t, db, s, "acme", 5)
	fill(t, db, s, "", 2)
	exec(t, db, `update audit_entries set actor = 'key:x' where tenant = 'acme' and idx = 3`)
	api := rest.New(rest.Options{Title: "test", Version: "1", Authenticator: tokens{}, Idempotency: databasetest.Open(t, database.Infra), Now: time.Now})
	s.Routes(api)
	handler := api.Handler()
	for _, c := range []struct {
		token, path string
		status      int
		holds       string
	}{
		{"acme", "audit?limit=1", 200, `"index":4`},
		{"acme", "audit?order=oldest&limit=1", 200, `"index":0`},
		{"acme", "audit?since=2026-03-01T12:00:01Z&until=2026-03-01T12:00:02Z&order=oldest", 200, `"index":1`},
		{"acme", "audit?since=yesterday", 422, `since: must be a time of RFC 3339, such as 2026-`},
		{"globex", "audit", 200, `"items":[]`},
		{"globex", "audit?tenant=acme", 404, `not_found`},
		{"platform", "audit", 200, `"index":1`},
		{"platform", "audit?tenant=acme", 200, `"tenant":"acme"`},
		{"acme", "audit/verify", 200, `"index":3`},
		{"platform", "audit/verify", 200, `"logs":[{`},
		{"globex", "audit/verify", 200, `"ok":true`},
		{"platform", "audit/proof?index=1", 200, `"leaf_hash":`},
		{"globex", "audit/proof?index=1", 404, `not_found`},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/"+c.path, nil)
		r.Header.Set("Authorization", "Bearer "+c.token)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.holds) {
			t.Errorf("%s as %s: %d %s", c.path, c.token, w.Code, w.Body)
		}
	}
}
