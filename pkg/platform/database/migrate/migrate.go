package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
	goosedb "github.com/pressly/goose/v3/database"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// table is where goose keeps its book, in each database (on PostgreSQL: in its schema).
const table = "goose_db_version"

// Migration is one migration, and when it was applied: the zero time when it is pending.
type Migration struct {
	Version   int64
	File      string
	AppliedAt time.Time
}

// Up applies what is pending, each migration in a transaction of its own, and tells how many that were. It refuses a database
// that is newer than fsys (CodeRefused) and changes nothing then.
func Up(ctx context.Context, db *database.DB, fsys fs.FS) (applied int, err error) {
	err = on(ctx, db, fsys, func(pool *sql.DB, p *goose.Provider) error {
		if err := older(ctx, db, p); err != nil {
			return err
		}
		results, err := p.Up(ctx)
		applied = len(results)
		if err != nil {
			return failed(ctx, db, err)
		}
		if db.Kind() != database.Postgres {
			return nil
		}
		return db.Translate(secure(ctx, pool, db.Name()))
	})
	return applied, err
}

// Status lists every migration of fsys, in order.
func Status(ctx context.Context, db *database.DB, fsys fs.FS) ([]Migration, error) {
	var out []Migration
	err := on(ctx, db, fsys, func(_ *sql.DB, p *goose.Provider) error {
		list, err := p.Status(ctx)
		for _, m := range list {
			out = append(out, Migration{Version: m.Source.Version, File: m.Source.Path, AppliedAt: m.AppliedAt.UTC()})
		}
		return db.Translate(err)
	})
	return out, err
}

// on calls fn with the owner's pool and a provider of the rendered migrations.
func on(ctx context.Context, db *database.DB, fsys fs.FS, fn func(*sql.DB, *goose.Provider) error) (err error) {
	rendered, err := render(db.Kind(), fsys)
	if err != nil {
		return err
	}
	pool, done, err := db.Owner(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	dialect := goosedb.DialectSQLite3
	if db.Kind() == database.Postgres {
		dialect = goosedb.DialectPostgres
		unlock, err := lock(ctx, pool, db.Name())
		if err != nil {
			return db.Translate(err)
		}
		defer unlock()
	}
	provider, err := goose.NewProvider(dialect, pool, rendered,
		goose.WithTableName(table), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("the migrations of database %s: %w", db.Name(), err)
	}
	return fn(pool, provider)
}

// older refuses a database that has had migrations of which this program knows nothing.
func older(ctx context.Context, db *database.DB, p *goose.Provider) error {
	has, newest, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the version of database %s: %w", db.Name(), db.Translate(err))
	}
	if has <= newest {
		return nil
	}
	return omni.Errorf(omni.CodeRefused, "the database %s (%s) is of version %d, made by a newer omnid; this one knows versions up to %d",
		db.Name(), db.Place(), has, newest).
		WithHint("run the newer omnid, or restore a backup from before the upgrade")
}

// failed says which migration did not pass.
func failed(ctx context.Context, db *database.DB, err error) error {
	cause := db.Translate(err)
	var partial *goose.PartialError
	if !errors.As(err, &partial) || ctx.Err() != nil {
		return fmt.Errorf("migrate the database %s: %w", db.Name(), cause)
	}
	var known *omni.Error
	if errors.As(cause, &known) && (known.Code == omni.CodeFull || known.Code == omni.CodeUnavailable) {
		return known
	}
	return omni.Errorf(omni.CodeInternal, "the database %s stays at the version before %s, which failed: %v", db.Name(), partial.Failed.Source.Path, partial.Err).
		WithCause(err)
}
