package databasetest

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/omnicloud/omnicloud/migrations"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/migrate"
	"github.com/omnicloud/omnicloud/pkg/platform/database/postgres"
)

// URL gives the URL of a new, empty database on the test program's PostgreSQL, whose user may do everything. It ends with the
// test.
func URL(tb testing.TB) string {
	tb.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	s := need(tb)
	return s.create(tb, "template1")
}

// postgresCopy gives the URL of a copy of the migrated template of name.
func postgresCopy(tb testing.TB, name database.Name) string {
	tb.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	s := need(tb)
	template := "template_" + string(name)
	if !shared.copied[name] {
		s.migrated(tb, name, template)
		if shared.copied == nil {
			shared.copied = map[database.Name]bool{}
		}
		shared.copied[name] = true
	}
	return s.create(tb, template)
}

// need gives the server, started when it is not yet; shared.mu is held. Without one the test is skipped, or fails in CI.
func need(tb testing.TB) *server {
	tb.Helper()
	if shared.server == nil && shared.failed == nil {
		// The first test's end must not end the others' server.
		shared.server, shared.failed = start(context.WithoutCancel(tb.Context()))
	}
	if shared.failed != nil {
		if os.Getenv("CI") == "true" {
			tb.Fatalf("no PostgreSQL to test with: %v", shared.failed)
		}
		tb.Skipf("SKIPPED %s: no PostgreSQL to test with: %v", tb.Name(), shared.failed)
	}
	return shared.server
}

// migrated makes the template.
func (s *server) migrated(tb testing.TB, name database.Name, template string) {
	tb.Helper()
	s.admin(tb, "drop database if exists "+template)
	s.admin(tb, "create database "+template)
	db, err := postgres.Open(tb.Context(), name, s.url(template), time.Now, relaxed())
	if err != nil {
		tb.Fatal(err)
	}
	_, err = migrate.Up(tb.Context(), db, migrations.FS(name))
	if closeErr := db.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		tb.Fatalf("migrate the template of database %s: %v", name, err)
	}
}

// create makes a database that ends with the test.
func (s *server) create(tb testing.TB, template string) string {
	tb.Helper()
	shared.count++
	name := fmt.Sprintf("test_%d", shared.count)
	s.admin(tb, fmt.Sprintf("create database %s template %s", name, template))
	tb.Cleanup(func() {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		if shared.server == s {
			s.admin(tb, "drop database if exists "+name+" with (force)")
		}
	})
	return s.url(name)
}

// admin runs one statement outside of every test's database.
func (s *server) admin(tb testing.TB, statement string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		tb.Fatalf("connect to the test program's PostgreSQL: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }() // nothing is open on it
	if _, err := conn.Exec(ctx, statement); err != nil {
		tb.Fatalf("%s: %v", statement, err)
	}
}

// Main runs a package's tests, stops the server, and fails when a goroutine is left. It is for TestMain, in packages that
// check for leaks. It exits.
func Main(m *testing.M) {
	goleak.VerifyTestMain(runner{m}, goleak.Cleanup(os.Exit))
}

// runner stops the server between the tests and the check for leaks.
type runner struct{ m *testing.M }

// Run implements goleak.TestingM.
func (r runner) Run() int {
	code := r.m.Run()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server != nil {
		shared.server.stop()
		shared.server = nil
	}
	return code
}
