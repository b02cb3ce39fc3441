package tenants_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
	"github.com/omnicloud/omnicloud/pkg/services/tenants"
)

// byName takes a token for the tenant that its holder is bound to; "root" is the platform's.
type byName struct{}

func (byName) Authenticate(_ context.Context, token string) (omni.Identity, error) {
	id := omni.Identity{Actor: "key:" + token, Permissions: []string{"*"}}
	if token != "root" {
		id.Tenant = token
	}
	return id, nil
}

func TestRoutes(t *testing.T) {
	w := &world{objects: map[string]int{"acme": 2}}
	s := tenants.New(tenants.Options{DB: databasetest.Open(t, database.Tenants), Owned: w, Remover: w, Keys: w})
	api := rest.New(rest.Options{Title: "test", Version: "1", Authenticator: byName{}})
	s.Routes(api)
	if err := api.Check(); err != nil {
		t.Fatal(err)
	}
	handler := api.Handler()
	for _, step := range []struct {
		token, method, path, match, body string
		status                           int
		tag, says                        string
	}{
		{"root", "POST", "", "", `{"name":"acme","billing_currency":"EUR"}`, http.StatusCreated, `"1"`, `"billing_currency":"EUR"`},
		{"root", "POST", "", "", `{"name":"other"}`, http.StatusCreated, `"1"`, `"billing_currency":"USD"`},
		{"root", "POST", "", "", `{"name":"acme"}`, http.StatusConflict, "", "exists already"},
		{"root", "POST", "", "", `{"name":"x","billing_currency":"XAU"}`, http.StatusUnprocessableEntity, "", `"path":"billing_currency"`},
		{"root", "POST", "", "", `{"name":"x","currency":"EUR"}`, http.StatusUnprocessableEntity, "", "currency"},
		{"root", "GET", "/acme", "", "", http.StatusOK, `"1"`, `"name":"acme"`},
		{"root", "GET", "", "", "", http.StatusOK, "", `"name":"other"`},
		{"root", "PATCH", "/acme", `"7"`, `{"display_name":"Acme"}`, http.StatusPreconditionFailed, "", "version 1"},
		{"root", "PATCH", "/acme", `"1"`, `{"display_name":"Acme"}`, http.StatusOK, `"2"`, `"display_name":"Acme"`},
		{"root", "PUT", "/acme", `"2"`, `{"labels":{"a":"b"}}`, http.StatusOK, `"3"`, `"billing_currency":"USD"`},
		{"root", "PATCH", "/acme", "nonsense", `{}`, http.StatusUnprocessableEntity, "", "If-Match"},
		{"other", "GET", "/acme", "", "", http.StatusNotFound, "", "there is no tenant"},
		{"other", "GET", "/none", "", "", http.StatusNotFound, "", "there is no tenant"},
		{"other", "DELETE", "/other", "", "", http.StatusForbidden, "", "bound to a tenant"},
		{"root", "DELETE", "/acme", "", "", http.StatusConflict, "", "still owns 2 objects"},
		{"root", "DELETE", "/acme?cascade=true", "", "", http.StatusNoContent, "", ""},
		{"root", "DELETE", "/acme", "", "", http.StatusNotFound, "", ""},
	} {
		req := httptest.NewRequestWithContext(t.Context(), step.method, "/api/v1/tenants"+step.path, strings.NewReader(step.body))
		req.Header.Set("Authorization", "Bearer "+step.token)
		if step.match != "" {
			req.Header.Set("If-Match", step.match)
		}
		if step.body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, req)
		if rec.Code != step.status || rec.Header().Get("ETag") != step.tag || !strings.Contains(rec.Body.String(), step.says) {
			t.Errorf("%s %s %s as %s: %d %s %s\nwant %d %s and %s", step.method, step.path, step.body, step.token,
				rec.Code, rec.Header().Get("ETag"), rec.Body, step.status, step.tag, step.says)
		}
	}
	var page omni.Page[tenants.Tenant]
	req := httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/tenants", nil)
	req.Header.Set("Authorization", "Bearer other")
	rec := httptest.NewRecorder()
	handler.ServeHTTP(rec, req)
	if err := json.Unmarshal(rec.Body.Bytes(), &page); err != nil || len(page.Items) != 1 || page.Items[0].Name != "other" {
		t.Errorf("a tenant's own key sees %s", rec.Body)
	}
}
