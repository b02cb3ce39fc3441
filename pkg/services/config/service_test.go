package config_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
	"github.com/omnicloud/omnicloud/pkg/services/config"
)

// world is a service over both databases, with regions and resources as they are and tenants of the simplest kind.
type world struct {
	*config.Service
	tenants, infra *database.DB
	// spoil makes the next applies of resources fail, after so many that succeed; negative spoils none.
	mu    sync.Mutex
	spoil int
}

func newWorld(tenantsDB, infraDB *database.DB) *world {
	w := &world{tenants: tenantsDB, infra: infraDB, spoil: -1}
	w.Service = config.New(config.Options{
		Databases: []*database.DB{tenantsDB, infraDB}, Tenants: w,
		Kinds: []config.Kind{w.tenantKind(), w.regionKind(), w.resourceKind()},
	})
	return w
}

// each runs fn on both kinds of databases.
func each(t *testing.T, fn func(t *testing.T, db database.Kind, w *world)) {
	t.Helper()
	databasetest.Each(t, database.Tenants, func(t *testing.T, tenantsDB *database.DB) {
		open := databasetest.Open
		if tenantsDB.Kind() == database.Postgres {
			open = databasetest.Postgres
		}
		fn(t, tenantsDB.Kind(), newWorld(tenantsDB, open(t, database.Infra)))
	})
}

func (w *world) Exists(ctx context.Context, name string) (bool, error) {
	n := 0
	err := w.tenants.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		return tx.QueryRow(ctx, `select count(*) from tenants where name = $1`, []any{name}, &n)
	})
	return n > 0, err
}

func (w *world) tenantKind() config.Kind {
	get := func(ctx context.Context, tx *database.Tx, _, name string) (any, error) {
		s := tenantSpec{}
		err := tx.QueryRow(ctx, `select display_name from tenants where name = $1`, []any{name}, &s.DisplayName)
		return [2]any{name, s}, err
	}
	return config.Kind{
		Name: "Tenant", Plural: "tenants", Database: database.Tenants, Order: 1, Permission: "tenants.write",
		New: func() any { return new(tenantSpec) },
		Get: get,
		Apply: func(ctx context.Context, tx *database.Tx, meta omni.Metadata, spec any) (omni.Outcome, error) {
			want := spec.(*tenantSpec).DisplayName
			old, err := get(ctx, tx, "", meta.Name)
			switch {
			case omni.Is(err, omni.CodeNotFound):
				_, err = tx.Exec(ctx, `insert into tenants (name, labels, display_name, billing_currency, deleting, version, created_at, updated_at)
					values ($1, '{}', $2, 'USD', $3, 1, $4, $4)`, meta.Name, want, false, database.Time(tx.Now()))
				return omni.Created, err
			case err != nil:
				return "", err
			case old.([2]any)[1].(tenantSpec).DisplayName == want:
				return omni.Unchanged, nil
			}
			_, err = tx.Exec(ctx, `update tenants set display_name = $2 where name = $1`, meta.Name, want)
			return omni.Updated, err
		},
		Delete: func(ctx context.Context, tx *database.Tx, _, name string) error {
			_, err := tx.Exec(ctx, `delete from tenants where name = $1`, name)
			return err
		},
		Manifest: func(object any) (omni.Metadata, any) {
			o := object.([2]any)
			return omni.Metadata{Name: o[0].(string)}, o[1]
		},
	}
}

func (w *world) regionKind() config.Kind {
	s := infra.NewStore(infra.Options{})
	return config.Kind{
		Name: "Region", Plural: "regions", Database: database.Infra, Order: 2, New: func() any { return new(infra.RegionSpec) },
		Apply: func(ctx context.Context, tx *database.Tx, meta omni.Metadata, spec any) (omni.Outcome, error) {
			return s.ApplyRegion(ctx, tx, meta, *spec.(*infra.RegionSpec))
		},
		Get: func(ctx context.Context, tx *database.Tx, _, name string) (any, error) {
			return s.Region(ctx, tx, name)
		},
		Manifest: func(object any) (omni.Metadata, any) {
			r := object.(infra.Region)
			return omni.Metadata{Name: r.Name, Labels: r.Labels}, r.Spec
		},
	}
}

// spoiled says whether this apply is to fail.
func (w *world) spoiled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.spoil < 0 {
		return false
	}
	w.spoil--
	return w.spoil < 0
}

func (w *world) resourceKind() config.Kind {
	s := infra.NewStore(infra.Options{})
	return config.Kind{
		Name: "Resource", Plural: "resources", Tenanted: true, Database: database.Infra, Order: 3, New: func() any { return new(infra.ResourceSpec) },
		Apply: func(ctx context.Context, tx *database.Tx, meta omni.Metadata, spec any) (omni.Outcome, error) {
			if w.spoiled() {
				return "", omni.Errorf(omni.CodeUnavailable, "the database went away")
			}
			return s.ApplyResource(ctx, tx, meta, *spec.(*infra.ResourceSpec))
		},
		Check: s.CheckGraph,
		Get: func(ctx context.Context, tx *database.Tx, tenant, name string) (any, error) {
			return s.Resource(ctx, tx, tenant, name)
		},
		Manifest: func(object any) (omni.Metadata, any) {
			r := object.(infra.Resource)
			spec := infra.ResourceSpec{Type: r.Type, DependsOn: r.DependsOn}
			for _, p := range r.Placements {
				spec.Placements = append(spec.Placements, infra.PlacementSpec{Region: p.Region, Role: p.Role, Driver: p.Driver, Address: p.Address, Config: p.Config})
			}
			return omni.Metadata{Name: r.Name, Tenant: r.Tenant, Labels: r.Labels}, spec
		},
	}
}

func as(tb testing.TB, id omni.Identity) context.Context {
	tb.Helper()
	return omni.WithRequest(tb.Context(), omni.Request{Identity: id})
}

func root(tb testing.TB) context.Context {
	tb.Helper()
	return as(tb, omni.System("test"))
}

func (w *world) read(t *testing.T, content string) config.Manifests {
	t.Helper()
	m, err := w.Parse([]config.File{{Name: "a.yaml", Content: content}})
	if err != nil {
		t.Fatalf("%v\n%s", err, content)
	}
	return m
}

// names lists what is in the store, as kind/name.
func (w *world) names(t *testing.T) []string {
	t.Helper()
	var out []string
	list := func(db *database.DB, kind, query string) {
		err := db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			return tx.Query(ctx, query, nil, func(scan func(...any) error) error {
				var name string
				err := scan(&name)
				out = append(out, kind+"/"+name)
				return err
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	list(w.tenants, "tenant", `select name from tenants order by name`)
	list(w.infra, "region", `select name from regions order by name`)
	list(w.infra, "resource", `select name from resources order by name`)
	return out
}

func resource(tenant, name, dependsOn string) string {
	return fmt.Sprintf(`---
apiVersion: omni/v1
kind: Resource
metadata: {name: %s, tenant: %s}
spec:
  type: app
  dependsOn: [%s]
  placements:
    - {region: us-east-1, role: active, driver: sim}
`, name, tenant, dependsOn)
}

func region(name string) string {
	return "---\napiVersion: omni/v1\nkind: Region\nmetadata: {name: " + name + "}\nspec: {zones: [{name: a}]}\n"
}

func tenant(name, display string) string {
	return "---\napiVersion: omni/v1\nkind: Tenant\nmetadata: {name: " + name + "}\nspec: {displayName: " + display + "}\n"
}

func fieldsOf(t *testing.T, err error) []omni.FieldError {
	t.Helper()
	var e *omni.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v", err)
	}
	return e.Fields
}

func TestApply(t *testing.T) {
	each(t, func(t *testing.T, db database.Kind, w *world) {
		// What others refer to stands last: the order of kinds brings it first.
		content := resource("acme", "app", "db") + resource("acme", "db", "") + region("us-east-1") + tenant("acme", "Acme")
		m := w.read(t, content)
		t.Run("as a dry run keeps nothing", func(t *testing.T) {
			got, err := w.Plan(root(t), m)
			if err != nil || got.Created != 4 || !got.DryRun {
				t.Fatalf("%+v, %v", got, err)
			}
			if names := w.names(t); len(names) != 0 {
				t.Errorf("there is %v", names)
			}
		})
		t.Run("creates, and says what", func(t *testing.T) {
			got, err := w.Apply(root(t), m)
			if err != nil || got.Created != 4 || got.DryRun || len(got.Items) != 4 || got.Items[0].Kind != "Tenant" || got.Items[1].Kind != "Region" {
				t.Fatalf("%+v, %v", got, err)
			}
			if names := w.names(t); !slices.Equal(names, []string{"tenant/acme", "region/us-east-1", "resource/app", "resource/db"}) {
				t.Errorf("there is %v", names)
			}
		})
		t.Run("again changes nothing", func(t *testing.T) {
			got, err := w.Apply(root(t), m)
			if err != nil || got.Unchanged != 4 {
				t.Errorf("%+v, %v", got, err)
			}
		})
		t.Run("needs the tenant only in the store", func(t *testing.T) {
			got, err := w.Apply(root(t), w.read(t, resource("acme", "app", "")))
			if err != nil || got.Updated != 1 {
				t.Errorf("%+v, %v", got, err)
			}
		})
	})
}

func TestApplyNothing(t *testing.T) {
	each(t, func(t *testing.T, db database.Kind, w *world) {
		if _, err := w.Apply(root(t), w.read(t, region("us-east-1")+tenant("acme", "Acme"))); err != nil {
			t.Fatal(err)
		}
		before := w.names(t)
		for name, tc := range map[string]struct {
			content string
			code    omni.Code
			says    string
			line    int
		}{
			"a tenant is unknown": {tenant("new", "New") + resource("nobody", "a", ""), omni.CodeInvalid, `there is no tenant "nobody"`, 9},
			"a region is unknown": {tenant("new", "New") + strings.ReplaceAll(resource("acme", "a", ""), "us-east-1", "mars"), omni.CodeInvalid, "mars", 14},
			"there is a cycle":    {tenant("new", "New") + resource("acme", "a", "b") + resource("acme", "b", "a"), "", "a", 0},
			"a dependency is not there": {
				tenant("new", "New") + resource("acme", "a", "ghost"), "", "ghost", 0,
			},
			"two placements are active": {
				tenant("new", "New") + resource("acme", "a", "") + "    - {region: us-east-1, role: active, driver: sim}\n", omni.CodeInvalid, "us-east-1", 0,
			},
		} {
			t.Run("is kept when "+name, func(t *testing.T) {
				_, err := w.Apply(root(t), w.read(t, tc.content))
				if err == nil || tc.code != "" && !omni.Is(err, tc.code) || !strings.Contains(err.Error(), tc.says) {
					t.Fatalf("error is %v", err)
				}
				fields := fieldsOf(t, err)
				if len(fields) == 0 || fields[0].File != "a.yaml" || fields[0].Line == 0 || tc.line != 0 && fields[0].Line != tc.line {
					t.Errorf("fields are %+v", fields)
				}
				if now := w.names(t); !slices.Equal(now, before) {
					t.Errorf("there is %v, was %v", now, before)
				}
			})
		}
		t.Run("every object that is wrong is told", func(t *testing.T) {
			content := strings.ReplaceAll(resource("acme", "a", "")+resource("acme", "b", ""), "us-east-1", "mars")
			_, err := w.Apply(root(t), w.read(t, content))
			if fields := fieldsOf(t, err); len(fields) != 2 || fields[0].Line >= fields[1].Line {
				t.Errorf("fields are %+v", fields)
			}
		})
	})
}

func TestApplyTakesBack(t *testing.T) {
	each(t, func(t *testing.T, db database.Kind, w *world) {
		if _, err := w.Apply(root(t), w.read(t, region("us-east-1")+tenant("old", "Old"))); err != nil {
			t.Fatal(err)
		}
		m := w.read(t, tenant("acme", "Acme")+tenant("old", "Changed")+resource("acme", "a", "")+resource("acme", "b", ""))
		w.spoil = 3 // the rehearsal succeeds (2), and the first of the real ones
		_, err := w.Apply(root(t), m)
		if !omni.Is(err, omni.CodeUnavailable) || !strings.Contains(err.Error(), "acme/b") {
			t.Fatalf("error is %v", err)
		}
		if names := w.names(t); !slices.Equal(names, []string{"tenant/old", "region/us-east-1"}) {
			t.Errorf("there is %v", names)
		}
		diff, err := w.Diff(root(t), w.read(t, tenant("old", "Old")))
		if err != nil || diff.Unchanged != 1 {
			t.Errorf("the updated tenant is not as it was: %+v, %v", diff, err)
		}
		if got, err := w.Apply(root(t), m); err != nil || got.Created != 3 || got.Updated != 1 {
			t.Errorf("a second attempt: %+v, %v", got, err)
		}
	})
}

func TestDiff(t *testing.T) {
	each(t, func(t *testing.T, db database.Kind, w *world) {
		if _, err := w.Apply(root(t), w.read(t, region("us-east-1")+tenant("acme", "Acme")+resource("acme", "app", ""))); err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(resource("acme", "app", ""), "driver: sim", `driver: sim, address: "10.0.0.1:80"`, 1)
		got, err := w.Diff(root(t), w.read(t, tenant("acme", "Other")+tenant("new", "New")+changed))
		if err != nil {
			t.Fatal(err)
		}
		want := map[string][]config.Difference{
			"acme": {{Path: "spec.displayName", From: "Acme", To: "Other"}},
			"new":  {{Path: "metadata.name", To: "new"}, {Path: "spec.displayName", To: "New"}},
			"app":  {{Path: "spec.placements[0].address", To: "10.0.0.1:80"}},
		}
		for _, item := range got.Items {
			if !reflect.DeepEqual(item.Fields, want[item.Name]) {
				t.Errorf("%s differs in %+v, want %+v", item.Name, item.Fields, want[item.Name])
			}
		}
		if len(got.Items) != 3 || got.Created != 1 || got.Updated != 2 || !got.DryRun {
			t.Errorf("%+v", got)
		}
		if names := w.names(t); slices.Contains(names, "tenant/new") {
			t.Error("it was kept")
		}
	})
}

func TestPermissions(t *testing.T) {
	each(t, func(t *testing.T, db database.Kind, w *world) {
		if _, err := w.Apply(root(t), w.read(t, region("us-east-1")+tenant("acme", "Acme")+tenant("other", "Other"))); err != nil {
			t.Fatal(err)
		}
		own := as(t, omni.Identity{Actor: "key:a", Tenant: "acme", Permissions: []string{"manifests.apply"}})
		t.Run("a tenant's key applies its own objects", func(t *testing.T) {
			if got, err := w.Apply(own, w.read(t, resource("acme", "a", ""))); err != nil || got.Created != 1 {
				t.Errorf("%+v, %v", got, err)
			}
		})
		for name, content := range map[string]string{
			"another tenant's":      resource("other", "a", ""),
			"one that is not there": resource("nobody", "a", ""),
			"the platform's":        region("mars"),
		} {
			t.Run("a tenant's key does not apply "+name, func(t *testing.T) {
				for _, do := range []func(context.Context, config.Manifests) (config.Result, error){w.Apply, w.Diff, w.Validate} {
					if _, err := do(own, w.read(t, resource("acme", "b", "")+content)); !omni.Is(err, omni.CodeForbidden) {
						t.Errorf("error is %v", err)
					}
				}
				if slices.Contains(w.names(t), "resource/b") {
					t.Error("a part was applied")
				}
			})
		}
		t.Run("a kind may ask for more", func(t *testing.T) {
			some := as(t, omni.Identity{Actor: "key:a", Permissions: []string{"manifests.apply"}})
			if _, err := w.Apply(some, w.read(t, tenant("new", "New"))); !omni.Is(err, omni.CodeForbidden) {
				t.Errorf("error is %v", err)
			}
		})
	})
}

func TestApplyAtOnce(t *testing.T) {
	each(t, func(t *testing.T, db database.Kind, w *world) {
		m := w.read(t, region("us-east-1")+tenant("acme", "Acme")+resource("acme", "a", "b")+resource("acme", "b", ""))
		const appliers = 4
		results, errs := make([]config.Result, appliers), make([]error, appliers)
		var wg sync.WaitGroup
		for i := range appliers {
			wg.Go(func() { results[i], errs[i] = w.Apply(root(t), m) })
		}
		wg.Wait()
		created := 0
		for i := range appliers {
			if errs[i] != nil {
				t.Errorf("applier %d: %v", i, errs[i])
			}
			created += results[i].Created
		}
		if created != 4 {
			t.Errorf("%d objects were created, want each of 4 once", created)
		}
	})
}

func TestApplyTwiceIsUnchanged(t *testing.T) {
	each(t, func(t *testing.T, db database.Kind, w *world) {
		if _, err := w.Apply(root(t), w.read(t, region("us-east-1"))); err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(rt *rapid.T) {
			var content strings.Builder
			seen := map[string]bool{}
			for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z][a-z0-9]{0,3}`), 1, 4, rapid.ID[string]).Draw(rt, "names") {
				content.WriteString(tenant(name, rapid.StringMatching(`[A-Z][a-z]{1,4}`).Draw(rt, "display")))
				seen[name] = true
				previous := ""
				for range rapid.IntRange(0, 3).Draw(rt, "resources") {
					next := rapid.StringMatching(`r[0-9]{1,2}`).Draw(rt, "resource")
					if seen[name+next] {
						continue
					}
					seen[name+next] = true
					dependsOn := ""
					if previous != "" && rapid.Bool().Draw(rt, "depends") {
						dependsOn = previous
					}
					content.WriteString(resource(name, next, dependsOn))
					previous = next
				}
			}
			m, err := w.Parse([]config.File{{Name: "r.yaml", Content: content.String()}})
			if err != nil {
				rt.Fatal(err)
			}
			first, err := w.Apply(root(t), m)
			if err != nil {
				if omni.Is(err, omni.CodeInvalid) || omni.Is(err, omni.CodeRefused) || omni.Is(err, omni.CodeReferenced) {
					rt.Skip("what an earlier round has left makes a cycle")
				}
				rt.Fatal(err)
			}
			again, err := w.Apply(root(t), m)
			if err != nil || again.Unchanged != len(m.Objects) || len(first.Items) != len(m.Objects) {
				rt.Fatalf("%+v, %v", again, err)
			}
			if diff, err := w.Diff(root(t), m); err != nil || diff.Unchanged != len(m.Objects) {
				rt.Fatalf("%+v, %v", diff, err)
			}
		})
	})
}

type anybody struct{}

func (anybody) Authenticate(context.Context, string) (omni.Identity, error) {
	return omni.Identity{Actor: "key:x", Permissions: []string{"*"}}, nil
}

func TestRoutes(t *testing.T) {
	w := newWorld(databasetest.Open(t, database.Tenants), databasetest.Open(t, database.Infra))
	api := rest.New(rest.Options{Title: "test", Version: "1", Authenticator: anybody{}})
	w.Routes(api)
	if err := api.Check(); err != nil {
		t.Fatal(err)
	}
	handler := api.Handler()
	body := func(content string) string {
		raw, err := json.Marshal(map[string]any{"files": []config.File{{Name: "shop.yaml", Content: content}}})
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	for _, step := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"POST", "manifests/validate", body(tenant("acme", "Acme")), http.StatusOK, `"dry_run":true`},
		{"POST", "manifests/apply?dry_run=true", body(tenant("acme", "Acme")), http.StatusOK, `"created":1`},
		{"POST", "manifests/apply", body(tenant("acme", "Acme")), http.StatusOK, `"outcome":"created"`},
		{"POST", "manifests/apply", body(tenant("acme", "Acme")), http.StatusOK, `"outcome":"unchanged"`},
		{"POST", "manifests/diff", body(tenant("acme", "Other")), http.StatusOK, `"from":"Acme","to":"Other"`},
		{"POST", "manifests/apply", body("kind: Tenant\nfoo: 1"), http.StatusUnprocessableEntity, `"file":"shop.yaml","line":2,"column":1`},
		{"POST", "manifests/apply", `{"files":[]}`, http.StatusUnprocessableEntity, "holds no objects"},
		{"POST", "manifests/apply", body(strings.Repeat("#", 1<<21) + tenant("big", "B")), http.StatusOK, `"created":1`},
		{"POST", "manifests/apply", body(strings.Repeat("#", 5<<20)), http.StatusRequestEntityTooLarge, "bytes"},
		{"GET", "kinds", "", http.StatusOK, `"plural":"regions"`},
		{"GET", "kinds/region?path=spec.zones", "", http.StatusOK, `"path":"spec.zones[].probes"`},
		{"GET", "kinds/nope", "", http.StatusNotFound, "there is no kind"},
	} {
		req := httptest.NewRequestWithContext(t.Context(), step.method, "/api/v1/"+step.path, strings.NewReader(step.body))
		req.Header.Set("Authorization", "Bearer x")
		if step.body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, req)
		if rec.Code != step.status || !strings.Contains(rec.Body.String(), step.says) {
			t.Errorf("%s %s: %d %s\nwant %d and %s", step.method, step.path, rec.Code, rec.Body, step.status, step.says)
		}
	}
}
