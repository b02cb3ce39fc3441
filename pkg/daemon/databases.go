package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/omnicloud/omnicloud/migrations"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/migrate"
	"github.com/omnicloud/omnicloud/pkg/platform/database/postgres"
	"github.com/omnicloud/omnicloud/pkg/platform/database/sqlite"
)

// databases are the four, open.
type databases struct {
	infra, tenants, billing, audit *database.DB
}

func (d databases) all() []*database.DB {
	return []*database.DB{d.infra, d.tenants, d.billing, d.audit}
}

// url is where a database lives: its own URL, the one for all, or "" for a SQLite file.
func (c Config) url(name database.Name) string {
	own := map[database.Name]string{
		database.Infra: c.InfraURL, database.Tenants: c.TenantsURL, database.Billing: c.BillingURL, database.Audit: c.AuditURL,
	}[name]
	if own != "" {
		return own
	}
	return c.DatabaseURL
}

func openDatabase(ctx context.Context, c Config, name database.Name, opts postgres.Options) (*database.DB, error) {
	if url := c.url(name); url != "" {
		return postgres.Open(ctx, name, url, time.Now, opts)
	}
	path := filepath.Join(c.DataDir, string(name)+".db")
	makePrivate(path)
	db, err := sqlite.Open(ctx, name, path, time.Now, sqlite.Options{Synchronous: c.SQLiteSynchronous})
	if err == nil {
		keepPrivate(path)
	}
	return db, err
}

// makePrivate makes the file of a database where there is none, for no eyes but its owner's: SQLite itself asks for no mode, and gives its
// log the mode of the file. What goes wrong here is told by who opens the file.
func makePrivate(path string) {
	if file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, ownerOnly); err == nil { //nolint:gosec // below the data directory
		_ = file.Close() // nothing was written
	}
}

// keepPrivate takes the file of a database, which this program knows for one of its own, from all but its owner.
func keepPrivate(path string) {
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if info, err := os.Stat(name); err == nil && info.Mode().Perm() != ownerOnly {
			_ = os.Chmod(name, ownerOnly) // who may not change it has no file that others could read by our doing
		}
	}
}

// ownerOnly is the mode of files that hold tenants' data.
const ownerOnly = 0o600

// openDatabases opens the four and brings them to this program's version. On an error, those that were opened are closed.
func openDatabases(ctx context.Context, c Config) (dbs databases, err error) {
	opened := map[database.Name]*database.DB{}
	defer func() {
		if err == nil {
			return
		}
		for _, db := range opened {
			err = errors.Join(err, db.Close())
		}
	}()
	for _, name := range database.Names() {
		db, err := openDatabase(ctx, c, name, postgres.Options{})
		if err != nil {
			return databases{}, fmt.Errorf("database %s: %w", name, err)
		}
		opened[name] = db
		if _, err := migrate.Up(ctx, db, migrations.FS(name)); err != nil {
			return databases{}, fmt.Errorf("database %s: %w", name, err)
		}
	}
	return databases{
		infra: opened[database.Infra], tenants: opened[database.Tenants], billing: opened[database.Billing], audit: opened[database.Audit],
	}, nil
}

// MigrationStatus is one migration of one database.
type MigrationStatus struct {
	Database database.Name `json:"database"`
	migrate.Migration
}

// String is for people.
func (m MigrationStatus) String() string {
	state := "pending"
	if !m.AppliedAt.IsZero() {
		state = "applied " + m.AppliedAt.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("%-8s %5d  %-32s %s", m.Database, m.Version, m.File, state)
}

// Migrate opens the four databases and, unless only their state is asked for, brings them up to date. It gives all migrations with
// their state. Their state can be asked for while omnid runs, and makes no database that was not there.
func Migrate(ctx context.Context, c Config, statusOnly bool) (list []MigrationStatus, err error) {
	if statusOnly {
		if err := storesExist(c); err != nil {
			return nil, err
		}
	} else {
		unlock, locked := openDataDir(c.DataDir)
		if locked != nil {
			return nil, locked
		}
		defer func() { err = errors.Join(err, unlock(ctx)) }()
	}
	for _, name := range database.Names() {
		found, err := migrateOne(ctx, c, name, statusOnly)
		if err != nil {
			return nil, fmt.Errorf("database %s: %w", name, err)
		}
		list = append(list, found...)
	}
	return list, nil
}

func migrateOne(ctx context.Context, c Config, name database.Name, statusOnly bool) (list []MigrationStatus, err error) {
	db, err := openDatabase(ctx, c, name, postgres.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if !statusOnly {
		if _, err := migrate.Up(ctx, db, migrations.FS(name)); err != nil {
			return nil, err
		}
	}
	found, err := migrate.Status(ctx, db, migrations.FS(name))
	for _, m := range found {
		list = append(list, MigrationStatus{name, m})
	}
	return list, err
}
