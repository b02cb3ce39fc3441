package auth_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/services/auth"
)

// directory knows some tenants.
type directory []string

func (d directory) Hold(_ context.Context, _ *database.Tx, name string) error {
	if slices.Contains(d, name) {
		return nil
	}
	return omni.Errorf(omni.CodeNotFound, "there is no tenant %s", name)
}

// clock is moved by hand.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time {
	return time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC).Add(time.Duration(c.offset.Load()))
}
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

var pepper = []byte("a pepper of the tests, 32 bytes.")

func open(db *database.DB, c *clock) *auth.Service {
	return auth.New(auth.Options{DB: db, Pepper: pepper, Tenants: directory{"acme", "other"}, Now: c.now})
}

func each(t *testing.T, fn func(t *testing.T, db *database.DB, s *auth.Service, c *clock)) {
	t.Helper()
	c := &clock{}
	databasetest.EachAt(t, database.Tenants, c.now, func(t *testing.T, db *database.DB) { fn(t, db, open(db, c), c) })
}

func as(tb testing.TB, id omni.Identity) context.Context {
	tb.Helper()
	return omni.WithRequest(tb.Context(), omni.Request{Identity: id})
}

func root(tb testing.TB) context.Context { tb.Helper(); return as(tb, omni.System("test")) }

func create(tb testing.TB, s *auth.Service, spec auth.KeySpec) auth.NewKey {
	tb.Helper()
	k, err := s.Create(root(tb), spec)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func wantCode(t *testing.T, err error, code omni.Code) {
	t.Helper()
	if omni.CodeOf(err) != code {
		t.Fatalf("error is %q (%v), want code %q", omni.CodeOf(err), err, code)
	}
}

func valid(t *testing.T, s *auth.Service, token string) bool {
	t.Helper()
	_, err := s.Authenticate(t.Context(), token)
	if err != nil && !omni.Is(err, omni.CodeUnauthorized) {
		t.Fatal(err)
	}
	return err == nil
}

func TestAuthenticate(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, s *auth.Service, c *clock) {
		k := create(t, s, auth.KeySpec{Name: "ops", Roles: []string{auth.Operator}})
		t.Run("tells who holds the key", func(t *testing.T) {
			id, err := s.Authenticate(t.Context(), k.Token)
			if err != nil || id.Actor != "key:ops" || id.KeyID != k.ID || id.Tenant != "" || !slices.IsSorted(id.Permissions) ||
				!slices.Contains(id.Permissions, "failovers.trigger") || !slices.Contains(id.Permissions, "regions.write") {
				t.Errorf("identity is %+v, %v", id, err)
			}
		})
		t.Run("refuses another key's secret under this id", func(t *testing.T) {
			other := create(t, s, auth.KeySpec{Name: "ops2", Roles: []string{auth.Viewer}})
			mixed := k.Token[:31] + other.Token[31:]
			if valid(t, s, mixed) {
				t.Error("it was let in")
			}
		})
		t.Run("leaves no part of the secret in the store", func(t *testing.T) {
			err := db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
				return tx.Query(ctx, `select event from outbox`, nil, func(scan func(...any) error) error {
					var event string
					err := scan(&event)
					if strings.Contains(event, k.Token[31:60]) {
						t.Error("the secret is in an event")
					}
					return err
				})
			})
			if err != nil {
				t.Fatal(err)
			}
		})
		t.Run("ends when the key expires", func(t *testing.T) {
			short := create(t, s, auth.KeySpec{Name: "short", Roles: []string{auth.Viewer}, ExpiresAt: c.now().Add(time.Hour)})
			if !valid(t, s, short.Token) {
				t.Fatal("it is not valid")
			}
			c.advance(time.Hour)
			_, err := s.Authenticate(t.Context(), short.Token)
			if !omni.Is(err, omni.CodeUnauthorized) || !strings.Contains(err.Error(), "expired") {
				t.Errorf("error is %v", err)
			}
		})
		t.Run("gives a tenant's key none of the platform's permissions", func(t *testing.T) {
			bound := create(t, s, auth.KeySpec{Name: "ops", Tenant: "acme", Roles: []string{auth.TenantAdmin}})
			id, err := s.Authenticate(t.Context(), bound.Token)
			if err != nil || id.Tenant != "acme" || slices.Contains(id.Permissions, "regions.write") || !slices.Contains(id.Permissions, "keys.write") {
				t.Errorf("identity is %+v, %v", id, err)
			}
		})
	})
}

func TestRevoke(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, s *auth.Service, c *clock) {
		create(t, s, auth.KeySpec{Name: "admin", Roles: []string{auth.PlatformAdmin}})
		replica := open(db, c)
		k := create(t, s, auth.KeySpec{Name: "ops", Roles: []string{auth.Operator}})
		if !valid(t, s, k.Token) || !valid(t, replica, k.Token) {
			t.Fatal("the key is not valid")
		}
		if err := s.Revoke(root(t), k.ID); err != nil {
			t.Fatal(err)
		}
		t.Run("counts at once where it was done", func(t *testing.T) {
			if valid(t, s, k.Token) {
				t.Error("it is still valid")
			}
		})
		t.Run("counts within a second elsewhere", func(t *testing.T) {
			if !valid(t, replica, k.Token) {
				t.Fatal("the other replica does not cache: this test shows nothing")
			}
			c.advance(999 * time.Millisecond)
			if valid(t, replica, k.Token) {
				t.Error("it is still valid")
			}
		})
		t.Run("of a revoked or unknown key says so", func(t *testing.T) {
			wantCode(t, s.Revoke(root(t), k.ID), omni.CodeConflict)
			wantCode(t, s.Revoke(root(t), "key_nothing"), omni.CodeNotFound)
		})
		t.Run("frees the name", func(t *testing.T) { create(t, s, auth.KeySpec{Name: "ops", Roles: []string{auth.Viewer}}) })
		t.Run("of the last key that may do everything is refused", func(t *testing.T) {
			page, err := s.List(root(t), "*", false, omni.PageRequest{})
			if err != nil {
				t.Fatal(err)
			}
			wantCode(t, s.Revoke(root(t), page.Items[0].ID), omni.CodeRefused)
			create(t, s, auth.KeySpec{Name: "second", Roles: []string{auth.PlatformAdmin}})
			if err := s.Revoke(root(t), page.Items[0].ID); err != nil {
				t.Error(err)
			}
		})
	})
}

func TestRotate(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, s *auth.Service, c *clock) {
		k := create(t, s, auth.KeySpec{Name: "ops", Roles: []string{auth.Operator}})
		second, err := s.Rotate(root(t), k.ID, time.Hour)
		if err != nil || second.ID != k.ID || second.Token == k.Token {
			t.Fatalf("rotated %+v, %v", second.Key, err)
		}
		t.Run("lets both tokens work for the overlap", func(t *testing.T) {
			if !valid(t, s, k.Token) || !valid(t, s, second.Token) {
				t.Error("one does not work")
			}
			c.advance(time.Hour)
			if valid(t, s, k.Token) || !valid(t, s, second.Token) {
				t.Error("after the overlap, only the new one must work")
			}
		})
		t.Run("without overlap ends the earlier tokens at once", func(t *testing.T) {
			third, err := s.Rotate(root(t), k.ID, 0)
			if err != nil {
				t.Fatal(err)
			}
			if valid(t, s, second.Token) || !valid(t, s, third.Token) {
				t.Error("only the new one must work")
			}
		})
		t.Run("many times keeps a bounded number of tokens", func(t *testing.T) {
			var tokens []string
			for range 12 {
				c.advance(time.Microsecond)
				next, err := s.Rotate(root(t), k.ID, time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				tokens = append(tokens, next.Token)
			}
			works := 0
			for _, token := range tokens {
				if valid(t, s, token) {
					works++
				}
			}
			if works != 8 || !valid(t, s, tokens[11]) {
				t.Errorf("%d of 12 tokens work", works)
			}
		})
		t.Run("is bounded", func(t *testing.T) {
			_, err := s.Rotate(root(t), k.ID, 31*24*time.Hour)
			wantCode(t, err, omni.CodeInvalid)
		})
	})
}

func TestCreate(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, s *auth.Service, c *clock) {
		admin := create(t, s, auth.KeySpec{Name: "boss", Tenant: "acme", Roles: []string{auth.TenantAdmin}})
		boss, err := s.Authenticate(t.Context(), admin.Token)
		if err != nil {
			t.Fatal(err)
		}
		t.Run("by a tenant's key is for that tenant", func(t *testing.T) {
			k, err := s.Create(as(t, boss), auth.KeySpec{Name: "dev", Roles: []string{auth.Viewer}})
			if err != nil || k.Tenant != "acme" || k.CreatedBy != "key:boss" {
				t.Errorf("created %+v, %v", k.Key, err)
			}
			_, err = s.Create(as(t, boss), auth.KeySpec{Name: "dev", Tenant: "other", Roles: []string{auth.Viewer}})
			wantCode(t, err, omni.CodeNotFound)
		})
		t.Run("gives nobody more than the giver holds", func(t *testing.T) {
			giver := omni.Identity{Actor: "key:g", Permissions: []string{"keys.write", "regions.read"}}
			_, err := s.Create(as(t, giver), auth.KeySpec{Name: "more", Roles: []string{auth.Viewer}})
			wantCode(t, err, omni.CodeForbidden)
			_, err = s.Create(as(t, omni.Identity{Actor: "key:g"}), auth.KeySpec{Name: "more", Roles: []string{auth.PlatformAdmin}})
			wantCode(t, err, omni.CodeForbidden)
		})
		t.Run("does not let a rotation get at a key that may do more", func(t *testing.T) {
			operator := omni.Identity{Actor: "key:o", Permissions: []string{"keys.write"}}
			_, err := s.Rotate(as(t, operator), admin.ID, 0)
			wantCode(t, err, omni.CodeForbidden)
		})
		for name, spec := range map[string]auth.KeySpec{
			"without a role":                       {Name: "a"},
			"with an unknown role":                 {Name: "a", Roles: []string{"root"}},
			"with a bad name":                      {Name: "A b", Roles: []string{auth.Viewer}},
			"that has expired":                     {Name: "a", Roles: []string{auth.Viewer}, ExpiresAt: c.now()},
			"of a tenant with the platform's role": {Name: "a", Tenant: "acme", Roles: []string{auth.PlatformAdmin}},
			"of a tenant that cannot be":           {Name: "a", Tenant: "*", Roles: []string{auth.Viewer}},
		} {
			t.Run("refuses a key "+name, func(t *testing.T) {
				_, err := s.Create(root(t), spec)
				wantCode(t, err, omni.CodeInvalid)
			})
		}
		t.Run("refuses a tenant that does not exist", func(t *testing.T) {
			_, err := s.Create(root(t), auth.KeySpec{Name: "a", Tenant: "nobody", Roles: []string{auth.Viewer}})
			wantCode(t, err, omni.CodeNotFound)
		})
		t.Run("refuses a name that is taken", func(t *testing.T) {
			_, err := s.Create(root(t), auth.KeySpec{Name: "boss", Tenant: "acme", Roles: []string{auth.Viewer}})
			wantCode(t, err, omni.CodeConflict)
		})
		t.Run("keeps tenants from each other's keys", func(t *testing.T) {
			foreign := create(t, s, auth.KeySpec{Name: "dev", Tenant: "other", Roles: []string{auth.Viewer}})
			wantCode(t, s.Revoke(as(t, boss), foreign.ID), omni.CodeNotFound)
			_, err := s.Rotate(as(t, boss), foreign.ID, 0)
			wantCode(t, err, omni.CodeNotFound)
			page, err := s.List(as(t, boss), "*", true, omni.PageRequest{})
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range page.Items {
				if k.Tenant != "acme" {
					t.Errorf("it sees %+v", k)
				}
			}
		})
	})
}

func TestRevokeTenant(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, s *auth.Service, _ *clock) {
		mine := create(t, s, auth.KeySpec{Name: "a", Tenant: "acme", Roles: []string{auth.Viewer}})
		other := create(t, s, auth.KeySpec{Name: "a", Tenant: "other", Roles: []string{auth.Viewer}})
		if !valid(t, s, mine.Token) {
			t.Fatal("it is not valid")
		}
		revoke := func(tenant string) error {
			return db.Write(root(t), database.Platform(), func(ctx context.Context, tx *database.Tx) error { return s.RevokeTenant(ctx, tx, tenant) })
		}
		if err := revoke("acme"); err != nil {
			t.Fatal(err)
		}
		if valid(t, s, mine.Token) || !valid(t, s, other.Token) {
			t.Error("exactly the tenant's keys must end")
		}
		wantCode(t, revoke(""), omni.CodeInvalid)
	})
}

func TestLastUse(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, s *auth.Service, c *clock) {
		k := create(t, s, auth.KeySpec{Name: "ops", Roles: []string{auth.Operator}})
		last := func() *time.Time {
			t.Helper()
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			page, err := s.List(root(t), "*", false, omni.PageRequest{})
			if err != nil || len(page.Items) != 1 {
				t.Fatalf("%+v, %v", page, err)
			}
			return page.Items[0].LastUsedAt
		}
		if last() != nil {
			t.Error("it was never used")
		}
		used := c.now()
		valid(t, s, k.Token)
		if got := last(); got == nil || !got.Equal(used) {
			t.Errorf("last used at %v, want %v", got, used)
		}
		c.advance(30 * time.Second)
		valid(t, s, k.Token)
		if got := last(); !got.Equal(used) {
			t.Errorf("written again after half a minute: %v", got)
		}
		c.advance(31 * time.Second)
		valid(t, s, k.Token)
		if got := last(); !got.Equal(c.now()) {
			t.Errorf("last used at %v, want %v", got, c.now())
		}
	})
}

func TestEnsureAdmin(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, s *auth.Service, c *clock) {
		path := filepath.Join(t.TempDir(), "admin.token")
		token := func() string {
			t.Helper()
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimSpace(string(raw))
		}
		ensure := func(s *auth.Service, path string) {
			t.Helper()
			if err := s.EnsureAdmin(t.Context(), path); err != nil {
				t.Fatal(err)
			}
		}
		ensure(s, path)
		first := token()
		t.Run("writes a token that may do everything, for its owner's eyes", func(t *testing.T) {
			id, err := s.Authenticate(t.Context(), first)
			if err != nil || !slices.Contains(id.Permissions, auth.Everything) || id.Actor != "key:admin" {
				t.Errorf("identity is %+v, %v", id, err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode is %v, %v", info.Mode(), err)
			}
		})
		t.Run("leaves a token that works", func(t *testing.T) {
			ensure(s, path)
			if token() != first {
				t.Error("it was changed")
			}
		})
		t.Run("rotates when the file is lost", func(t *testing.T) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			ensure(s, path)
			if token() == first || !valid(t, s, token()) || !valid(t, s, first) {
				t.Error("both tokens must work for a day")
			}
			c.advance(24 * time.Hour)
			if valid(t, s, first) {
				t.Error("the lost token still works")
			}
		})
		t.Run("replaces a file that opens nothing", func(t *testing.T) {
			if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
				t.Fatal(err)
			}
			ensure(s, path)
			if !valid(t, s, token()) {
				t.Error("the token does not work")
			}
		})
		t.Run("refuses another pepper", func(t *testing.T) {
			foreign := auth.New(auth.Options{DB: db, Pepper: []byte("another pepper of 32 bytes......"), Now: c.now})
			wantCode(t, foreign.EnsureAdmin(t.Context(), filepath.Join(t.TempDir(), "admin.token")), omni.CodeRefused)
		})
		t.Run("leaves it when the key was revoked", func(t *testing.T) {
			create(t, s, auth.KeySpec{Name: "other", Roles: []string{auth.PlatformAdmin}})
			page, err := s.List(root(t), "*", false, omni.PageRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Revoke(root(t), page.Items[0].ID); err != nil {
				t.Fatal(err)
			}
			ensure(s, path)
			if valid(t, s, token()) {
				t.Error("the key is back")
			}
		})
	})
}

func TestEnsureAdminAtOnce(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, _ *auth.Service, c *clock) {
		const replicas = 4
		start := func(t *testing.T, path func(i int) string) {
			t.Helper()
			errs := make([]error, replicas)
			var wg sync.WaitGroup
			for i := range replicas {
				wg.Go(func() { errs[i] = open(db, c).EnsureAdmin(t.Context(), path(i)) })
			}
			wg.Wait()
			for i := range replicas {
				raw, err := os.ReadFile(path(i))
				if errs[i] != nil || err != nil || !valid(t, open(db, c), strings.TrimSpace(string(raw))) {
					t.Errorf("replica %d: %v, %v; its token must work", i, errs[i], err)
				}
			}
		}
		shared := filepath.Join(t.TempDir(), "admin.token")
		t.Run("on one file, which is written once", func(t *testing.T) {
			start(t, func(int) string { return shared })
			c.advance(25 * time.Hour)
			if raw, err := os.ReadFile(shared); err != nil || !valid(t, open(db, c), strings.TrimSpace(string(raw))) {
				t.Errorf("the token has ended: %v", err)
			}
		})
		t.Run("on a file each", func(t *testing.T) {
			folder := t.TempDir()
			start(t, func(i int) string { return filepath.Join(folder, strconv.Itoa(i)) })
		})
	})
}

func TestPepper(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.pepper")
	t.Run("is made once, also by many at once", func(t *testing.T) {
		got := make([][]byte, 8)
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() { got[i], _ = auth.LoadPepper(path) })
		}
		wg.Wait()
		for _, p := range got {
			if len(p) < 32 || !slices.Equal(p, got[0]) {
				t.Fatalf("peppers are %q", got)
			}
		}
		if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
			t.Errorf("files are %v, %v", entries, err)
		}
	})
	t.Run("that others can read is refused", func(t *testing.T) {
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := auth.LoadPepper(path)
		wantCode(t, err, omni.CodeRefused)
	})
	t.Run("that is short is refused", func(t *testing.T) {
		short := filepath.Join(t.TempDir(), "p")
		if err := os.WriteFile(short, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := auth.LoadPepper(short)
		wantCode(t, err, omni.CodeInvalid)
	})
}

func TestConcurrentUse(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB, s *auth.Service, c *clock) {
		k := create(t, s, auth.KeySpec{Name: "ops", Roles: []string{auth.Operator}})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 50 {
					if _, err := s.Authenticate(t.Context(), k.Token); err != nil {
						t.Error(err)
						return
					}
					c.advance(100 * time.Millisecond)
				}
			})
		}
		for range 5 {
			if _, err := s.Rotate(root(t), k.ID, time.Hour); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	db := databasetest.Open(b, database.Tenants)
	s := auth.New(auth.Options{DB: db, Pepper: pepper, Tenants: directory{}, Now: time.Now})
	k := create(b, s, auth.KeySpec{Name: "ops", Roles: []string{auth.Operator}})
	for b.Loop() {
		if _, err := s.Authenticate(b.Context(), k.Token); err != nil {
			b.Fatal(err)
		}
	}
}
