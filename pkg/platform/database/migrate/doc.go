// Package migrate brings a database's schema up to the program's, with goose.
//
// It renders the migrations for the dialect, refuses a database that a newer program has migrated, and on PostgreSQL
// afterwards grants the daemon's role what it needs and puts a row-level security policy on every table that has a column
// "tenant": a migration cannot forget it. Several programs that start at once take turns.
//
// It never migrates down.
package migrate
