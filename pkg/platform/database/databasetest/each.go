package databasetest

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/migrations"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/migrate"
	"github.com/omnicloud/omnicloud/pkg/platform/database/postgres"
	"github.com/omnicloud/omnicloud/pkg/platform/database/sqlite"
)

// Each runs fn as the subtests "sqlite" and "postgres", each with a migrated, empty database called name.
func Each(t *testing.T, name database.Name, fn func(t *testing.T, db *database.DB)) {
	t.Helper()
	EachAt(t, name, time.Now, fn)
}

// EachAt is Each with a clock of the test's own.
func EachAt(t *testing.T, name database.Name, now func() time.Time, fn func(t *testing.T, db *database.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { fn(t, OpenAt(t, name, now)) })
	t.Run("postgres", func(t *testing.T) { fn(t, PostgresAt(t, name, now)) })
}

// EachWith is Each with a schema of the test's own, instead of the one called name.
func EachWith(t *testing.T, name database.Name, schema fs.FS, fn func(t *testing.T, db *database.DB)) {
	t.Helper()
	up := func(t *testing.T, db *database.DB, err error) *database.DB {
		t.Helper()
		db = opened(t, db, err)
		if _, err := migrate.Up(t.Context(), db, schema); err != nil {
			t.Fatal(err)
		}
		return db
	}
	t.Run("sqlite", func(t *testing.T) {
		db, err := sqlite.Open(t.Context(), name, filepath.Join(t.TempDir(), "own.db"), time.Now, sqlite.Options{Synchronous: "OFF"})
		fn(t, up(t, db, err))
	})
	t.Run("postgres", func(t *testing.T) {
		db, err := postgres.Open(t.Context(), name, URL(t), time.Now, relaxed())
		fn(t, up(t, db, err))
	})
}

// Open gives a migrated, empty SQLite database, for tests to which the kind of database does not matter.
func Open(tb testing.TB, name database.Name) *database.DB {
	tb.Helper()
	return OpenAt(tb, name, time.Now)
}

// OpenAt is Open with a clock of the test's own.
func OpenAt(tb testing.TB, name database.Name, now func() time.Time) *database.DB {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), string(name)+".db")
	if err := os.WriteFile(path, sqliteTemplate(tb, name), 0o600); err != nil {
		tb.Fatal(err)
	}
	db, err := sqlite.Open(tb.Context(), name, path, now, sqlite.Options{Synchronous: synchronous()})
	return opened(tb, db, err)
}

// Postgres gives a migrated, empty database on PostgreSQL.
func Postgres(tb testing.TB, name database.Name) *database.DB {
	tb.Helper()
	return PostgresAt(tb, name, time.Now)
}

// PostgresAt is Postgres with a clock of the test's own.
func PostgresAt(tb testing.TB, name database.Name, now func() time.Time) *database.DB {
	tb.Helper()
	db, err := postgres.Open(tb.Context(), name, postgresCopy(tb, name), now, relaxed())
	return opened(tb, db, err)
}

// relaxed gives time to a machine that runs many tests at once.
func relaxed() postgres.Options {
	return postgres.Options{IdleInTransaction: 30 * time.Second, MaxConns: 10}
}

func opened(tb testing.TB, db *database.DB, err error) *database.DB {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Errorf("close the database %s: %v", db.Name(), err)
		}
	})
	return db
}

// synchronous is SQLite's level: what a power cut would do is rarely a test's subject.
func synchronous() string {
	if Durable() {
		return "FULL"
	}
	return "OFF"
}

// shared is what the tests of one program share. A test cannot be handed it, since each stands alone: so this is the one
// global here.
var shared struct {
	mu     sync.Mutex
	sqlite map[database.Name][]byte
	server *server
	failed error // why there is no server
	copied map[database.Name]bool
	count  int
}

// sqliteTemplate gives the bytes of a migrated, empty file.
func sqliteTemplate(tb testing.TB, name database.Name) []byte {
	tb.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if bytes, ok := shared.sqlite[name]; ok {
		return bytes
	}
	path := filepath.Join(tb.TempDir(), "template.db")
	db, err := sqlite.Open(tb.Context(), name, path, time.Now, sqlite.Options{Synchronous: "OFF"})
	if err != nil {
		tb.Fatal(err)
	}
	_, err = migrate.Up(context.WithoutCancel(tb.Context()), db, migrations.FS(name))
	if closeErr := db.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		tb.Fatalf("migrate the template of database %s: %v", name, err)
	}
	bytes, err := os.ReadFile(path) //nolint:gosec // ours; the last connection's end has moved the log into it
	if err != nil {
		tb.Fatal(err)
	}
	if shared.sqlite == nil {
		shared.sqlite = map[database.Name][]byte{}
	}
	shared.sqlite[name] = bytes
	return bytes
}
