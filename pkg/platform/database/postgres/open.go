package postgres

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// Options tune the pool of one database; each zero value is its default.
type Options struct {
	MaxConns          int           // connections of this program; 16
	StatementTimeout  time.Duration // one statement's bound; 30 s
	LockTimeout       time.Duration // how long a statement waits for a lock; 10 s
	IdleInTransaction time.Duration // how long a transaction may say nothing; 1 s
	ConnectTimeout    time.Duration // one attempt to connect; 5 s
}

func (o Options) withDefaults() Options {
	pick := func(d *time.Duration, otherwise time.Duration) {
		if *d <= 0 {
			*d = otherwise
		}
	}
	if o.MaxConns <= 0 {
		o.MaxConns = 16
	}
	pick(&o.StatementTimeout, 30*time.Second)
	pick(&o.LockTimeout, 10*time.Second)
	pick(&o.IdleInTransaction, time.Second)
	pick(&o.ConnectTimeout, 5*time.Second)
	return o
}

// idle bounds how long a connection that nobody needs is kept.
const idle = 5 * time.Minute

// Open connects to the database at rawURL (postgres://user:password@host:port/database?…) and prepares the schema called name
// and the daemon's role, where they are missing. now is the clock of its transactions.
func Open(ctx context.Context, name database.Name, rawURL string, now func() time.Time, opts Options) (*database.DB, error) {
	opts = opts.withDefaults()
	config, err := pgx.ParseConfig(rawURL)
	if err != nil {
		// pgx's message may hold the password.
		return nil, omni.Errorf(omni.CodeInvalid, "the URL of database %s is not one that PostgreSQL's clients take", name).
			WithHint("write postgres://user:password@host:5432/database?sslmode=verify-full")
	}
	s := &server{name: name, host: address(config)}
	config.ConnectTimeout = opts.ConnectTimeout
	set := config.RuntimeParams
	set["application_name"] = "omnid " + string(name)
	set["search_path"] = string(name)
	set["lock_timeout"] = milliseconds(opts.LockTimeout)
	set["timezone"] = "UTC"

	owner := config.Copy()
	// Those who migrate may touch every row and take their time.
	owner.RuntimeParams["omni.tenant"] = "*"
	if err := s.prepare(ctx, owner); err != nil {
		return nil, err
	}
	// role cannot be undone by RESET ROLE, since it is the connection's own setting.
	set["role"] = database.DaemonRole
	set["statement_timeout"] = milliseconds(opts.StatementTimeout)
	set["idle_in_transaction_session_timeout"] = milliseconds(opts.IdleInTransaction)
	pool := stdlib.OpenDB(*config)
	pool.SetMaxOpenConns(opts.MaxConns)
	pool.SetMaxIdleConns(opts.MaxConns)
	pool.SetConnMaxIdleTime(idle)
	if err := pool.PingContext(ctx); err != nil {
		return nil, errors.Join(s.opening(err), pool.Close())
	}
	if err := s.keepsCommits(ctx, pool); err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	dialect := database.Dialect{
		Kind:      database.Postgres,
		Place:     s.host,
		Translate: s.translate,
		Retryable: retryable,
		Lost:      lost,
		Enter:     enter,
		Owner: func(context.Context) (*sql.DB, error) {
			pool := stdlib.OpenDB(*owner)
			pool.SetMaxOpenConns(2) // the lock's, and the one that works
			return pool, nil
		},
	}
	return database.New(name, dialect, pool, pool, now), nil
}

// keepsCommits refuses a server that may forget what it has acknowledged: after its crash, runs would go on from steps that the
// database no longer knows as done.
func (s *server) keepsCommits(ctx context.Context, pool *sql.DB) error {
	var level string
	if err := pool.QueryRowContext(ctx, "show synchronous_commit").Scan(&level); err != nil {
		return s.opening(err)
	}
	if level != "off" {
		return nil
	}
	return omni.Errorf(omni.CodeRefused, "database %s on %s has synchronous_commit off: it may lose acknowledged commits in a crash", s.name, s.host).
		WithHint("alter role … set synchronous_commit = on, or alter database … set synchronous_commit = on")
}

// enter tells the policies whose rows the transaction may see. true: until its end.
func enter(ctx context.Context, tx *sql.Tx, scope database.Scope) error {
	_, err := tx.ExecContext(ctx, "select set_config('omni.tenant', $1, true)", scope.Value())
	return err
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// address is where the server is, without user and password.
func address(c *pgx.ConnConfig) string {
	return (&url.URL{Scheme: "postgres", Host: c.Host + ":" + strconv.Itoa(int(c.Port)), Path: "/" + c.Database}).Redacted()
}
