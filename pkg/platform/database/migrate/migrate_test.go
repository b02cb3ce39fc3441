package migrate_test

import (
	"context"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/omnicloud/omnicloud/migrations"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/database/migrate"
	"github.com/omnicloud/omnicloud/pkg/platform/database/postgres"
	"github.com/omnicloud/omnicloud/pkg/platform/database/sqlite"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

// each runs fn with an empty database of each kind.
func each(t *testing.T, fn func(t *testing.T, db *database.DB)) {
	t.Helper()
	run := func(t *testing.T, db *database.DB, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		fn(t, db)
	}
	t.Run("sqlite", func(t *testing.T) {
		db, err := sqlite.Open(t.Context(), database.Infra, filepath.Join(t.TempDir(), "a.db"), time.Now, sqlite.Options{})
		run(t, db, err)
	})
	t.Run("postgres", func(t *testing.T) {
		db, err := postgres.Open(t.Context(), database.Infra, databasetest.URL(t), time.Now, postgres.Options{})
		run(t, db, err)
	})
}

func files(texts map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, text := range texts {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

func exec(t *testing.T, db *database.DB, query string) error {
	t.Helper()
	return db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		_, err := tx.Exec(ctx, query)
		return err
	})
}

const first = `-- +goose Up
create table a (
	seq {{bigserial}},
-- +dialect postgres
	kind text not null default 'postgres',
-- +dialect end
-- +dialect sqlite
	kind text not null default 'sqlite',
-- +dialect end
	tenant text not null
);
`

func TestUp(t *testing.T) {
	each(t, func(t *testing.T, db *database.DB) {
		one := files(map[string]string{"00001_a.sql": first})
		two := files(map[string]string{"00001_a.sql": first, "00002_b.sql": "-- +goose Up\ncreate table b (tenant text not null);\n"})
		up := func(fsys fstest.MapFS, want int) {
			t.Helper()
			if n, err := migrate.Up(t.Context(), db, fsys); err != nil || n != want {
				t.Fatalf("%d were applied, want %d: %v", n, want, err)
			}
		}
		up(one, 1)
		up(one, 0)
		if err := exec(t, db, `insert into a (tenant) values ('acme')`); err != nil {
			t.Fatal(err)
		}
		var kind string
		var seq int64
		err := db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			return tx.QueryRow(ctx, `select seq, kind from a`, nil, &seq, &kind)
		})
		if err != nil || kind != string(db.Kind()) || seq != 1 {
			t.Errorf("the row is %d, %s, %v", seq, kind, err)
		}
		up(two, 1)
		if err := exec(t, db, `insert into b (tenant) values ('acme')`); err != nil {
			t.Errorf("a table of a later migration cannot be used: %v", err)
		}

		t.Run("tells its state", func(t *testing.T) {
			three := files(map[string]string{"00003_c.sql": "-- +goose Up\ncreate table c (n bigint);\n"})
			maps.Copy(three, two)
			list, err := migrate.Status(t.Context(), db, three)
			if err != nil || len(list) != 3 {
				t.Fatalf("%v, %v", list, err)
			}
			for i, m := range list {
				if m.Version != int64(i+1) || m.AppliedAt.IsZero() != (i == 2) || !strings.HasPrefix(m.File, "0000") {
					t.Errorf("%+v", m)
				}
			}
		})
		t.Run("refuses a database that is newer", func(t *testing.T) {
			_, err := migrate.Up(t.Context(), db, one)
			if !omni.Is(err, omni.CodeRefused) || !strings.Contains(err.Error(), "is of version 2") || !strings.Contains(err.Error(), db.Place()) {
				t.Errorf("%v", err)
			}
		})
		t.Run("leaves nothing of a migration that fails", func(t *testing.T) {
			bad := files(map[string]string{"00003_bad.sql": "-- +goose Up\ncreate table half (n bigint);\ncreate table half (n bigint);\n"})
			maps.Copy(bad, two)
			_, err := migrate.Up(t.Context(), db, bad)
			if err == nil || !strings.Contains(err.Error(), "00003_bad.sql") {
				t.Errorf("%v", err)
			}
			if err := exec(t, db, `select * from half`); err == nil {
				t.Error("half of it is there")
			}
			up(two, 0)
		})
		t.Run("is the owner's to note", func(t *testing.T) {
			err := exec(t, db, `delete from goose_db_version`)
			if db.Kind() == database.Postgres && err == nil {
				t.Error("the daemon may forget migrations")
			}
		})
	})
}

func TestUpRefuses(t *testing.T) {
	db := databasetest.Open(t, database.Billing)
	for name, text := range map[string]string{
		"1_short.sql":   "-- +goose Up\nselect 1;",
		"00009_a.sql":   "-- +goose Up\n-- +dialect mysql\nselect 1;\n-- +dialect end\n",
		"00009_b.sql":   "-- +goose Up\n-- +dialect sqlite\nselect 1;\n",
		"00009_c.sql":   "-- +goose Up\n-- +dialect end\n",
		"00009_d.sql":   "-- +goose Up\n-- +dialect sqlite\n-- +dialect postgres\n-- +dialect end\n",
		"00009_e.SQL":   "-- +goose Up\nselect 1;",
		"00009_f g.sql": "-- +goose Up\nselect 1;",
	} {
		if _, err := migrate.Up(t.Context(), db, files(map[string]string{name: text})); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMigrations(t *testing.T) {
	for _, name := range database.Names() {
		databasetest.Each(t, name, func(t *testing.T, db *database.DB) {
			list, err := migrate.Status(t.Context(), db, migrations.FS(name))
			if err != nil || len(list) == 0 {
				t.Fatalf("%v, %v", list, err)
			}
			for _, m := range list {
				if m.AppliedAt.IsZero() {
					t.Errorf("%s is pending", m.File)
				}
			}
		})
	}
	if _, err := migrate.Up(t.Context(), databasetest.Open(t, database.Audit), migrations.FS("none")); err == nil {
		t.Error("migrations of no database were applied")
	}
}
