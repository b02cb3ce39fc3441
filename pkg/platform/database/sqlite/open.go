package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// readers bounds the connections that read, and so the readers that can be inside a transaction at once.
const readers = 4

// applicationID marks our files (PRAGMA application_id): "OMNI" in ASCII.
const applicationID = 0x4f4d4e49

// Options tune one database; the zero value is for production.
type Options struct {
	// Synchronous is SQLite's level: FULL (the default; a commit survives a power cut), NORMAL (it may be lost, but
	// the file stays whole) or OFF (for tests).
	Synchronous string
	// BusyTimeout is how long a write waits for another process's lock, such as a backup's, before it gives up; 5 s.
	BusyTimeout time.Duration
}

// Open opens the file at path, makes it if it is missing (its folder must be there), and checks that it is the database
// called name. now is the clock of its transactions.
func Open(ctx context.Context, name database.Name, path string, now func() time.Time, opts Options) (*database.DB, error) {
	level := strings.ToUpper(opts.Synchronous)
	if level == "" {
		level = "FULL"
	}
	if !slices.Contains([]string{"FULL", "NORMAL", "OFF"}, level) {
		return nil, omni.Errorf(omni.CodeInvalid, "synchronous: %q is not a level", opts.Synchronous).WithHint("use FULL, NORMAL or OFF")
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("the path %s of database %s: %w", path, name, err)
	}
	file := &file{name: name, path: absolute, busy: opts.BusyTimeout}
	if file.busy <= 0 {
		file.busy = 5 * time.Second
	}
	if err := file.inspect(ctx); err != nil {
		return nil, err
	}
	writer, err := file.pool(1, []string{
		"PRAGMA synchronous = " + level,
		"PRAGMA foreign_keys = on",
		"PRAGMA wal_autocheckpoint = 1000",
		"PRAGMA journal_size_limit = 67108864", // 64 MiB: a log that one large transaction blew up is cut back
	})
	if err != nil {
		return nil, file.opening(err)
	}
	if err := file.prepare(ctx, writer); err != nil {
		return nil, errors.Join(file.opening(err), writer.Close())
	}
	reader, err := file.pool(readers, []string{"PRAGMA query_only = on"})
	if err != nil {
		return nil, errors.Join(file.opening(err), writer.Close())
	}
	dialect := database.Dialect{
		Kind:      database.SQLite,
		Place:     file.path,
		Translate: file.translate,
		Retryable: retryable,
		Bind:      bind,
	}
	return database.New(name, dialect, reader, writer, now), nil
}

// file is the database's file.
type file struct {
	name database.Name
	path string
	busy time.Duration
}

// pool opens up to size connections, each set up with pragmas.
func (f *file) pool(size int, pragmas []string) (*sql.DB, error) {
	dsn := (&url.URL{Scheme: "file", Path: f.path, RawQuery: "_txlock=immediate"}).String()
	pool, err := driver.Open(dsn, func(c *sqlite3.Conn) error {
		if err := c.BusyTimeout(f.busy); err != nil {
			return err
		}
		for _, p := range pragmas {
			if err := c.Exec(p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(size)
	pool.SetMaxIdleConns(size)
	return pool, nil
}

// inspect refuses a file that is not ours, without writing to it. A missing or empty one is fine.
func (f *file) inspect(ctx context.Context) error {
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return f.missing()
	case err != nil:
		return f.opening(err)
	case info.IsDir():
		return omni.Errorf(omni.CodeInvalid, "%s is a folder, not the file of database %s", f.path, f.name)
	case info.Size() == 0:
		return nil
	}
	pool, err := f.pool(1, []string{"PRAGMA query_only = on"})
	if err != nil {
		return f.opening(err)
	}
	defer func() { _ = pool.Close() }() // it only read
	var app, which, tables int64
	for query, dest := range map[string]*int64{
		"PRAGMA application_id": &app, "PRAGMA user_version": &which, "SELECT count(*) FROM sqlite_schema": &tables,
	} {
		if err := pool.QueryRowContext(ctx, query).Scan(dest); err != nil {
			return f.opening(err)
		}
	}
	if app == 0 && which == 0 && tables == 0 {
		return nil // made, and left before anything was in it
	}
	return f.check(app, which)
}

// check compares the marks that a file carries.
func (f *file) check(app, which int64) error {
	if app != applicationID {
		return omni.Errorf(omni.CodeInvalid, "%s is an SQLite database, but not one of OmniCloud's", f.path).
			WithHint("give OmniCloud a data directory of its own")
	}
	if which == f.number() {
		return nil
	}
	other := "one that this program does not know"
	if names := database.Names(); which >= 1 && which <= int64(len(names)) {
		other = string(names[which-1])
	}
	return omni.Errorf(omni.CodeInvalid, "%s holds the database %s, not %s", f.path, other, f.name).
		WithHint("was a file renamed or restored to the wrong place?")
}

// number is the place among the four, from 1: the mark that tells them apart. A name of none of them has 99.
func (f *file) number() int64 {
	if i := slices.Index(database.Names(), f.name); i >= 0 {
		return int64(i) + 1
	}
	return 99
}

// missing checks that the folder of a file that is not there is.
func (f *file) missing() error {
	if _, err := os.Stat(filepath.Dir(f.path)); err != nil {
		return omni.Errorf(omni.CodeInvalid, "there is no folder for the file %s", f.path).WithCause(err).
			WithHint("create %s, owned by the user that runs omnid", filepath.Dir(f.path))
	}
	return nil
}

// prepare turns the log on and marks the file.
func (f *file) prepare(ctx context.Context, writer *sql.DB) error {
	var mode string
	if err := writer.QueryRowContext(ctx, "PRAGMA journal_mode = wal").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return omni.Errorf(omni.CodeInvalid, "%s cannot have a write-ahead log (it stays in mode %s)", f.path, mode).
			WithHint("put the data directory on a local file system that supports shared memory")
	}
	for pragma, want := range map[string]int64{"application_id": applicationID, "user_version": f.number()} {
		var is int64
		if err := writer.QueryRowContext(ctx, "PRAGMA "+pragma).Scan(&is); err != nil {
			return err
		}
		if is == want {
			continue
		}
		if _, err := writer.ExecContext(ctx, fmt.Sprintf("PRAGMA %s = %d", pragma, want)); err != nil {
			return err
		}
	}
	return nil
}
