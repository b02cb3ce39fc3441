package database

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"sync/atomic"
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

// DaemonRole is PostgreSQL's role under which omnid works: it owns no table and cannot bypass row-level security.
const DaemonRole = "omni_daemon"

// Dialect is what a driver's package (sqlite, postgres) tells of its kind.
type Dialect struct {
	Kind Kind
	// Place is where the database is, for messages: its file, or its server without user and password.
	Place string
	// Translate turns a driver's error into an *omni.Error with the fitting code, or returns nil when it does not know it.
	Translate func(error) *omni.Error
	// Retryable says that the same transaction may succeed if it is simply run again.
	Retryable func(error) bool
	// Lost says that the connection broke. Unless that happened during the commit, the transaction is run again on
	// another one; nil is never.
	Lost func(error) bool
	// Bind prepares a statement with $1 placeholders for the driver and checks that it has as many as args; nil leaves
	// the statement as it is.
	Bind func(query string, args int) (string, error)
	// Owner opens a pool, for one connection at a time, whose user owns the schema: migrations run on it. nil is the
	// writer's pool.
	Owner func(ctx context.Context) (*sql.DB, error)
	// Enter prepares a new transaction for its scope; nil does nothing.
	Enter func(ctx context.Context, tx *sql.Tx, s Scope) error
}

// Scope says whose rows a transaction may see and write. The zero Scope is refused: a forgotten tenant is an error,
// never "all".
type Scope struct {
	tenant   string
	platform bool
}

// Platform is the scope of work for no single tenant: the controller, migrations, the platform's own keys.
func Platform() Scope { return Scope{tenant: everyTenant, platform: true} }

// everyTenant is the value of the platform's scope, which no tenant can have for a name.
const everyTenant = "*"

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
	signals signals
	observe func(mode string, err error, retries int, took time.Duration) // nil tells nobody
}

// New joins the pools that a driver's package has opened; reader and writer may be the same pool. now is the clock of
// its transactions.
func New(name Name, d Dialect, reader, writer *sql.DB, now func() time.Time) *DB {
	return &DB{name: name, dialect: d, reader: reader, writer: writer, now: now}
}

// Observe has fn told of each transaction: mode is read or write, retries how often it was run again, took from its begin to its end. It is called
// before the database is used.
func (db *DB) Observe(fn func(mode string, err error, retries int, took time.Duration)) {
	db.observe = fn
}

// Name tells which of the four it is.
func (db *DB) Name() Name { return db.name }

// Place tells where it is, for messages: its file, or its server without user and password.
func (db *DB) Place() string { return db.dialect.Place }

// Kind tells its kind of SQL.
func (db *DB) Kind() Kind { return db.dialect.Kind }

// Writer gives the pool of those who write.
func (db *DB) Writer() *sql.DB { return db.writer }

// Owner gives a pool whose user owns the schema, for migrations, and what to call when done with it.
func (db *DB) Owner(ctx context.Context) (*sql.DB, func() error, error) {
	if db.dialect.Owner == nil {
		return db.writer, func() error { return nil }, nil
	}
	pool, err := db.dialect.Owner(ctx)
	if err != nil {
		return nil, nil, db.translate(err)
	}
	return pool, pool.Close, nil
}

// Translate turns a driver's error into an *omni.Error, as Read and Write do; for work outside of a transaction.
func (db *DB) Translate(err error) error { return db.translate(err) }

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
// not known: the error then has CodeUnavailable, so callers make their writes idempotent. A Write inside of a Write on the
// same DB is refused (CodeInternal).
func (db *DB) Write(ctx context.Context, s Scope, fn func(context.Context, *Tx) error) error {
	if db.writing(ctx) {
		return omni.Errorf(omni.CodeInternal, "a transaction on the database %s was begun inside of another one, for which it would wait", db.name)
	}
	outer, _ := ctx.Value(currentKey{}).(*current)
	now := &current{db: db, outer: outer}
	defer now.ended.Store(true)
	ctx = context.WithValue(ctx, currentKey{}, now)
	return db.run(ctx, db.writer, nil, s, func(ctx context.Context, tx *Tx) error {
		tx.AfterCommit(func() { now.ended.Store(true) }) // the first: those that follow may write
		return fn(ctx, tx)
	})
}

// current is the innermost Write that a context belongs to.
type current struct {
	db    *DB
	outer *current
	ended atomic.Bool
}

type currentKey struct{}

// writing says whether ctx belongs to a Write on db that has not ended.
func (db *DB) writing(ctx context.Context) bool {
	c, _ := ctx.Value(currentKey{}).(*current)
	for ; c != nil; c = c.outer {
		if c.db == db && !c.ended.Load() {
			return true
		}
	}
	return false
}

func (db *DB) run(ctx context.Context, pool *sql.DB, opts *sql.TxOptions, s Scope, fn func(context.Context, *Tx) error) error {
	if s.tenant == "" || s.tenant == everyTenant && !s.platform {
		return omni.Errorf(omni.CodeInvalid, "tenant: %q is not a tenant's name", s.tenant)
	}
	var err error
	retries := 0
	if db.observe != nil {
		mode, began := "read", db.now()
		if opts == nil {
			mode = "write"
		}
		defer func() { db.observe(mode, err, retries, db.now().Sub(began)) }()
	}
	for attempt := range attempts {
		var committing bool
		retries = attempt
		if committing, err = db.once(ctx, pool, opts, s, fn); err == nil {
			return nil
		}
		if !db.again(err, committing) || wait(ctx, attempt) != nil {
			break
		}
	}
	return db.inContext(ctx, db.translate(err))
}

// again says whether a failed transaction is worth another run.
func (db *DB) again(err error, committing bool) bool {
	if db.dialect.Retryable(err) {
		return true
	}
	return !committing && db.dialect.Lost != nil && db.dialect.Lost(err)
}

// inContext lets an error that the end of ctx has caused say so, whatever the driver made of it.
func (db *DB) inContext(ctx context.Context, err error) error {
	cause := ctx.Err()
	if cause == nil || errors.Is(err, cause) || omni.CodeOf(err) != omni.CodeUnavailable && omni.CodeOf(err) != omni.CodeInternal {
		return err
	}
	return omni.Errorf(omni.CodeUnavailable, "the work on the database %s was given up: its time was over or the caller has gone", db.name).
		WithCause(errors.Join(cause, err))
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

// once runs fn in one transaction. committing tells that an error came from the commit, so that what became of the
// transaction may be unknown.
func (db *DB) once(ctx context.Context, pool *sql.DB, opts *sql.TxOptions, s Scope, fn func(context.Context, *Tx) error) (committing bool, err error) {
	raw, err := pool.BeginTx(ctx, opts)
	if err != nil {
		return false, err
	}
	done := false
	defer func() {
		if !done { // fn failed or panicked
			_ = raw.Rollback() // the first error is the one that counts
		}
	}()
	if db.dialect.Enter != nil {
		if err := db.dialect.Enter(ctx, raw, s); err != nil {
			return false, err
		}
	}
	tx := &Tx{raw: raw, db: db, scope: s, now: db.now().UTC().Truncate(time.Microsecond)}
	if err := fn(ctx, tx); err != nil {
		return false, err
	}
	if err := tx.flush(ctx); err != nil {
		return false, err
	}
	done = true
	if err := raw.Commit(); err != nil {
		return true, err
	}
	for _, hook := range tx.committed {
		hook()
	}
	return false, nil
}

// translate turns a driver's error into an *omni.Error; any other error stays as it is.
func (db *DB) translate(err error) error {
	if err == nil {
		return nil
	}
	if _, known := errors.AsType[*omni.Error](err); known {
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
