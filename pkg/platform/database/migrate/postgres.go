package migrate

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// lock makes programs that start at once take turns. It lasts until unlock, or until the connection ends.
func lock(ctx context.Context, pool *sql.DB, name database.Name) (unlock func(), err error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	const key = "hashtext('omnicloud migrate ' || $1)"
	if _, err := conn.ExecContext(ctx, "select pg_advisory_lock("+key+")", string(name)); err != nil {
		_ = conn.Close() // the error above tells
		return nil, err
	}
	return func() {
		// Should this fail, the end of the pool, which follows, ends the lock.
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "select pg_advisory_unlock("+key+")", string(name))
		_ = conn.Close()
	}, nil
}

// tenantTables lists the tables that have a column "tenant", and whether each is secured in full.
const tenantTables = `
select c.relname, c.relrowsecurity and c.relforcerowsecurity and exists (
	select from pg_policy p where p.polrelid = c.oid and p.polname = 'omni_tenant')
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped
where c.relnamespace = $1::regnamespace and c.relkind in ('r', 'p')
order by c.relname`

// secure lets the daemon's role use the schema, and closes every tenant's rows to the others. It runs as the tables' owner.
func secure(ctx context.Context, pool *sql.DB, name database.Name) (err error) {
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	for _, grant := range []string{
		"grant usage on schema %s to %s",
		"grant select, insert, update, delete on all tables in schema %s to %s",
		"grant usage, select on all sequences in schema %s to %s",
		// What goose has applied is the owner's to write.
		"revoke insert, update, delete on %s." + table + " from %s",
	} {
		if _, err := tx.ExecContext(ctx, fmt.Sprintf(grant, name, database.DaemonRole)); err != nil {
			return fmt.Errorf("grant the role %s its rights: %w", database.DaemonRole, err)
		}
	}
	open, err := unsecured(ctx, tx, name)
	if err != nil {
		return err
	}
	for _, t := range open {
		if err := wall(ctx, tx, name, t); err != nil {
			return fmt.Errorf("row-level security of table %s: %w", t, err)
		}
	}
	return tx.Commit()
}

// unsecured lists the tables that still need their policy.
func unsecured(ctx context.Context, tx *sql.Tx, name database.Name) (tables []string, err error) {
	rows, err := tx.QueryContext(ctx, tenantTables, string(name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells
	for rows.Next() {
		var t string
		var done bool
		if err := rows.Scan(&t, &done); err != nil {
			return nil, err
		}
		if !done {
			tables = append(tables, t)
		}
	}
	return tables, rows.Err()
}

// wall puts the policy on one table. An unset scope is the empty text after the first transaction of a connection, and null
// before: neither sees a row, not even one of the platform's own (whose tenant is the empty text).
func wall(ctx context.Context, tx *sql.Tx, schema database.Name, tableName string) error {
	for _, statement := range []string{
		`alter table %[1]s.%[2]q enable row level security`,
		`alter table %[1]s.%[2]q force row level security`,
		`drop policy if exists omni_tenant on %[1]s.%[2]q`,
		`create policy omni_tenant on %[1]s.%[2]q using (
			tenant = nullif(current_setting('omni.tenant', true), '') or current_setting('omni.tenant', true) = '*')`,
	} {
		if _, err := tx.ExecContext(ctx, fmt.Sprintf(statement, schema, tableName)); err != nil {
			return err
		}
	}
	return nil
}
