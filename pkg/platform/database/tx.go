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
	attached  map[any]Flusher
	order     []any // of attached
}

// Flusher is what a transaction gathers, and writes at its end.
type Flusher interface {
	Flush(ctx context.Context, tx *Tx) error
}

// Attach gives what is attached to the transaction under key, made by create the first time. Its Flush runs once, after the
// transaction's function and before the commit, in the order of attaching; an error of it rolls back. Keys are of a
// type of the caller's own, as with context values.
func (tx *Tx) Attach(key any, create func() Flusher) Flusher {
	if f, ok := tx.attached[key]; ok {
		return f
	}
	if tx.attached == nil {
		tx.attached = map[any]Flusher{}
	}
	f := create()
	tx.attached[key] = f
	tx.order = append(tx.order, key)
	return f
}

func (tx *Tx) flush(ctx context.Context) error {
	for i := 0; i < len(tx.order); i++ { // a Flush may attach more
		if err := tx.attached[tx.order[i]].Flush(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

// Signal wakes those who wait for topic on this DB (DB.Watch), once the transaction is committed.
func (tx *Tx) Signal(topic string) {
	tx.AfterCommit(func() { tx.db.signals.send(topic) })
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

// bind prepares a statement for the driver.
func (tx *Tx) bind(query string, args int) (string, error) {
	if tx.db.dialect.Bind == nil {
		return query, nil
	}
	return tx.db.dialect.Bind(query, args)
}

// Exec runs a statement and returns the number of rows that it touched. Errors keep the driver's error as their cause, so that
// Write can tell which are worth a retry.
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	query, err := tx.bind(query, len(args))
	if err != nil {
		return 0, err
	}
	res, err := tx.raw.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, tx.db.translate(err)
	}
	n, err := res.RowsAffected()
	return n, tx.db.translate(err)
}

// QueryRow runs a query for one row and scans it into dest; no row is CodeNotFound.
func (tx *Tx) QueryRow(ctx context.Context, query string, args []any, dest ...any) error {
	query, err := tx.bind(query, len(args))
	if err != nil {
		return err
	}
	return tx.db.translate(tx.raw.QueryRowContext(ctx, query, args...).Scan(dest...))
}

// Query calls each for every row of the result, in order; an error of each ends it and is returned. each must not use the
// transaction: its connection is busy with the rows.
func (tx *Tx) Query(ctx context.Context, query string, args []any, each func(scan func(dest ...any) error) error) error {
	query, err := tx.bind(query, len(args))
	if err != nil {
		return err
	}
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
