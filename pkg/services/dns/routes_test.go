package dns_test

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
	"github.com/omnicloud/omnicloud/pkg/services/dns"
)

// tokens are keys that are named after their tenant.
type tokens struct{}

func (tokens) Authenticate(_ context.Context, token string) (omni.Identity, error) {
	if token == "platform" {
		token = ""
	}
	return omni.Identity{Actor: "key:test", Tenant: token, Permissions: []string{"zones.read", "zones.write"}}, nil
}

func TestRoutesShowATenantItsOwnZonesOnly(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, database.Infra)
	s := newService(t, db, &world{})
	apply(t, db, s, "acme", "shop", acme(dns.RecordSpec{Name: "a", Type: "A", Values: []string{"192.0.2.1"}}))
	api := rest.New(rest.Options{Title: "test", Version: "1", Authenticator: tokens{}, Idempotency: db, Now: time.Now})
	s.Routes(api)
	handler := api.Handler()
	for _, c := range []struct {
		token, path string
		status      int
		holds       string
	}{
		{"acme", "zones", 200, `"name":"shop"`},
		{"globex", "zones", 200, `"items":[]`},
		{"platform", "zones", 200, `"tenant":"acme"`},
		{"platform", "zones/shop", 422, `tenant`},
		{"platform", "zones/shop?tenant=acme", 200, `"domain":"acme.test."`},
		{"acme", "zones/shop", 200, `"serial":`},
		{"globex", "zones/shop", 404, `not_found`},
		{"globex", "zones/shop?tenant=acme", 404, `not_found`},
		{"acme", "zones/shop/records", 200, `"values":["192.0.2.1"]`},
		{"acme", "zones/shop/records?limit=1&after=x.acme.test.+A", 200, `"items":[]`},
		{"globex", "zones/shop/records", 404, `not_found`},
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

func TestATenantDeletesItsOwnZonesOnly(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, database.Infra)
	s := newService(t, db, &world{})
	apply(t, db, s, "acme", "shop", acme(dns.RecordSpec{Name: "a", Type: "A", Values: []string{"192.0.2.1"}}))
	api := rest.New(rest.Options{Title: "test", Version: "1", Authenticator: tokens{}, Idempotency: db, Now: time.Now})
	s.Routes(api)
	handler := api.Handler()
	for _, c := range []struct {
		token, path, match string
		status             int
	}{
		{"globex", "zones/shop", "", 404},
		{"globex", "zones/shop?tenant=acme", "", 404},
		{"platform", "zones/shop", "", 422},
		{"acme", "zones/shop", `"99"`, 412},
		{"acme", "zones/shop", "", 204},
		{"acme", "zones/shop", "", 404},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodDelete, "/api/v1/"+c.path, nil)
		r.Header.Set("Authorization", "Bearer "+c.token)
		if c.match != "" {
			r.Header.Set("If-Match", c.match)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s as %s: %d %s, want %d", c.path, c.token, w.Code, w.Body, c.status)
		}
	}
}
