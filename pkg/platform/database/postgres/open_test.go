package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/omnicloud/omnicloud/migrations"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/database/migrate"
	"github.com/omnicloud/omnicloud/pkg/platform/database/postgres"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

func open(t *testing.T, name database.Name, rawURL string, opts postgres.Options) *database.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), name, rawURL, time.Now, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// admin runs a statement as the server's own user.
func admin(t *testing.T, rawURL, statement string, args ...any) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, rawURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func exec(query string) func(context.Context, *database.Tx) error {
	return func(ctx context.Context, tx *database.Tx) error {
		_, err := tx.Exec(ctx, query)
		return err
	}
}

func TestOpen(t *testing.T) {
	t.Run("keeps the four apart in one database", func(t *testing.T) {
		rawURL := databasetest.URL(t)
		for _, name := range database.Names() {
			db := open(t, name, rawURL, postgres.Options{})
			if n, err := migrate.Up(t.Context(), db, migrations.FS(name)); err != nil || n == 0 {
				t.Fatalf("%s: %d migrations, %v", name, n, err)
			}
			var schema string
			var tables int
			err := db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
				return tx.QueryRow(ctx, `select current_schema(), count(*) from pg_tables where tablename = 'goose_db_version' and schemaname = current_schema()`,
					nil, &schema, &tables)
			})
			if err != nil || schema != string(name) || tables != 1 {
				t.Errorf("%s is in the schema %s, with %d books of migrations, %v", name, schema, tables, err)
			}
		}
	})
	t.Run("at once in many programs", func(t *testing.T) {
		rawURL := databasetest.URL(t)
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				db, err := postgres.Open(t.Context(), database.Audit, rawURL, time.Now, postgres.Options{})
				if err != nil {
					t.Error(err)
					return
				}
				defer db.Close()
				if _, err := migrate.Up(t.Context(), db, migrations.FS(database.Audit)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("as a plain user who owns the database", func(t *testing.T) {
		rawURL := databasetest.URL(t)
		u, _ := url.Parse(rawURL)
		admin(t, rawURL, `create role plain login createrole`)
		t.Cleanup(func() { admin(t, rawURL, `drop owned by plain cascade; drop role plain`) })
		admin(t, rawURL, `alter database `+strings.Trim(u.Path, "/")+` owner to plain`)
		t.Cleanup(func() { admin(t, rawURL, `alter database `+strings.Trim(u.Path, "/")+` owner to omni`) })
		u.User = url.User("plain")
		db := open(t, database.Infra, u.String(), postgres.Options{})
		defer db.Close()
		if _, err := migrate.Up(t.Context(), db, migrations.FS(database.Infra)); err != nil {
			t.Fatal(err)
		}
		if err := db.Write(t.Context(), database.Platform(), exec(`insert into inbox (consumer, event_id, at) values ('c', 'e', now())`)); err != nil {
			t.Error(err)
		}
		if err := db.Write(t.Context(), database.Tenant("acme"), exec(`insert into event_feed (type, tenant, event, at) values ('t', 'globex', '{}', now())`)); !omni.Is(err, omni.CodeForbidden) {
			t.Errorf("a foreign row: %v", err)
		}
	})
	t.Run("refuses a server that may lose acknowledged commits", func(t *testing.T) {
		rawURL := databasetest.URL(t)
		u, _ := url.Parse(rawURL)
		admin(t, rawURL, `alter database `+strings.Trim(u.Path, "/")+` set synchronous_commit = off`)
		_, err := postgres.Open(t.Context(), database.Infra, rawURL, time.Now, postgres.Options{})
		if !omni.Is(err, omni.CodeRefused) || !strings.Contains(err.Error(), "synchronous_commit") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("sets bounds on the server", func(t *testing.T) {
		db := open(t, database.Infra, databasetest.URL(t), postgres.Options{})
		for setting, want := range map[string]string{
			"statement_timeout": "30s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "1s", "role": database.DaemonRole,
			"search_path": "infra", "TimeZone": "UTC",
		} {
			var got string
			if err := db.Writer().QueryRowContext(t.Context(), "show "+setting).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %q, want %q (%v)", setting, got, want, err)
			}
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	for _, c := range []struct {
		name, url string
		code      omni.Code
		want      string
	}{
		{"what is no URL", "postgres://ann:secret@host:notaport/db", omni.CodeInvalid, "URL of database infra"},
		{"a server that is not there", "postgres://ann:secret@" + closed + "/db?sslmode=disable", omni.CodeUnavailable, closed},
		{"a database that is not there", strings.Replace(databasetest.URL(t), "/test_", "/none_", 1), omni.CodeUnavailable, "no such database"},
		{"a user that is not there", strings.Replace(databasetest.URL(t), "omni@", "nobody:secret@", 1), omni.CodeUnavailable, "does not let the user"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := postgres.Open(t.Context(), database.Infra, c.url, time.Now, postgres.Options{})
			if omni.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q: %v", omni.CodeOf(err), err)
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if strings.Contains(e.Error(), "secret") {
					t.Errorf("the password is in %q", e)
				}
			}
		})
	}
	t.Run("a user who may not become the daemon's role", func(t *testing.T) {
		rawURL := databasetest.URL(t)
		open(t, database.Infra, rawURL, postgres.Options{}) // makes the role and the schema
		admin(t, rawURL, `create role weak login`)
		t.Cleanup(func() { admin(t, rawURL, `drop role weak`) })
		_, err := postgres.Open(t.Context(), database.Infra, strings.Replace(rawURL, "omni@", "weak@", 1), time.Now, postgres.Options{})
		var known *omni.Error
		if !errors.As(err, &known) || known.Code != omni.CodeRefused || !strings.Contains(known.Hint, "grant omni_daemon to") {
			t.Errorf("%v", err)
		}
	})
}

func schema() fstest.MapFS {
	return fstest.MapFS{"00001_t.sql": {Data: []byte("-- +goose Up\ncreate table t (id bigint primary key, n bigint not null);\ninsert into t values (1, 0), (2, 0);\n")}}
}

func prepared(t *testing.T, opts postgres.Options) (*database.DB, string) {
	t.Helper()
	rawURL := databasetest.URL(t)
	db := open(t, database.Infra, rawURL, opts)
	if _, err := migrate.Up(t.Context(), db, schema()); err != nil {
		t.Fatal(err)
	}
	return db, rawURL
}

func TestTranslate(t *testing.T) {
	db, _ := prepared(t, postgres.Options{})
	for state, want := range map[string]omni.Code{
		"53100": omni.CodeFull, "53300": omni.CodeUnavailable, "53200": omni.CodeUnavailable, "40001": omni.CodeUnavailable,
		"40P01": omni.CodeUnavailable, "55P03": omni.CodeUnavailable, "57014": omni.CodeUnavailable, "08006": omni.CodeUnavailable,
		"23505": omni.CodeConflict, "23P01": omni.CodeConflict, "23503": omni.CodeReferenced, "23514": omni.CodeInvalid,
		"23502": omni.CodeInvalid, "22001": omni.CodeInvalid, "22021": omni.CodeInvalid, "25006": omni.CodeUnavailable,
		"54000": omni.CodeTooLarge, "XX001": omni.CodeInternal, "42501": omni.CodeInternal, "P0001": omni.CodeInternal,
	} {
		err := db.Write(t.Context(), database.Platform(), exec(fmt.Sprintf(`do $$ begin raise exception 'x' using errcode = '%s'; end $$`, state)))
		if got := omni.CodeOf(err); got != want {
			t.Errorf("%s is %q, want %q: %v", state, got, want, err)
		}
	}
	for name, query := range map[string]string{"a NUL": `select $1::text`, "a number out of range": `select 1 / $2::bigint, $1::text`} {
		err := db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			args := []any{"a\x00b"}
			if strings.Contains(query, "$2") {
				args = []any{"a", 0}
			}
			_, err := tx.Exec(ctx, query, args...)
			return err
		})
		if !omni.Is(err, omni.CodeInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConnectionLost(t *testing.T) {
	db, rawURL := prepared(t, postgres.Options{})
	t.Run("in the middle: the transaction runs again", func(t *testing.T) {
		runs := 0
		err := db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			runs++
			if _, err := tx.Exec(ctx, `update t set n = n + 1 where id = 1`); err != nil {
				return err
			}
			if runs == 1 {
				var pid int64
				if err := tx.QueryRow(ctx, `select pg_backend_pid()`, nil, &pid); err != nil {
					return err
				}
				admin(t, rawURL, `select pg_terminate_backend($1, 5000)`, pid)
			}
			_, err := tx.Exec(ctx, `update t set n = n + 1 where id = 2`)
			return err
		})
		if err != nil || runs != 2 {
			t.Fatalf("after %d runs: %v", runs, err)
		}
		expect(t, db, 1)
	})
	t.Run("of idle ones: nobody notices", func(t *testing.T) {
		admin(t, rawURL, `select pg_terminate_backend(pid, 5000) from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()`)
		if err := db.Write(t.Context(), database.Platform(), exec(`update t set n = n + 1`)); err != nil {
			t.Fatal(err)
		}
		expect(t, db, 2)
	})
	t.Run("for good: unavailable", func(t *testing.T) {
		name := rawURL[strings.LastIndex(rawURL, "/")+1 : strings.Index(rawURL, "?")]
		other := strings.Replace(rawURL, "/"+name, "/postgres", 1)
		admin(t, other, `alter database `+name+` with allow_connections false`)
		admin(t, other, `select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '`+name+`'`)
		err := db.Write(t.Context(), database.Platform(), exec(`update t set n = n + 1`))
		admin(t, other, `alter database `+name+` with allow_connections true`)
		if !omni.Is(err, omni.CodeUnavailable) {
			t.Errorf("%v", err)
		}
		if err := db.Write(t.Context(), database.Platform(), exec(`update t set n = n + 1`)); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		expect(t, db, 3)
	})
}

// expect checks that both rows have been counted up to n.
func expect(t *testing.T, db *database.DB, n int64) {
	t.Helper()
	err := db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		var low, high int64
		err := tx.QueryRow(ctx, `select min(n), max(n) from t`, nil, &low, &high)
		if low != n || high != n {
			t.Errorf("counted %d and %d, want %d", low, high, n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestIdleInTransaction(t *testing.T) {
	db, _ := prepared(t, postgres.Options{IdleInTransaction: 50 * time.Millisecond})
	frozen := make(chan struct{})
	locked := make(chan struct{})
	ended := make(chan error)
	go func() {
		ended <- db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			if _, err := tx.Exec(ctx, `update t set n = 100 where id = 1`); err != nil {
				return err
			}
			close(locked)
			<-frozen
			_, err := tx.Exec(ctx, `update t set n = 100 where id = 2`)
			return err
		})
	}()
	<-locked
	if err := db.Write(t.Context(), database.Platform(), exec(`update t set n = n + 1`)); err != nil {
		t.Errorf("the next one was not let pass: %v", err)
	}
	close(frozen)
	if err := <-ended; !omni.Is(err, omni.CodeUnavailable) {
		t.Errorf("the frozen one ended with %v", err)
	}
	expect(t, db, 1)
}

func TestDeadlock(t *testing.T) {
	db, _ := prepared(t, postgres.Options{})
	var meet sync.WaitGroup
	meet.Add(2)
	var wg sync.WaitGroup
	for _, order := range [][2]int{{1, 2}, {2, 1}} {
		wg.Go(func() {
			first := true
			err := db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
				if _, err := tx.Exec(ctx, `update t set n = n + 1 where id = $1`, order[0]); err != nil {
					return err
				}
				if first {
					first = false
					meet.Done()
					meet.Wait()
				}
				_, err := tx.Exec(ctx, `update t set n = n + 1 where id = $1`, order[1])
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	expect(t, db, 2)
}

func TestNoConnectionIsLeft(t *testing.T) {
	db, _ := prepared(t, postgres.Options{MaxConns: 2})
	for i := range 20 { // more than the pool holds
		_ = db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			switch i % 3 {
			case 0:
				return errors.New("no")
			case 1:
				_, err := tx.Exec(ctx, `selekt`)
				return err
			}
			return tx.Query(ctx, `select id from t`, nil, func(func(...any) error) error { return errors.New("enough") })
		})
		func() {
			defer func() { _ = recover() }()
			_ = db.Write(t.Context(), database.Platform(), func(context.Context, *database.Tx) error { panic("boom") })
		}()
	}
	if in := db.Writer().Stats().InUse; in != 0 {
		t.Errorf("%d connections are in use", in)
	}
}

func TestChangedTable(t *testing.T) {
	db, rawURL := prepared(t, postgres.Options{MaxConns: 1})
	read := func() error {
		return db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			return tx.Query(ctx, `select * from t where id = $1`, []any{1}, func(func(...any) error) error { return nil })
		})
	}
	for range 2 {
		if err := read(); err != nil {
			t.Fatal(err)
		}
	}
	admin(t, rawURL, `alter table infra.t add column more text`)
	if err := read(); err != nil {
		t.Errorf("after a migration by another program: %v", err)
	}
}

func TestFull(t *testing.T) {
	db, rawURL := prepared(t, postgres.Options{})
	dir := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m,mode=0777"); err != nil {
		t.Skipf("SKIPPED %s: a file system of its own cannot be mounted: %v", t.Name(), err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	space := filepath.Join(dir, "space")
	if err := os.Mkdir(space, 0o777); err != nil {
		t.Fatal(err)
	}
	opened(t, space, rawURL)
	admin(t, rawURL, `create tablespace small location '`+space+`'`)
	t.Cleanup(func() { admin(t, rawURL, `drop tablespace small`) })
	t.Cleanup(func() { admin(t, rawURL, `drop table infra.t`) })
	admin(t, rawURL, `alter table infra.t set tablespace small`)
	admin(t, rawURL, `alter table infra.t add column body bytea`)
	admin(t, rawURL, `alter table infra.t alter column body set storage plain`)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	insert := func(id int64) error {
		return db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			_, err := tx.Exec(ctx, `insert into t (id, n, body) values ($1, 0, $2)`, id, make([]byte, 7000))
			return err
		})
	}
	var err error
	last := int64(10)
	for ; last < 2000 && err == nil; last++ {
		err = insert(last)
	}
	if !omni.Is(err, omni.CodeFull) {
		t.Fatalf("after %d rows: %v", last, err)
	}
	if err := insert(last); !omni.Is(err, omni.CodeFull) {
		t.Errorf("a further write: %v", err)
	}
	expect(t, db, 0)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := insert(last); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

// opened lets the server's user have a folder: it must own a tablespace, and come to it.
func opened(t *testing.T, space, rawURL string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), rawURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var data string
	if err := conn.QueryRow(t.Context(), `show data_directory`).Scan(&data); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(data)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if err := os.Chown(space, int(owner.Uid), int(owner.Gid)); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(space); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
