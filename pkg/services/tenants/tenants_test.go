package tenants_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/services/tenants"
)

// world stands for all that tenants own, and for their keys.
type world struct {
	mu      sync.Mutex
	objects map[string]int
	fail    error
	revoked []string
}

func (w *world) Owned(_ context.Context, tenant string) (int, []string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := w.objects[tenant]; n > 0 {
		return n, []string{"Resource"}, nil
	}
	return 0, nil, nil
}

func (w *world) RemoveAll(_ context.Context, tenant string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		w.objects[tenant]--
		return w.fail
	}
	w.objects[tenant] = 0
	return nil
}

func (w *world) RevokeTenant(_ context.Context, _ *database.Tx, tenant string) error {
	w.revoked = append(w.revoked, tenant)
	return nil
}

func each(t *testing.T, fn func(t *testing.T, db *database.DB, s *tenants.Service, w *world)) {
	t.Helper()
	databasetest.Each(t, database.Tenants, func(t *testing.T, db *database.DB) {
		w := &world{objects: map[string]int{}}
		fn(t, db, tenants.New(tenants.Options{DB: db, Owned: w, Remover: w, Keys: w}), w)
	})
}

func meta(name string) omni.Metadata { return omni.Metadata{Name: name} }

// admin acts with a key of the platform.
func admin(t *testing.T) context.Context {
	t.Helper()
	return omni.WithRequest(t.Context(), omni.Request{Identity: omni.System("test")})
}

func bound(ctx context.Context, tenant string) context.Context {
	return omni.WithRequest(ctx, omni.Request{Identity: omni.Identity{Actor: "key:x", Tenant: tenant, Permissions: []string{"tenants.write"}}})
}

func wantCode(t *testing.T, err error, code omni.Code) {
	t.Helper()
	if omni.CodeOf(err) != code {
		t.Fatalf("error is %q (%v), want code %q", omni.CodeOf(err), err, code)
	}
}

func emitted(t *testing.T, db *database.DB) []string {
	t.Helper()
	var types []string
	err := db.Read(admin(t), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		types = nil
		return tx.Query(ctx, `select type from outbox order by seq`, nil, func(scan func(...any) error) error {
			var s string
			err := scan(&s)
			types = append(types, s)
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return types
}

func TestCreate(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, s *tenants.Service, _ *world) {
		t.Run("is billed in dollars when nothing is said", func(t *testing.T) {
			got, err := s.Create(admin(t), omni.Metadata{Name: "acme", Labels: map[string]string{"tier": "gold"}}, tenants.TenantSpec{DisplayName: "Acme"})
			if err != nil {
				t.Fatal(err)
			}
			if got.BillingCurrency != "USD" || got.Version != 1 || got.CreatedAt.IsZero() {
				t.Errorf("created %+v", got)
			}
			read, err := s.Get(admin(t), "acme")
			if err != nil || read.Labels["tier"] != "gold" || read.DisplayName != "Acme" || !read.CreatedAt.Equal(got.CreatedAt) {
				t.Errorf("read %+v, %v", read, err)
			}
		})
		t.Run("leaves one audit record and one event", func(t *testing.T) {
			if got := emitted(t, db); !slices.Equal(got, []string{"omni.audit.record", tenants.EventChanged}) {
				t.Errorf("events are %v", got)
			}
		})
		t.Run("of one that exists is a conflict", func(t *testing.T) {
			_, err := s.Create(admin(t), meta("acme"), tenants.TenantSpec{})
			wantCode(t, err, omni.CodeConflict)
		})
		for _, name := range []string{"", "*", "platform", "Acme", "-a", strings.Repeat("a", 64), "a\u202eb"} {
			t.Run("refuses the name "+name, func(t *testing.T) {
				_, err := s.Create(admin(t), meta(name), tenants.TenantSpec{})
				wantCode(t, err, omni.CodeInvalid)
				var e *omni.Error
				if !errors.As(err, &e) || len(e.Fields) == 0 || e.Fields[0].Path != "metadata.name" {
					t.Errorf("the error names no field: %+v", e)
				}
			})
		}
		t.Run("names every field that is wrong", func(t *testing.T) {
			_, err := s.Create(admin(t), omni.Metadata{Name: "X", Labels: map[string]string{"": "a"}},
				tenants.TenantSpec{DisplayName: "a\x00b", BillingCurrency: "XAU"})
			var e *omni.Error
			if !errors.As(err, &e) || len(e.Fields) != 4 {
				t.Errorf("fields are %+v", e)
			}
		})
		t.Run("is for the platform's keys", func(t *testing.T) {
			_, err := s.Create(bound(admin(t), "acme"), meta("other"), tenants.TenantSpec{})
			wantCode(t, err, omni.CodeForbidden)
		})
	})
}

func TestCurrency(t *testing.T) {
	s := tenants.New(tenants.Options{DB: databasetest.Open(t, database.Tenants)})
	for i, tc := range []struct {
		code string
		ok   bool
		says string
	}{
		{"USD", true, ""},
		{"JPY", true, ""},
		{"KWD", true, ""},
		{"CLF", true, ""},
		{"ZWG", true, ""},
		{"XCG", true, ""},
		{"XAU", false, "no minor unit"},
		{"XDR", false, "no minor unit"},
		{"XXX", false, "no minor unit"},
		{"DEM", false, "2002-03-01"},
		{"HRK", false, "2023-01-15"},
		{"ZWL", false, "2024-09-01"},
		{"usd", false, "capitals"},
		{"EURO", false, "not a currency"},
		{"US ", false, "not a currency"},
		{"$", false, "not a currency"},
		{"\x00\x00\x00", false, "not a currency"},
	} {
		t.Run(tc.code, func(t *testing.T) {
			_, err := s.Create(admin(t), meta("t"+string(rune('a'+i))), tenants.TenantSpec{BillingCurrency: tc.code})
			switch {
			case tc.ok && err != nil:
				t.Errorf("refused: %v", err)
			case !tc.ok && (!omni.Is(err, omni.CodeInvalid) || !strings.Contains(err.Error(), tc.says)):
				t.Errorf("error is %v, want one that says %q", err, tc.says)
			}
		})
	}
}

func TestUpdate(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, s *tenants.Service, _ *world) {
		if _, err := s.Create(admin(t), omni.Metadata{Name: "acme", Labels: map[string]string{"a": "b"}}, tenants.TenantSpec{DisplayName: "Acme", BillingCurrency: "EUR"}); err != nil {
			t.Fatal(err)
		}
		name := "Acme Ltd"
		t.Run("changes what is given", func(t *testing.T) {
			got, err := s.Update(admin(t), "acme", tenants.Change{DisplayName: &name}, 1)
			if err != nil || got.DisplayName != name || got.BillingCurrency != "EUR" || got.Labels["a"] != "b" || got.Version != 2 {
				t.Errorf("updated %+v, %v", got, err)
			}
		})
		t.Run("to what it is already changes nothing", func(t *testing.T) {
			before := len(emitted(t, db))
			got, err := s.Update(admin(t), "acme", tenants.Change{DisplayName: &name}, 0)
			if err != nil || got.Version != 2 || len(emitted(t, db)) != before {
				t.Errorf("updated %+v, %v", got, err)
			}
		})
		t.Run("of an older version is stale", func(t *testing.T) {
			_, err := s.Update(admin(t), "acme", tenants.Change{DisplayName: &name}, 1)
			wantCode(t, err, omni.CodeStale)
		})
		t.Run("with replace returns the rest to its defaults", func(t *testing.T) {
			got, err := s.Update(admin(t), "acme", tenants.Change{DisplayName: &name, Replace: true}, 0)
			if err != nil || got.BillingCurrency != "USD" || got.Labels != nil {
				t.Errorf("updated %+v, %v", got, err)
			}
		})
		t.Run("of another tenant is as if it did not exist", func(t *testing.T) {
			_, foreign := s.Update(bound(admin(t), "other"), "acme", tenants.Change{DisplayName: &name}, 0)
			_, none := s.Update(bound(admin(t), "other"), "nobody", tenants.Change{DisplayName: &name}, 0)
			wantCode(t, foreign, omni.CodeNotFound)
			if strings.ReplaceAll(foreign.Error(), "acme", "nobody") != none.Error() {
				t.Errorf("%v differs from %v", foreign, none)
			}
		})
	})
}

func TestList(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, s *tenants.Service, _ *world) {
		for _, name := range []string{"b", "a", "c"} {
			if _, err := s.Create(admin(t), meta(name), tenants.TenantSpec{}); err != nil {
				t.Fatal(err)
			}
		}
		t.Run("gives pages by name", func(t *testing.T) {
			var names []string
			for page := (omni.PageRequest{Limit: 2}); ; {
				got, err := s.List(admin(t), page)
				if err != nil {
					t.Fatal(err)
				}
				for _, tenant := range got.Items {
					names = append(names, tenant.Name)
				}
				if page.After = got.Next; got.Next == "" {
					break
				}
			}
			if !slices.Equal(names, []string{"a", "b", "c"}) {
				t.Errorf("names are %v", names)
			}
		})
		t.Run("shows a tenant's own key nothing but itself", func(t *testing.T) {
			got, err := s.List(bound(admin(t), "b"), omni.PageRequest{})
			if err != nil || len(got.Items) != 1 || got.Items[0].Name != "b" {
				t.Errorf("listed %+v, %v", got, err)
			}
		})
	})
}

func TestDelete(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, s *tenants.Service, w *world) {
		create := func(t *testing.T, name string, owned int) {
			t.Helper()
			if _, err := s.Create(admin(t), meta(name), tenants.TenantSpec{}); err != nil {
				t.Fatal(err)
			}
			w.objects[name] = owned
		}
		t.Run("is refused while it owns something, and changes nothing", func(t *testing.T) {
			create(t, "busy", 3)
			wantCode(t, s.Delete(admin(t), "busy", false, 0), omni.CodeReferenced)
			got, err := s.Get(admin(t), "busy")
			if err != nil || got.Deleting || got.Version != 1 {
				t.Errorf("it is now %+v, %v", got, err)
			}
		})
		t.Run("revokes its keys", func(t *testing.T) {
			create(t, "empty", 0)
			if err := s.Delete(admin(t), "empty", false, 1); err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(w.revoked, "empty") {
				t.Error("its keys are still valid")
			}
			_, err := s.Get(admin(t), "empty")
			wantCode(t, err, omni.CodeNotFound)
			wantCode(t, s.Delete(admin(t), "empty", false, 0), omni.CodeNotFound)
		})
		t.Run("with cascade that fails can be repeated", func(t *testing.T) {
			create(t, "big", 3)
			w.fail = omni.Errorf(omni.CodeUnavailable, "a driver does not answer")
			wantCode(t, s.Delete(admin(t), "big", true, 0), omni.CodeUnavailable)
			if exists, err := s.Exists(admin(t), "big"); exists || err != nil {
				t.Error("it still takes new objects")
			}
			_, err := s.Update(admin(t), "big", tenants.Change{}, 0)
			wantCode(t, err, omni.CodeConflict)
			wantCode(t, s.Delete(admin(t), "big", false, 0), omni.CodeReferenced)
			w.fail = nil
			if err := s.Delete(admin(t), "big", true, 0); err != nil {
				t.Fatal(err)
			}
			if w.objects["big"] != 0 {
				t.Errorf("%d objects are left", w.objects["big"])
			}
		})
		t.Run("is not for a tenant's own key", func(t *testing.T) {
			wantCode(t, s.Delete(bound(admin(t), "busy"), "busy", true, 0), omni.CodeForbidden)
			wantCode(t, s.Delete(bound(admin(t), "other"), "busy", true, 0), omni.CodeNotFound)
		})
	})
}

func TestHold(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, s *tenants.Service, _ *world) {
		if _, err := s.Create(admin(t), meta("acme"), tenants.TenantSpec{}); err != nil {
			t.Fatal(err)
		}
		for name, code := range map[string]omni.Code{"acme": "", "none": omni.CodeNotFound} {
			err := db.Write(admin(t), database.Platform(), func(ctx context.Context, tx *database.Tx) error { return s.Hold(ctx, tx, name) })
			wantCode(t, err, code)
		}
	})
}

func TestApply(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, s *tenants.Service, _ *world) {
		apply := func(spec tenants.TenantSpec) (got omni.Outcome, err error) {
			err = db.Write(admin(t), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
				got, err = s.ApplyTenant(ctx, tx, meta("acme"), spec)
				return err
			})
			return got, err
		}
		for _, step := range []struct {
			spec tenants.TenantSpec
			want omni.Outcome
		}{
			{tenants.TenantSpec{}, omni.Created},
			{tenants.TenantSpec{BillingCurrency: "USD"}, omni.Unchanged},
			{tenants.TenantSpec{BillingCurrency: "EUR"}, omni.Updated},
			{tenants.TenantSpec{BillingCurrency: "EUR"}, omni.Unchanged},
		} {
			if got, err := apply(step.spec); err != nil || got != step.want {
				t.Fatalf("applying %+v: %s, %v; want %s", step.spec, got, err, step.want)
			}
		}
		if got := len(emitted(t, db)); got != 4 {
			t.Errorf("%d events, want an audit record and a change for each of two changes", got)
		}
	})
}
