package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/ncruces/go-sqlite3/driver" // a plain SQLite, for what other programs do
	"go.uber.org/goleak"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/sqlite"
)

func TestMain(m *testing.M) {
	if os.Getenv("OMNI_TEST_WRITER") != "" {
		writeUntilKilled()
		return
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, name database.Name, path string, opts sqlite.Options) *database.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), name, path, time.Now, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func run(ctx context.Context, db *database.DB, query string, args ...any) error {
	return db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		_, err := tx.Exec(ctx, query, args...)
		return err
	})
}

func number(ctx context.Context, db *database.DB, query string) (n int64, err error) {
	err = db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		return tx.QueryRow(ctx, query, nil, &n)
	})
	return n, err
}

func mustExec(t *testing.T, db *database.DB, query string, args ...any) {
	t.Helper()
	if err := run(t.Context(), db, query, args...); err != nil {
		t.Fatal(err)
	}
}

func TestOpen(t *testing.T) {
	t.Run("is durable, checked and logged ahead by default", func(t *testing.T) {
		db := open(t, database.Infra, filepath.Join(t.TempDir(), "a b%3F?#.db"), sqlite.Options{})
		for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
			var got string
			if err := db.Writer().QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %s, want %s (%v)", pragma, got, want, err)
			}
		}
		if err := db.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("takes the same file again", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "infra.db")
		for range 2 {
			db := open(t, database.Infra, path, sqlite.Options{})
			mustExec(t, db, `create table if not exists t (a text)`)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("makes the file in the folder as named", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a b%3F?#.db")
		open(t, database.Infra, path, sqlite.Options{})
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, path string)
		want string
	}{
		{"a text", func(t *testing.T, path string) {
			t.Helper()
			put(t, path, []byte(strings.Repeat("not a database\n", 100)))
		}, "is not an SQLite database"},
		{"a short text", func(t *testing.T, path string) { t.Helper(); put(t, path, []byte("x")) }, "is not an SQLite database"},
		{"a folder", func(t *testing.T, path string) { t.Helper(); _ = os.Mkdir(path, 0o700) }, "is a folder"},
		{"another program's database", func(t *testing.T, path string) {
			t.Helper()
			db, err := sql.Open("sqlite3", path)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec(`create table theirs (a text)`); err != nil {
				t.Fatal(err)
			}
		}, "not one of OmniCloud's"},
		{"another of the four", func(t *testing.T, path string) {
			t.Helper()
			db := open(t, database.Audit, path, sqlite.Options{})
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}, "holds the database audit, not infra"},
		{"a header that is damaged", func(t *testing.T, path string) {
			t.Helper()
			whole(t, path)
			text, _ := os.ReadFile(path)
			copy(text[16:], bytes.Repeat([]byte{0xff}, 60))
			put(t, path, text)
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "infra.db")
			c.make(t, path)
			before, _ := os.ReadFile(path)
			db, err := sqlite.Open(t.Context(), database.Infra, path, time.Now, sqlite.Options{})
			if err == nil {
				db.Close()
				t.Fatal("it was taken")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("the message is %q", err)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
	t.Run("a missing folder", func(t *testing.T) {
		_, err := sqlite.Open(t.Context(), database.Infra, filepath.Join(t.TempDir(), "no", "infra.db"), time.Now, sqlite.Options{})
		if !omni.Is(err, omni.CodeInvalid) || !strings.Contains(err.Error(), "no folder") {
			t.Errorf("%v", err)
		}
	})
	t.Run("a level that is none", func(t *testing.T) {
		_, err := sqlite.Open(t.Context(), database.Infra, filepath.Join(t.TempDir(), "a"), time.Now, sqlite.Options{Synchronous: "off; drop"})
		if !omni.Is(err, omni.CodeInvalid) {
			t.Errorf("%v", err)
		}
	})
}

func put(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// whole makes a database with some content in one file.
func whole(t *testing.T, path string) {
	t.Helper()
	db := open(t, database.Infra, path, sqlite.Options{})
	mustExec(t, db, `create table t (a text)`)
	for range 50 {
		mustExec(t, db, `insert into t (a) values ($1)`, strings.Repeat("x", 2000))
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "infra.db")
	whole(t, path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < len(text); i++ { // all but the first page
		text[i] = 0xa5
	}
	put(t, path, text)
	db := open(t, database.Infra, path, sqlite.Options{})
	_, err = number(t.Context(), db, `select count(*) from t where a > 'y'`)
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("the message is %v", err)
	}
}

func TestBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "infra.db")
	first := open(t, database.Infra, path, sqlite.Options{})
	second := open(t, database.Infra, path, sqlite.Options{BusyTimeout: 20 * time.Millisecond})
	mustExec(t, first, `create table t (a text)`)
	err := first.Write(t.Context(), database.Platform(), func(ctx context.Context, _ *database.Tx) error {
		err := run(ctx, second, `insert into t (a) values ('x')`)
		if !omni.Is(err, omni.CodeUnavailable) || !strings.Contains(err.Error(), "busy") {
			t.Errorf("%v", err)
		}
		if _, err := number(ctx, second, `select count(*) from t`); err != nil {
			t.Errorf("reading beside it: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, second, `insert into t (a) values ('x')`)
}

func TestFull(t *testing.T) {
	t.Run("a file that may not grow", func(t *testing.T) {
		db := open(t, database.Infra, filepath.Join(t.TempDir(), "infra.db"), sqlite.Options{})
		mustExec(t, db, `create table t (a bytea)`)
		limit := func(pages string) {
			if _, err := db.Writer().ExecContext(t.Context(), "PRAGMA max_page_count = "+pages); err != nil {
				t.Fatal(err)
			}
		}
		limit("10")
		fill(t, db)
		limit("100000")
		mustExec(t, db, `insert into t (a) values ($1)`, make([]byte, 100<<10))
	})
	t.Run("a small file system", func(t *testing.T) {
		dir := t.TempDir()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
			t.Skipf("SKIPPED %s: a file system of its own cannot be mounted: %v", t.Name(), err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
		})
		ballast := filepath.Join(dir, "ballast")
		put(t, ballast, make([]byte, 1<<20))
		db := open(t, database.Infra, filepath.Join(dir, "infra.db"), sqlite.Options{})
		mustExec(t, db, `create table t (a bytea)`)
		fill(t, db)
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		mustExec(t, db, `insert into t (a) values ($1)`, make([]byte, 100<<10))
		t.Run("that can only be read", func(t *testing.T) {
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
				t.Skipf("SKIPPED %s: %v", t.Name(), err)
			}
			_, err := sqlite.Open(t.Context(), database.Infra, filepath.Join(dir, "infra.db"), time.Now, sqlite.Options{})
			if !omni.Is(err, omni.CodeUnavailable) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%v", err)
			}
		})
	})
}

// fill writes until nothing more fits, and checks what a full disk must look like.
func fill(t *testing.T, db *database.DB) {
	t.Helper()
	var taken int64
	var err error
	for range 1000 {
		if err = run(t.Context(), db, `insert into t (a) values ($1)`, make([]byte, 10_000)); err != nil {
			break
		}
		taken++
	}
	if !omni.Is(err, omni.CodeFull) {
		t.Fatalf("after %d writes: %v", taken, err)
	}
	for range 3 {
		if err := run(t.Context(), db, `insert into t (a) values ($1)`, make([]byte, 100_000)); !omni.Is(err, omni.CodeFull) {
			t.Errorf("a further write: %v", err)
		}
	}
	if n, err := number(t.Context(), db, `select count(*) from t`); err != nil || n != taken {
		t.Errorf("%d of %d rows can be read, %v", n, taken, err)
	}
}
