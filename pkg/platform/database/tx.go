package database

import (
	"context"
	"database/sql"
	"time"
)

// Tx is one transaction. Helpers take it; they never commit it. It is not safe for concurrent use.
type Tx struct {
	raw       *sql.Tx
	db        *DB
	scope     Scope
	now       time.Time
	committed []func()
}

// Now is the transaction's one reading of the clock: UTC, in whole microseconds (what PostgreSQL keeps).
func (tx *Tx) Now() time.Time { return tx.now }

// Scope is whose rows the transaction may see.
func (tx *Tx) Scope() Scope { return tx.scope }

// Kind tells which SQL to use where the two must differ.
func (tx *Tx) Kind() Kind { return tx.db.dialect.Kind }

// Database tells which of the four databases it is on.
func (tx *Tx) Database() Name { return tx.db.name }

// AfterCommit has fn run once the transaction is committed; a rollback drops it. For waking those who wait, never for
// work that must not be lost.
func (tx *Tx) AfterCommit(fn func()) { tx.committed = append(tx.committed, fn) }

// Exec runs a statement and returns the number of rows that it touched. Errors keep the driver's error as their cause, so that
// Write can tell which are worth a retry.
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := tx.raw.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, tx.db.translate(err)
	}
	n, err := res.RowsAffected()
	return n, tx.db.translate(err)
}

// QueryRow runs a query for one row and scans it into dest; no row is CodeNotFound.
func (tx *Tx) QueryRow(ctx context.Context, query string, args []any, dest ...any) error {
	return tx.db.translate(tx.raw.QueryRowContext(ctx, query, args...).Scan(dest...))
}

// Query calls each for every row of the result, in order; an error of each ends it and is returned.
func (tx *Tx) Query(ctx context.Context, query string, args []any, each func(scan func(dest ...any) error) error) error {
	rows, err := tx.raw.QueryContext(ctx, query, args...)
	if err != nil {
		return tx.db.translate(err)
	}
	defer func() { _ = rows.Close() }() // rows.Err below tells
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return tx.db.translate(err)
		}
	}
	return tx.db.translate(rows.Err())
}
