package auth_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
	"github.com/omnicloud/omnicloud/pkg/services/auth"
)

func TestRoutes(t *testing.T) {
	c := &clock{}
	s := open(databasetest.OpenAt(t, database.Tenants, c.now), c)
	api := rest.New(rest.Options{Title: "test", Version: "1", Authenticator: s, Now: c.now})
	s.Routes(api)
	if err := api.Check(); err != nil {
		t.Fatal(err)
	}
	handler := api.Handler()
	call := func(t *testing.T, token, method, path, body string, want int, into any) {
		t.Helper()
		req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+token)
		if body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, req)
		if rec.Code != want {
			t.Fatalf("%s %s: %d %s, want %d", method, path, rec.Code, rec.Body, want)
		}
		if into != nil {
			if err := json.Unmarshal(rec.Body.Bytes(), into); err != nil {
				t.Fatalf("%s: %v", rec.Body, err)
			}
		}
	}
	admin := create(t, s, auth.KeySpec{Name: "admin", Roles: []string{auth.PlatformAdmin}}).Token

	var made auth.NewKey
	call(t, admin, "POST", "/api/v1/keys", `{"name":"dev","tenant":"acme","roles":["viewer"],"expires_in":"720h"}`, http.StatusCreated, &made)
	if made.Token == "" || made.ExpiresAt == nil || made.Tenant != "acme" {
		t.Fatalf("created %+v", made)
	}
	t.Run("whoami says where permissions come from", func(t *testing.T) {
		var me auth.WhoAmI
		call(t, made.Token, "GET", "/api/v1/whoami", "", http.StatusOK, &me)
		if me.Actor != "key:dev" || me.Key.ID != made.ID || !slices.Contains(me.Permissions, auth.Grant{Permission: "regions.read", From: auth.Viewer}) {
			t.Errorf("whoami is %+v", me)
		}
	})
	t.Run("can-i answers for the key in use", func(t *testing.T) {
		for body, want := range map[string]bool{
			`{"permission":"regions.read"}`:                     true,
			`{"permission":"failovers.trigger"}`:                false,
			`{"permission":"regions.read","tenant":"somebody"}`: false,
		} {
			var d auth.Decision
			call(t, made.Token, "POST", "/api/v1/can-i", body, http.StatusOK, &d)
			if d.Allowed != want || d.Reason == "" {
				t.Errorf("%s: %+v", body, d)
			}
		}
	})
	t.Run("a viewer sees no keys", func(t *testing.T) {
		call(t, made.Token, "GET", "/api/v1/keys", "", http.StatusForbidden, nil)
	})
	t.Run("a list shows no token", func(t *testing.T) {
		var page omni.Page[map[string]any]
		call(t, admin, "GET", "/api/v1/keys?tenant=acme", "", http.StatusOK, &page)
		if len(page.Items) != 1 || page.Items[0]["token"] != nil {
			t.Errorf("keys are %v", page.Items)
		}
	})
	t.Run("roles are listed with all that they grant", func(t *testing.T) {
		var page omni.Page[auth.RoleView]
		call(t, made.Token, "GET", "/api/v1/roles", "", http.StatusOK, &page)
		if len(page.Items) != 5 || len(page.Items[0].Grants) == 0 {
			t.Errorf("roles are %+v", page.Items)
		}
	})
	t.Run("a key is rotated, then revoked", func(t *testing.T) {
		var next auth.NewKey
		call(t, admin, "POST", "/api/v1/keys/"+made.ID+"/rotate", `{"overlap":"0s"}`, http.StatusOK, &next)
		call(t, made.Token, "GET", "/api/v1/whoami", "", http.StatusUnauthorized, nil)
		call(t, next.Token, "GET", "/api/v1/whoami", "", http.StatusOK, nil)
		call(t, admin, "DELETE", "/api/v1/keys/"+made.ID, "", http.StatusNoContent, nil)
		call(t, next.Token, "GET", "/api/v1/whoami", "", http.StatusUnauthorized, nil)
	})
	t.Run("wrong fields are named", func(t *testing.T) {
		var p rest.Problem
		call(t, admin, "POST", "/api/v1/keys", `{"name":"X","roles":["root"]}`, http.StatusUnprocessableEntity, &p)
		if len(p.Errors) != 2 || p.Errors[0].Path != "name" {
			t.Errorf("problem is %+v", p)
		}
		call(t, admin, "POST", "/api/v1/keys", `{"name":"x","roles":["viewer"],"surprise":1}`, http.StatusUnprocessableEntity, nil)
	})
}
