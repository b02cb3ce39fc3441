// Package databasetest runs a test on each kind of database: a file of SQLite, and a PostgreSQL that is started for the
// test program and ends with it.
//
// The server starts with the first test that needs it (about a second) and gives each test a database of its own, copied
// from a migrated template. It ends with the test program, also when that is killed. Where
// PostgreSQL is missing it is installed (root and apt), else the tests are skipped by name; with CI=true they fail.
//
// It leaves no goroutine behind a test, so that packages may check for leaks. Main does that, and stops the server before the
// program ends rather than just after:
//
//	func TestMain(m *testing.M) { databasetest.Main(m) }
//
// Commits do not reach the disk unless OMNI_TEST_DURABLE=1.
package databasetest
