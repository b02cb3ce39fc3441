package database_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

// schema has one of each thing that the tests need.
func schema() fstest.MapFS {
	return fstest.MapFS{"00001_things.sql": {Data: []byte(`-- +goose Up
create table owners (name text primary key);
create table things (
	tenant text not null,
	id     text not null,
	owner  text references owners (name),
	size   bigint not null default 0 check (size >= 0),
	made   timestamptz,
	ready  boolean not null default false,
	body   bytea,
	primary key (tenant, id)
);
create table counter (id bigint primary key, n bigint not null);
insert into counter (id, n) values (1, 0);
`)}}
}

func each(t *testing.T, fn func(t *testing.T, db *database.DB)) {
	t.Helper()
	databasetest.EachWith(t, database.Infra, schema(), fn)
}

type work = func(ctx context.Context, tx *database.Tx) error

func write(t *testing.T, db *database.DB, s database.Scope, fn work) {
	t.Helper()
	if err := db.Write(t.Context(), s, fn); err != nil {
		t.Fatal(err)
	}
}

func exec(query string, args ...any) work {
	return func(ctx context.Context, tx *database.Tx) error {
		_, err := tx.Exec(ctx, query, args...)
		return err
	}
}

func count(t *testing.T, db *database.DB, s database.Scope, query string, args ...any) (n int64) {
	t.Helper()
	err := db.Read(t.Context(), s, func(ctx context.Context, tx *database.Tx) error {
		return tx.QueryRow(ctx, query, args, &n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestErrors(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB) {
		write(t, db, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			if _, err := tx.Exec(ctx, `insert into owners (name) values ('ann')`); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `insert into things (tenant, id, owner) values ('acme', 'a', 'ann')`)
			return err
		})
		for _, c := range []struct {
			name, query string
			want        omni.Code
		}{
			{"a key that is there", `insert into things (tenant, id) values ('acme', 'a')`, omni.CodeConflict},
			{"a parent that is not there", `insert into things (tenant, id, owner) values ('acme', 'b', 'bob')`, omni.CodeReferenced},
			{"a parent that is needed", `delete from owners where name = 'ann'`, omni.CodeReferenced},
			{"a check", `insert into things (tenant, id, size) values ('acme', 'c', -1)`, omni.CodeInvalid},
			{"a missing value", `insert into things (tenant, id) values ('acme', null)`, omni.CodeInvalid},
			{"a table that is not there", `select * from nothing`, omni.CodeInternal},
			{"a statement that is none", `selekt`, omni.CodeInternal},
		} {
			t.Run(c.name, func(t *testing.T) {
				err := db.Write(t.Context(), database.Platform(), exec(c.query))
				if got := omni.CodeOf(err); got != c.want {
					t.Errorf("%v has the code %q, want %q", err, got, c.want)
				}
			})
		}
		t.Run("no row", func(t *testing.T) {
			err := db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
				var id string
				return tx.QueryRow(ctx, `select id from things where id = $1`, []any{"none"}, &id)
			})
			if !omni.Is(err, omni.CodeNotFound) {
				t.Errorf("%v", err)
			}
		})
		t.Run("a write while reading", func(t *testing.T) {
			err := db.Read(t.Context(), database.Platform(), exec(`insert into owners (name) values ('eve')`))
			if err == nil || count(t, db, database.Platform(), `select count(*) from owners`) != 1 {
				t.Errorf("it was taken: %v", err)
			}
		})
		t.Run("a caller that has gone", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			err := db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
				cancel()
				_, err := tx.Exec(ctx, `insert into owners (name) values ('eve')`)
				return err
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v does not say that it was cancelled", err)
			}
			if count(t, db, database.Platform(), `select count(*) from owners`) != 1 {
				t.Error("its row is there")
			}
		})
		t.Run("no tenant", func(t *testing.T) {
			if err := db.Read(t.Context(), database.Scope{}, exec(`select 1`)); !omni.Is(err, omni.CodeInvalid) {
				t.Errorf("%v", err)
			}
		})
		t.Run("of the function", func(t *testing.T) {
			own := omni.Errorf(omni.CodeRefused, "no")
			err := db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
				if _, err := tx.Exec(ctx, `insert into owners (name) values ('eve')`); err != nil {
					return err
				}
				return own
			})
			if !errors.Is(err, own) || count(t, db, database.Platform(), `select count(*) from owners`) != 1 {
				t.Errorf("%v", err)
			}
		})
	})
}

func TestPlaceholders(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB) {
		t.Run("are bound by their number", func(t *testing.T) {
			if n := count(t, db, database.Platform(), `select cast($2 as bigint) * 10 + cast($1 as bigint) + $2 * 100`, 1, 2); n != 221 {
				t.Errorf("got %d", n)
			}
			write(t, db, database.Platform(), exec(`insert into things (tenant, id, size) values ($2, $1, $3)`, "id", "acme", 7))
			if n := count(t, db, database.Platform(), `select size from things where id = $2 and tenant = $1 and '$9' <> '''$8' -- $7`, "acme", "id"); n != 7 {
				t.Errorf("got %d", n)
			}
		})
		t.Run("must all have an argument", func(t *testing.T) {
			for _, args := range [][]any{{"a"}, {"a", "b", "c"}} {
				err := db.Write(t.Context(), database.Platform(), exec(`insert into things (tenant, id) values ($1, $2)`, args...))
				if err == nil {
					t.Errorf("%d arguments for two placeholders were taken", len(args))
				}
			}
		})
	})
}

func TestValues(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB) {
		made := time.Date(2026, 7, 1, 12, 30, 0, 123456789, time.FixedZone("", 7200))
		body := []byte{0, 1, 0xff}
		write(t, db, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			if _, err := tx.Exec(ctx, `insert into things (tenant, id, size, made, ready, body) values ('acme', 'full', $1, $2, $3, $4)`,
				int64(1)<<60, database.Time(made), true, body); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `insert into things (tenant, id, made) values ('acme', 'empty', $1)`, database.Time{})
			return err
		})
		err := db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			var size int64
			var at database.Time
			var ready bool
			var got []byte
			if err := tx.QueryRow(ctx, `select size, made, ready, body from things where id = 'full'`, nil, &size, &at, &ready, &got); err != nil {
				return err
			}
			if size != 1<<60 || !at.Std().Equal(made.Truncate(time.Microsecond)) || at.Std().Location() != time.UTC || !ready || string(got) != string(body) {
				t.Errorf("got %d, %v, %v, %v", size, at.Std(), ready, got)
			}
			if err := tx.QueryRow(ctx, `select made, ready, body from things where id = 'empty'`, nil, &at, &ready, &got); err != nil {
				return err
			}
			if !at.Std().IsZero() || ready || got != nil {
				t.Errorf("empty ones: %v, %v, %v", at.Std(), ready, got)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := count(t, db, database.Platform(), `select count(*) from things where made < $1`, database.Time(made.Add(time.Second))); n != 1 {
			t.Errorf("times do not compare: %d", n)
		}
	})
}

func TestWrite(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB) {
		t.Run("those who read first and then write lose nothing", func(t *testing.T) {
			const writers, each = 8, 10
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for range each {
						err := db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
							lock := ""
							if tx.Kind() == database.Postgres {
								lock = " for update"
							}
							var n int64
							if err := tx.QueryRow(ctx, `select n from counter where id = 1`+lock, nil, &n); err != nil {
								return err
							}
							_, err := tx.Exec(ctx, `update counter set n = $1 where id = 1`, n+1)
							return err
						})
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			if n := count(t, db, database.Platform(), `select n from counter`); n != writers*each {
				t.Errorf("counted %d of %d", n, writers*each)
			}
		})
		t.Run("readers go on beside a writer, and do not see its half", func(t *testing.T) {
			write(t, db, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
				if _, err := tx.Exec(ctx, `insert into owners (name) values ('zoe')`); err != nil {
					return err
				}
				if n := count(t, db, database.Platform(), `select count(*) from owners where name = 'zoe'`); n != 0 {
					t.Error("a reader saw what is not committed")
				}
				return nil
			})
		})
	})
}

func TestAfterCommit(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB) {
		var told atomic.Int64
		hook := func(fail error) work {
			return func(_ context.Context, tx *database.Tx) error {
				tx.AfterCommit(func() { told.Add(1) })
				return fail
			}
		}
		if err := db.Write(t.Context(), database.Platform(), hook(errors.New("no"))); err == nil || told.Load() != 0 {
			t.Errorf("a rollback told %d times, %v", told.Load(), err)
		}
		write(t, db, database.Platform(), hook(nil))
		if told.Load() != 1 {
			t.Errorf("a commit told %d times", told.Load())
		}
	})
}

func TestWatch(t *testing.T) {
	db := databasetest.Open(t, database.Infra)
	wake, stop := db.Watch("things")
	signal := func(_ context.Context, tx *database.Tx) error {
		tx.Signal("things")
		tx.Signal("other")
		return nil
	}
	write(t, db, database.Platform(), signal)
	write(t, db, database.Platform(), signal)
	if len(wake) != 1 {
		t.Errorf("%d signals wait", len(wake))
	}
	<-wake
	stop()
	write(t, db, database.Platform(), signal)
	if len(wake) != 0 {
		t.Error("a signal came after the stop")
	}
}

type gathered struct {
	names []string
	fail  error
}

func (g *gathered) Flush(ctx context.Context, tx *database.Tx) error {
	if g.fail != nil {
		return g.fail
	}
	_, err := tx.Exec(ctx, `insert into owners (name) values ($1)`, strings.Join(g.names, "+"))
	return err
}

type gatheredKey struct{}

func TestAttach(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB) {
		gather := func(fail error, names ...string) work {
			return func(_ context.Context, tx *database.Tx) error {
				for _, n := range names {
					g := tx.Attach(gatheredKey{}, func() database.Flusher { return &gathered{fail: fail} }).(*gathered)
					g.names = append(g.names, n)
				}
				return nil
			}
		}
		write(t, db, database.Platform(), gather(nil, "ann", "bob"))
		if n := count(t, db, database.Platform(), `select count(*) from owners where name = 'ann+bob'`); n != 1 {
			t.Errorf("%d rows were flushed", n)
		}
		own := errors.New("no")
		if err := db.Write(t.Context(), database.Platform(), gather(own, "eve")); !errors.Is(err, own) {
			t.Errorf("a failed flush gave %v", err)
		}
	})
}

func TestTenants(t *testing.T) {
	db := databasetest.Postgres(t, database.Infra)
	feed := `insert into event_feed (type, tenant, event, at) values ('t', $1, '{}', now())`
	write(t, db, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		for _, tenant := range []string{"acme", "globex", ""} {
			if _, err := tx.Exec(ctx, feed, tenant); err != nil {
				return err
			}
		}
		return nil
	})
	acme := database.Tenant("acme")
	t.Run("see their own rows only", func(t *testing.T) {
		if n := count(t, db, acme, `select count(*) from event_feed`); n != 1 {
			t.Errorf("acme sees %d rows", n)
		}
		if n := count(t, db, database.Platform(), `select count(*) from event_feed`); n != 3 {
			t.Errorf("the platform sees %d rows", n)
		}
	})
	t.Run("cannot write a foreign row", func(t *testing.T) {
		for _, foreign := range []string{"globex", "", "*"} {
			if err := db.Write(t.Context(), acme, exec(feed, foreign)); !omni.Is(err, omni.CodeForbidden) {
				t.Errorf("a row of %q: %v", foreign, err)
			}
		}
		if err := db.Write(t.Context(), acme, exec(`update event_feed set tenant = 'globex'`)); !omni.Is(err, omni.CodeForbidden) {
			t.Errorf("giving a row away: %v", err)
		}
	})
	t.Run("cannot change or delete a foreign row", func(t *testing.T) {
		write(t, db, acme, exec(`update event_feed set type = 'mine'`))
		write(t, db, acme, exec(`delete from event_feed where tenant <> 'acme'`))
		if n := count(t, db, database.Platform(), `select count(*) from event_feed where type = 't'`); n != 2 {
			t.Errorf("%d foreign rows are untouched", n)
		}
	})
	t.Run("see nothing outside of a transaction of theirs", func(t *testing.T) {
		var n int64
		if err := db.Writer().QueryRowContext(t.Context(), `select count(*) from event_feed`).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d rows, %v", n, err)
		}
	})
	t.Run("are walled in every table that names one", func(t *testing.T) {
		for _, name := range database.Names() {
			db := databasetest.Postgres(t, name)
			open := count(t, db, database.Platform(), `
				select count(*) from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped
				where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r' and not (c.relrowsecurity and c.relforcerowsecurity)`)
			if open != 0 {
				t.Errorf("%d tables of %s are open", open, name)
			}
		}
	})
	t.Run("do not work as an owner or a superuser", func(t *testing.T) {
		n := count(t, db, database.Platform(), `select count(*) from pg_roles where rolname = current_user and not rolsuper and not rolbypassrls`)
		owned := count(t, db, database.Platform(), `select count(*) from pg_class where pg_get_userbyid(relowner) = current_user`)
		if n != 1 || owned != 0 {
			t.Errorf("the role is plain: %d; it owns %d tables", n, owned)
		}
	})
}

func TestWriteInsideWrite(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB) {
		other := databasetest.Open(t, database.Audit)
		inner := exec(`insert into owners (name) values ('inner')`)
		var kept context.Context
		write(t, db, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			kept = ctx
			tx.AfterCommit(func() {
				if err := db.Write(ctx, database.Platform(), exec(`insert into owners (name) values ('hook')`)); err != nil {
					t.Errorf("after the commit: %v", err)
				}
			})
			if err := db.Write(ctx, database.Platform(), inner); !omni.Is(err, omni.CodeInternal) {
				t.Errorf("%v", err)
			}
			return other.Write(ctx, database.Platform(), func(ctx context.Context, _ *database.Tx) error {
				if err := db.Write(ctx, database.Platform(), inner); !omni.Is(err, omni.CodeInternal) {
					t.Errorf("through another database: %v", err)
				}
				return nil
			})
		})
		if err := db.Write(context.WithoutCancel(kept), database.Platform(), inner); err != nil {
			t.Errorf("after its end: %v", err)
		}
	})
}

func TestScope(t *testing.T) {
	db := databasetest.Open(t, database.Infra)
	for _, name := range []string{"", "*"} {
		if err := db.Read(t.Context(), database.Tenant(name), exec(`select 1`)); !omni.Is(err, omni.CodeInvalid) {
			t.Errorf("the tenant %q was taken: %v", name, err)
		}
	}
	if database.Platform().Value() != "*" || database.Tenant("acme").Value() != "acme" {
		t.Error("scopes lose their value")
	}
}
