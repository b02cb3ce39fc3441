// Package databasetest runs a test on each kind of database: a file of SQLite, and a PostgreSQL that is started for the
// test program and ends with it.
//
// The server starts with the first test that needs it (about a second) and gives each test a database of its own, copied
// from a migrated template. It belongs to the test program: the kernel ends it should the program be killed. Where
// PostgreSQL is missing it is installed (root and apt), else the tests are skipped by name; with CI=true they fail.
//
// Nothing of it runs as a goroutine behind a test, save for what Main stops: a package that checks for leaks uses
//
//	func TestMain(m *testing.M) { databasetest.Main(m) }
package databasetest
