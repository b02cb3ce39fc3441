package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// oldest is the first version of PostgreSQL that the SQL is written for.
const oldest = 150000

// prepare makes the schema and the daemon's role where they are missing, as the URL's user, and checks that it may become
// that role.
func (s *server) prepare(ctx context.Context, owner *pgx.ConnConfig) (err error) {
	conn, err := pgx.ConnectConfig(ctx, owner)
	if err != nil {
		return s.opening(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing is open on it
	var version int
	var schema, role, member, bypasses bool
	err = conn.QueryRow(ctx, `
		select current_setting('server_version_num')::int,
			exists (select from pg_namespace where nspname = $1),
			exists (select from pg_roles where rolname = $2),
			coalesce((select pg_has_role(current_user, oid, 'member') from pg_roles where rolname = $2), false),
			coalesce((select rolbypassrls or rolsuper from pg_roles where rolname = $2), false)`,
		string(s.name), database.DaemonRole).Scan(&version, &schema, &role, &member, &bypasses)
	switch {
	case err != nil:
		return s.opening(err)
	case version < oldest:
		return omni.Errorf(omni.CodeInvalid, "the server %s is PostgreSQL %d; OmniCloud needs 15 or later", s.host, version/10000)
	case bypasses:
		return omni.Errorf(omni.CodeInvalid, "the role %s on %s bypasses row-level security", database.DaemonRole, s.host).
			WithHint("alter role %s nosuperuser nobypassrls", database.DaemonRole)
	}
	if !schema {
		if err := s.run(ctx, conn, "create schema if not exists "+string(s.name), "the schema "+string(s.name)); err != nil {
			return err
		}
	}
	if !role {
		statement := "create role " + database.DaemonRole + " nologin nosuperuser nobypassrls"
		if err := s.run(ctx, conn, statement, "the role "+database.DaemonRole); err != nil {
			return err
		}
	}
	if !role || !member {
		statement := "grant " + database.DaemonRole + " to current_user"
		return s.run(ctx, conn, statement, "the membership in the role "+database.DaemonRole)
	}
	return nil
}

// run makes something that another program may be making at the same moment.
func (s *server) run(ctx context.Context, conn *pgx.Conn, statement, what string) error {
	_, err := conn.Exec(ctx, statement)
	var raw *pgconn.PgError
	if err == nil || !errors.As(err, &raw) {
		return s.opening(err)
	}
	switch raw.Code {
	case "42P06", "42710", "23505": // it is there now
		return nil
	case "XX000": // "tuple concurrently updated": the other one's grant has won
		return nil
	case "42501":
		return omni.Errorf(omni.CodeRefused, "%s is missing on %s, and the user of the URL may not make it", what, s.host).
			WithCause(err).WithHint("have an administrator of the server run: %s", statement)
	}
	return fmt.Errorf("make %s: %w", what, s.opening(err))
}
