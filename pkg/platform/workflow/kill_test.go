package workflow_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/migrations"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/migrate"
	"github.com/omnicloud/omnicloud/pkg/platform/database/sqlite"
	"github.com/omnicloud/omnicloud/pkg/platform/election/epoch"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
)

// effects is a file to which actions append a line each: the world, as far as TestKill is concerned.
type effects string

func (f effects) lines() (lines []string, err error) {
	raw, err := os.ReadFile(string(f))
	if os.IsNotExist(err) {
		return nil, nil
	}
	return strings.Fields(string(raw)), err
}

func (f effects) add(line string) error {
	file, err := os.OpenFile(string(f), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = fmt.Fprintln(file, line); err != nil {
		return err
	}
	return file.Close()
}

// append is an action that looks before it repeats.
func (f effects) append(_ context.Context, c workflow.Call) (workflow.Outcome, error) {
	line := c.Run.ID + "/" + c.Step.ID
	if c.Repeat {
		lines, err := f.lines()
		if err != nil {
			return workflow.Outcome{}, err
		}
		if slices.Contains(lines, line) {
			return workflow.Outcome{Message: "was done"}, nil
		}
	}
	return workflow.Outcome{}, f.add(line)
}

// victim is the process that is killed: it leads until then.
func victim(dir string) int {
	ctx := context.Background()
	db, err := sqlite.Open(ctx, database.Infra, filepath.Join(dir, "infra.db"), time.Now, sqlite.Options{})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	var n int64
	err = db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) (err error) {
		n, err = epoch.Take(ctx, tx, "victim")
		return err
	})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	f := effects(filepath.Join(dir, "effects"))
	e := workflow.NewEngine(db, one(map[string]workflow.Action{"append": {Do: f.append, Commit: commit}}), workflow.Options{})
	fmt.Println("leading", n)
	fmt.Println(e.Lead(ctx, n))
	return 0
}

// TestKill kills the process of the engine at random moments until every run has ended.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), database.Infra, filepath.Join(dir, "infra.db"), time.Now, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := migrate.Up(t.Context(), db, migrations.FS(database.Infra)); err != nil {
		t.Fatal(err)
	}
	const runs = 30
	want := map[string]int{}
	for i := range runs {
		s := job(fmt.Sprintf("run%02d", i))
		s.Parallel = 1 + i%4
		for level := range 3 {
			for lane := range 2 {
				for seq := range 3 {
					s.Steps = append(s.Steps, step(fmt.Sprintf("%d.%d.%d", level, lane, seq), fmt.Sprint(lane), level, seq, "append"))
				}
			}
		}
		for _, st := range s.Steps {
			want[s.ID+"/"+st.ID] = 1
		}
		create(t, db, s)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	kills := 0
	for begun := time.Now(); alive(t, db) > 0; kills++ {
		patience := time.Minute
		if time.Since(begun) < 8*time.Second { // then the last may finish in peace
			patience = time.Duration(random.IntN(30)) * time.Millisecond
		}
		killAfter(t, dir, patience, func() bool { return alive(t, db) == 0 })
	}
	t.Logf("killed %d times", kills)

	lines, err := effects(filepath.Join(dir, "effects")).lines()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, line := range lines {
		got[line]++
	}
	for line := range want {
		if got[line] != 1 {
			t.Errorf("%s happened %d times", line, got[line])
		}
	}
	for i := range runs {
		if r := get(t, db, fmt.Sprintf("run%02d", i)); r.Status != workflow.Succeeded {
			t.Errorf("%s is %s %q:\n%s", r.ID, r.Status, r.Error, show(r))
		}
	}
}

func alive(t *testing.T, db *database.DB) (n int) {
	t.Helper()
	err := db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		return tx.QueryRow(ctx, "select count(*) from workflow_runs where finished_at is null", nil, &n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// killAfter starts a victim, and kills it some time after it has begun to lead, or once done says so.
func killAfter(t *testing.T, dir string, d time.Duration, done func() bool) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), "OMNI_TEST_VICTIM="+dir)
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewReader(out)
	if line, err := said.ReadString('\n'); !strings.HasPrefix(line, "leading") {
		t.Fatalf("the victim says %q: %v", line, err)
	}
	deadline := time.After(d)
	for ended := false; !ended; {
		select {
		case <-deadline:
			ended = true
		case <-time.After(5 * time.Millisecond):
			ended = done()
		}
	}
	_ = child.Process.Kill()
	_ = child.Wait()
}
