package billing_test

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
	"github.com/omnicloud/omnicloud/pkg/services/billing"
)

// tokens are keys that are named after their tenant.
type tokens struct{}

func (tokens) Authenticate(_ context.Context, token string) (omni.Identity, error) {
	if token == "platform" {
		token = ""
	}
	return omni.Identity{Actor: "key:test", Tenant: token, Permissions: []string{"usage.read"}}, nil
}

func TestTheRouteShowsATenantItsOwnUsageOnly(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, database.Billing)
	s := billing.New(billing.Options{DB: db, Now: func() time.Time { return at(200) }})
	for i, c := range failover("orders-db") {
		book(t, db, s, string(rune('a'+i)), c)
	}
	api := rest.New(rest.Options{Title: "test", Version: "1", Authenticator: tokens{}, Idempotency: databasetest.Open(t, database.Infra), Now: time.Now})
	s.Routes(api)
	handler := api.Handler()
	for _, c := range []struct {
		token, query string
		status       int
		holds        string
	}{
		{"acme", "", 200, `"totals":[{"region":"east","unit":"placement_second","quantity":150},{"region":"west","unit":"placement_second","quantity":200}]`},
		{"acme", "?run=run_1&by=run", 200, `{"run":"run_1","unit":"placement_second","quantity":99}`},
		{"acme", "?from=2026-03-01T12:00:10Z&to=2026-03-01T12:00:20Z&region=east", 200, `"quantity":10`},
		{"acme", "?by=price", 422, `by`},
		{"globex", "", 200, `"items":[]`},
		{"globex", "?tenant=acme", 404, `not_found`},
		{"platform", "", 200, `"tenant":"acme"`},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/usage"+c.query, nil)
		r.Header.Set("Authorization", "Bearer "+c.token)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.holds) {
			t.Errorf("%s as %s: %d %s", c.query, c.token, w.Code, w.Body)
		}
	}
}
