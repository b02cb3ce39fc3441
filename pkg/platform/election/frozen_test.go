package election_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/migrations"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/database/migrate"
	"github.com/omnicloud/omnicloud/pkg/platform/database/postgres"
	"github.com/omnicloud/omnicloud/pkg/platform/database/sqlite"
	"github.com/omnicloud/omnicloud/pkg/platform/election"
	"github.com/omnicloud/omnicloud/pkg/platform/election/epoch"
)

// open opens the database at where: a URL of PostgreSQL, or the path of a file.
func open(ctx context.Context, where string) (*database.DB, error) {
	if strings.Contains(where, "://") {
		return postgres.Open(ctx, database.Infra, where, time.Now, postgres.Options{})
	}
	return sqlite.Open(ctx, database.Infra, where, time.Now, sqlite.Options{})
}

// leader is the process that is frozen. It leads, tells what happens to it, and on each line of input writes under the epoch of
// its first leadership, whether or not that has ended: the worst leader there can be.
func leader() int {
	ctx := context.Background()
	db, err := open(ctx, os.Getenv("OMNI_TEST_DATABASE"))
	if err != nil {
		fmt.Println("failed:", err)
		return 1
	}
	e, err := election.Open(ctx, election.Options{
		Endpoints: []string{os.Getenv("OMNI_TEST_LEADER")}, Name: "frozen", TTL: 2 * time.Second, DB: db, Now: time.Now,
	})
	if err != nil {
		fmt.Println("failed:", err)
		return 1
	}
	first := make(chan int64, 1)
	go func() {
		_ = e.Run(ctx, func(ctx context.Context, n int64) error {
			select {
			case first <- n:
			default:
			}
			fmt.Println("leading", n)
			<-ctx.Done()
			fmt.Println("ended", n, context.Cause(ctx))
			return nil
		})
	}()
	n := <-first
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		err := db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			if err := epoch.Fence(ctx, tx, n); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "insert into inbox (consumer, event_id, at) values ($1, $2, $3)", "frozen", lines.Text(), database.Time(tx.Now()))
			return err
		})
		fmt.Println("write", lines.Text(), omni.CodeOf(err))
	}
	return 0
}

// opener is the process that opens a damaged data directory, and says what it is told.
func opener(dir string) int {
	ctx := context.Background()
	scratch, err := os.MkdirTemp("", "omni-opener-")
	if err != nil {
		fmt.Println("failed:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	db, err := open(ctx, filepath.Join(scratch, "infra.db"))
	if err != nil {
		fmt.Println("failed:", err)
		return 1
	}
	_, err = election.Open(ctx, election.Options{DataDir: dir, Name: "opener", DB: db, Now: time.Now})
	fmt.Println(err)
	return 0
}

func TestFrozenLeader(t *testing.T) {
	for kind, where := range map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { t.Helper(); return filepath.Join(t.TempDir(), "infra.db") },
		"postgres": func(t *testing.T) string { t.Helper(); return databasetest.URL(t) },
	} {
		t.Run(kind, func(t *testing.T) {
			url := where(t)
			db, err := open(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			if _, err := migrate.Up(t.Context(), db, migrations.FS(database.Infra)); err != nil {
				t.Fatal(err)
			}
			frozenLeader(t, db, url)
		})
	}
}

func frozenLeader(t *testing.T, db *database.DB, where string) {
	t.Helper()
	endpoint := cluster(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self)
	child.Env = append(os.Environ(), "OMNI_TEST_LEADER="+endpoint, "OMNI_TEST_DATABASE="+where)
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 100)
	go func() {
		defer close(said)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			said <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		_ = child.Process.Kill()
		for range said { // until it has ended
		}
		_ = child.Wait()
	})
	hear := func(want string) string {
		t.Helper()
		timeout := time.After(patience)
		for {
			select {
			case line, ok := <-said:
				if !ok {
					t.Fatalf("the child ended before it said %q", want)
				}
				if strings.HasPrefix(line, want) {
					return line
				}
				t.Logf("child: %s", line)
			case <-timeout:
				t.Fatalf("the child does not say %q", want)
			}
		}
	}
	say := func(line string) {
		t.Helper()
		if _, err := fmt.Fprintln(stdin, line); err != nil {
			t.Fatal(err)
		}
	}

	hear("leading 1")
	say("before")
	if got := hear("write before"); got != "write before " {
		t.Fatalf("the leader's own write: %s", got)
	}
	if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	frozen := time.Now()
	next := stand(t, election.Options{Endpoints: []string{endpoint}, Name: "healthy", DB: db})
	if got := next.leads(t); got.epoch != 2 {
		t.Errorf("the next epoch is %d", got.epoch)
	}
	t.Logf("replaced after %s", time.Since(frozen).Round(time.Millisecond))
	say("zombie") // read when it wakes, before or after it notices
	if err := child.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	woken := time.Now()
	heard := map[string]bool{}
	for len(heard) < 2 {
		line := hear("")
		switch {
		case strings.HasPrefix(line, "ended 1"):
			heard["ended"] = true
			t.Logf("%s, %s after it woke", line, time.Since(woken).Round(time.Millisecond))
		case strings.HasPrefix(line, "write zombie"):
			heard["refused"] = true
			if line != "write zombie "+string(omni.CodeStale) {
				t.Errorf("the zombie's write was not refused: %q", line)
			}
		}
	}
	var rows int
	err = db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		return tx.QueryRow(ctx, "select count(*) from inbox where consumer = 'frozen'", nil, &rows)
	})
	if err != nil || rows != 1 {
		t.Errorf("%d rows of the frozen leader, want the one from before: %v", rows, err)
	}
	// It stands again, with a new session.
	next.stop()
	hear("leading 3")
}
