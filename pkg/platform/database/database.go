package database

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Name is one of the four databases.
type Name string

// The four databases.
const (
	Infra   Name = "infra"
	Tenants Name = "tenants"
	Billing Name = "billing"
	Audit   Name = "audit"
)

// Names lists the four in the order in which they are opened and migrated.
func Names() []Name { return []Name{Infra, Tenants, Billing, Audit} }

// Kind tells the two kinds of SQL apart where one text cannot serve both.
type Kind string

// The two kinds.
const (
	SQLite   Kind = "sqlite"
	Postgres Kind = "postgres"
)

// Dialect is what a driver's package (sqlite, postgres) tells of its kind.
type Dialect struct {
	Kind Kind
	// Translate turns a driver's error into an *omni.Error with the fitting code, or returns nil when it does not know it.
	Translate func(error) *omni.Error
	// Retryable says that the same transaction may succeed if it is simply run again.
	Retryable func(error) bool
	// Enter prepares a new transaction for its scope; nil does nothing.
	Enter func(ctx context.Context, tx *sql.Tx, s Scope) error
}

// Scope says whose rows a transaction may see and write. The zero Scope is refused: a forgotten tenant is an error,
// never "all".
type Scope struct{ tenant string }

// Platform is the scope of work for no single tenant: the controller, migrations, the platform's own keys.
func Platform() Scope { return Scope{tenant: "*"} }

// Tenant is the scope of one tenant's work.
func Tenant(name string) Scope { return Scope{tenant: name} }

// Value is the tenant's name, or "*" for the platform.
func (s Scope) Value() string { return s.tenant }

// attempts bounds how often a transaction is run in the face of serialization failures.
const attempts = 8

// DB is one database: a pool of readers, and of writers (a single one on SQLite). It is safe for concurrent use.
type DB struct {
	name    Name
	dialect Dialect
	reader  *sql.DB
	writer  *sql.DB
	now     func() time.Time
}

// New joins the pools that a driver's package has opened; reader and writer may be the same pool. now is the clock of
// its transactions.
func New(name Name, d Dialect, reader, writer *sql.DB, now func() time.Time) *DB {
	return &DB{name: name, dialect: d, reader: reader, writer: writer, now: now}
}

// Name tells which of the four it is.
func (db *DB) Name() Name { return db.name }

// Kind tells its kind of SQL.
func (db *DB) Kind() Kind { return db.dialect.Kind }

// Writer gives the pool that migrations run on.
func (db *DB) Writer() *sql.DB { return db.writer }

// Close closes both pools.
func (db *DB) Close() error {
	err := db.reader.Close()
	if db.writer != db.reader {
		err = errors.Join(err, db.writer.Close())
	}
	return err
}

// Ping says whether the database answers.
func (db *DB) Ping(ctx context.Context) error { return db.translate(db.reader.PingContext(ctx)) }

// Read runs fn in a read-only transaction with one consistent view of the data.
func (db *DB) Read(ctx context.Context, s Scope, fn func(context.Context, *Tx) error) error {
	opts := &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead}
	if db.dialect.Kind == SQLite {
		opts = &sql.TxOptions{ReadOnly: true}
	}
	return db.run(ctx, db.reader, opts, s, fn)
}

// Write runs fn in a transaction and commits it when fn returns nil. fn may run several times, after serialization
// failures: it must not do anything that a rollback does not undo. An error of fn is returned as it is (translated, if
// it came from the driver), and nothing of fn's work remains. When the connection is lost during the commit its outcome is
// not known: the error then has CodeUnavailable, so callers make their writes idempotent.
func (db *DB) Write(ctx context.Context, s Scope, fn func(context.Context, *Tx) error) error {
	return db.run(ctx, db.writer, nil, s, fn)
}

func (db *DB) run(ctx context.Context, pool *sql.DB, opts *sql.TxOptions, s Scope, fn func(context.Context, *Tx) error) error {
	if s.tenant == "" {
		return omni.Errorf(omni.CodeInvalid, "tenant: must not be empty")
	}
	var err error
	for attempt := range attempts {
		if err = db.once(ctx, pool, opts, s, fn); err == nil || !db.dialect.Retryable(err) {
			break
		}
		if wait(ctx, attempt) != nil {
			break
		}
	}
	return db.translate(err)
}

// wait sleeps a random part of 2^attempt ms, so that those who collided do not meet again.
func wait(ctx context.Context, attempt int) error {
	ceiling := time.Millisecond << attempt
	timer := time.NewTimer(rand.N(ceiling) + 1) //nolint:gosec // jitter, not a secret
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (db *DB) once(ctx context.Context, pool *sql.DB, opts *sql.TxOptions, s Scope, fn func(context.Context, *Tx) error) (err error) {
	raw, err := pool.BeginTx(ctx, opts)
	if err != nil {
		return err
	}
	done := false
	defer func() {
		if !done { // fn failed or panicked
			_ = raw.Rollback() // the first error is the one that counts
		}
	}()
	if db.dialect.Enter != nil {
		if err := db.dialect.Enter(ctx, raw, s); err != nil {
			return err
		}
	}
	tx := &Tx{raw: raw, db: db, scope: s, now: db.now().UTC().Truncate(time.Microsecond)}
	if err := fn(ctx, tx); err != nil {
		return err
	}
	done = true
	if err := raw.Commit(); err != nil {
		return err
	}
	for _, hook := range tx.committed {
		hook()
	}
	return nil
}

// translate turns a driver's error into an *omni.Error; any other error stays as it is.
func (db *DB) translate(err error) error {
	if err == nil {
		return nil
	}
	var known *omni.Error
	if errors.As(err, &known) {
		return err
	}
	if errors.Is(err, sql.ErrNoRows) {
		return omni.Errorf(omni.CodeNotFound, "no such row").WithCause(err)
	}
	if e := db.dialect.Translate(err); e != nil {
		return e
	}
	return err
}
