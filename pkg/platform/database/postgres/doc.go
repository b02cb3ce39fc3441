// Package postgres opens one of the four databases on PostgreSQL (15 or later), through pgx and database/sql.
//
// Each of the four lives in a schema of its own name, so that several may share one database of PostgreSQL. omnid works as
// the role omni_daemon, which owns nothing and cannot bypass row-level security; the user of the URL owns the tables and
// is used for migrations only. Every transaction sets the tenant that it works for ("omni.tenant"), which the policies
// of package migrate compare.
//
// A transaction that says nothing for a second is ended by the server, so that a frozen leader cannot hold its locks against
// the next one. It never holds a connection outside a transaction.
package postgres
