package workflow_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/election/epoch"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
)

// world is what actions have their effects on. It outlives engines, and refuses those of an older epoch, as drivers do.
type world struct {
	mu    sync.Mutex
	epoch int64
	fails map[string]int // attempts of Do that fail, by step; a large number fails for good
	sick  map[string]int // attempts of Undo that fail
	fixed bool           // nothing fails any more

	begun  map[string]bool // Do had its effect at least once
	done   map[string]bool // the end of the step is committed
	undone map[string]bool // Undo had its effect at least once
	order  []string        // steps in the order of their committed ends
	back   []string        // steps in the order in which they were undone
	wrong  []string        // broken promises
	needs  func(id string) []string
}

func (w *world) complain(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

func (w *world) do(_ context.Context, c workflow.Call) (workflow.Outcome, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := c.Step.ID
	if c.Epoch < w.epoch {
		return workflow.Outcome{}, errors.New("stale epoch")
	}
	if w.done[id] {
		w.complain("%s ran again after its end was committed", id)
	}
	if w.begun[id] && !c.Repeat {
		w.complain("%s was repeated without Repeat", id)
	}
	for _, before := range w.needs(id) {
		if !w.done[before] {
			w.complain("%s ran before %s was done", id, before)
		}
	}
	w.begun[id] = true
	if !w.fixed && c.Attempt <= w.fails[id] {
		return workflow.Outcome{}, fmt.Errorf("attempt %d fails", c.Attempt)
	}
	return workflow.Outcome{}, nil
}

func (w *world) undo(_ context.Context, c workflow.Call) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := c.Step.ID
	if c.Epoch < w.epoch {
		return errors.New("stale epoch")
	}
	if w.undone[id] && !c.Repeat {
		w.complain("the undo of %s was repeated without Repeat", id)
	}
	if !w.begun[id] {
		w.complain("%s was undone, but never begun", id)
	}
	w.undone[id] = true
	if len(w.back) == 0 || w.back[len(w.back)-1] != id {
		w.back = append(w.back, id)
	}
	if !w.fixed && c.Attempt <= w.sick[id] {
		return fmt.Errorf("undo attempt %d fails", c.Attempt)
	}
	return nil
}

// commit and uncommit keep one row a step, which cannot be there twice.
func commit(ctx context.Context, tx *database.Tx, c workflow.Call, _ workflow.Outcome) error {
	_, err := tx.Exec(ctx, "insert into inbox (consumer, event_id, at) values ($1, $2, $3)", c.Run.ID, c.Step.ID, database.Time(tx.Now()))
	return err
}

func uncommit(ctx context.Context, tx *database.Tx, c workflow.Call) error {
	n, err := tx.Exec(ctx, "delete from inbox where consumer = $1 and event_id = $2", c.Run.ID, c.Step.ID)
	if err == nil && n != 1 {
		return workflow.Permanent(fmt.Errorf("%d rows of %s to take back", n, c.Step.ID))
	}
	return err
}

func (w *world) onStep(_ context.Context, tx *database.Tx, _ workflow.Run, s workflow.Step, _ *time.Time) error {
	tx.AfterCommit(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch s.Status {
		case workflow.Succeeded, workflow.Skipped:
			if w.done[s.ID] {
				w.complain("the end of %s was committed twice", s.ID)
			}
			w.done[s.ID] = true
			w.order = append(w.order, s.ID)
		case workflow.Failed: // perhaps not for the first time, after a resume; only in a run that continues it lets others begin
			w.order = append(slices.DeleteFunc(w.order, func(id string) bool { return id == s.ID }), s.ID)
		}
	})
	return nil
}

// blow is something that happens at the nth failpoint that is passed.
type blow struct {
	at   int
	what string // kill, depose, pause, abort
}

// trial is one run under blows.
type trial struct {
	db    *database.DB
	w     *world
	spec  workflow.Spec
	blows []blow

	mu      sync.Mutex
	passed  int
	kill    context.CancelFunc // ends the engine that counts
	deposed bool
	aborted bool
	seen    map[string]bool
}

func (x *trial) point(ctx context.Context, name string) {
	x.mu.Lock()
	x.passed++
	x.seen[name] = true
	what := ""
	if len(x.blows) > 0 && x.passed >= x.blows[0].at {
		what = x.blows[0].what
		x.blows = x.blows[1:]
	}
	kill := x.kill
	x.mu.Unlock()
	write := func(fn func(context.Context, *database.Tx, string) error) error {
		return x.db.Write(context.WithoutCancel(ctx), database.Platform(), func(ctx context.Context, tx *database.Tx) error { return fn(ctx, tx, x.spec.ID) })
	}
	switch what {
	case "kill":
		kill()
	case "depose":
		x.mu.Lock()
		x.deposed = true
		x.mu.Unlock()
	case "pause":
		_ = write(workflow.Pause) // refused when it has ended
	case "abort":
		if write(workflow.Abort) == nil {
			x.mu.Lock()
			x.aborted = true
			x.mu.Unlock()
		}
	}
}

// run drives the run to its end with as many engines as it takes.
func (x *trial) run(t *rapid.T) workflow.Run {
	ctx := context.Background()
	var zombies sync.WaitGroup
	defer zombies.Wait()
	for leaders := 0; ; leaders++ {
		if leaders > 60 {
			t.Fatal("it does not end")
		}
		var n int64
		err := x.db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) (err error) {
			n, err = epoch.Take(ctx, tx, "trial")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		x.w.mu.Lock()
		x.w.epoch = n
		x.w.mu.Unlock()
		lead, kill := context.WithCancel(ctx)
		x.mu.Lock()
		x.kill, x.deposed = kill, false
		x.mu.Unlock()
		e := workflow.NewEngine(x.db, map[string]workflow.Kind{"job": {
			Actions: map[string]workflow.Action{
				"work": {Do: x.w.do, Commit: commit, Undo: x.w.undo, UndoCommit: uncommit},
				"note": {Do: x.w.do, Commit: commit, UndoCommit: uncommit},
			},
			Hooks: workflow.Hooks{OnStep: x.w.onStep},
		}}, workflow.Options{
			Poll: 5 * time.Millisecond, Backoff: workflow.Backoff{Base: time.Millisecond, Max: 2 * time.Millisecond},
			Failpoint: func(name string) { x.point(lead, name) },
		})
		ended := make(chan struct{})
		zombies.Go(func() { defer close(ended); _ = e.Lead(lead, n) })
		r := x.watch(t, ended)
		if !r.Alive() {
			kill()
			return r
		}
		x.mu.Lock()
		deposed := x.deposed
		x.mu.Unlock()
		if !deposed {
			<-ended // a dead process does nothing more; a deposed one goes on until it is refused
		}
		defer kill()
	}
}

// watch follows the run until it is over or its engine is. A paused run is resumed, in a world that is mended.
func (x *trial) watch(t *rapid.T, ended <-chan struct{}) workflow.Run {
	deadline := time.After(30 * time.Second)
	for {
		var r workflow.Run
		err := x.db.Read(context.Background(), database.Platform(), func(ctx context.Context, tx *database.Tx) (err error) {
			r, err = workflow.Get(ctx, tx, x.spec.ID)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if !r.Alive() {
			return r
		}
		if r.Status == workflow.Paused {
			if r.Error != "" { // a failure paused it
				x.w.mu.Lock()
				x.w.fixed = true
				x.w.mu.Unlock()
			}
			_ = x.db.Write(context.Background(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
				return workflow.Resume(ctx, tx, x.spec.ID)
			})
		}
		x.mu.Lock()
		deposed := x.deposed
		x.mu.Unlock()
		if deposed {
			return r
		}
		select {
		case <-ended:
			return r
		case <-deadline:
			t.Fatalf("stuck in %s %q:\n%s", r.Status, r.Error, show(r))
		case <-time.After(time.Millisecond):
		}
	}
}

// draw makes a run, its world and its blows.
func draw(t *rapid.T, db *database.DB, id string) *trial {
	w := &world{
		fails: map[string]int{}, sick: map[string]int{}, begun: map[string]bool{}, done: map[string]bool{}, undone: map[string]bool{},
	}
	s := job(id)
	s.OnFailure = rapid.SampledFrom([]string{workflow.OnFailurePause, workflow.OnFailureRollback, workflow.OnFailureContinue}).Draw(t, "onFailure")
	s.Parallel = rapid.IntRange(1, 6).Draw(t, "parallel")
	for level := range rapid.IntRange(1, 3).Draw(t, "levels") {
		for lane := range rapid.IntRange(1, 3).Draw(t, "lanes") {
			for seq := range rapid.IntRange(1, 3).Draw(t, "steps") {
				st := step(fmt.Sprintf("%d.%d.%d", level, lane, seq), fmt.Sprint(lane), level, seq, "work")
				st.Action = rapid.SampledFrom([]string{"work", "work", "note"}).Draw(t, "action")
				st.MaxAttempts = 2
				w.fails[st.ID] = rapid.SampledFrom([]int{0, 0, 0, 0, 0, 1, 9}).Draw(t, "fails")
				w.sick[st.ID] = rapid.SampledFrom([]int{0, 0, 0, 1, 9}).Draw(t, "sick")
				s.Steps = append(s.Steps, st)
			}
		}
	}
	rapid.Permutation(s.Steps).Draw(t, "order")
	x := &trial{db: db, w: w, spec: s, seen: map[string]bool{}}
	at := 0
	for range rapid.IntRange(0, 8).Draw(t, "blows") {
		at += rapid.IntRange(1, 20).Draw(t, "at")
		what := rapid.SampledFrom([]string{"kill", "kill", "kill", "depose", "pause", "abort"}).Draw(t, "what")
		x.blows = append(x.blows, blow{at, what})
	}
	w.needs = func(id string) (needs []string) {
		me := s.Steps[slices.IndexFunc(s.Steps, func(st workflow.StepSpec) bool { return st.ID == id })]
		for _, st := range s.Steps {
			if st.Level < me.Level || (st.Level == me.Level && st.Lane == me.Lane && st.Seq < me.Seq) {
				if s.OnFailure == workflow.OnFailureContinue && st.Level < me.Level && slices.Contains(w.order, st.ID) {
					continue // it failed, which does not stop the next level
				}
				needs = append(needs, st.ID)
			}
		}
		return needs
	}
	return x
}

// expect is the plain reference: what the run and its steps must be in the end.
func (x *trial) expect() (status string, steps map[string]string) {
	steps = map[string]string{}
	broken := false
	lanes := map[string]bool{}
	for _, st := range x.spec.Steps { // they are made in the order of level, lane and seq
		lane := fmt.Sprint(st.Level, "/", st.Lane)
		switch {
		case lanes[lane]:
			steps[st.ID] = workflow.Skipped
		case x.w.fails[st.ID] >= st.MaxAttempts:
			steps[st.ID] = workflow.Failed
			lanes[lane], broken = true, true
		default:
			steps[st.ID] = workflow.Succeeded
		}
	}
	switch {
	case !broken:
		return workflow.Succeeded, steps
	case x.spec.OnFailure == workflow.OnFailurePause: // mended and resumed
		for id := range steps {
			steps[id] = workflow.Succeeded
		}
		return workflow.Succeeded, steps
	case x.spec.OnFailure == workflow.OnFailureRollback:
		return workflow.RolledBack, nil
	}
	return workflow.Failed, steps
}

func (x *trial) check(t *rapid.T, r workflow.Run) {
	w := x.w
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, complaint := range w.wrong {
		t.Error(complaint)
	}
	status, steps := x.expect()
	if x.aborted && r.Status == workflow.Aborted {
		status, steps = workflow.Aborted, nil
	}
	mended := status == workflow.RolledBack && w.fixed && r.Status == workflow.Succeeded // paused, and resumed in a mended world
	if r.Status != status && !mended {
		t.Errorf("the run is %s %q, want %s\n%s", r.Status, r.Error, status, show(r))
	}
	rows := map[string]bool{}
	err := x.db.Read(context.Background(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		return tx.Query(ctx, "select event_id from inbox where consumer = $1", []any{r.ID}, func(scan func(...any) error) error {
			var id string
			err := scan(&id)
			rows[id] = true
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Steps {
		if steps != nil && s.Status != steps[s.ID] && r.Status == status {
			t.Errorf("step %s is %s, want %s", s.ID, s.Status, steps[s.ID])
		}
		if s.Status == workflow.Running {
			t.Errorf("step %s is running in a run that is %s", s.ID, r.Status)
		}
		if rows[s.ID] != (s.Status == workflow.Succeeded) {
			t.Errorf("step %s is %s, its row is there: %v", s.ID, s.Status, rows[s.ID])
		}
		if r.Status == workflow.RolledBack && s.Action == "work" && w.begun[s.ID] && !w.undone[s.ID] {
			t.Errorf("step %s (%s) was begun and not undone", s.ID, s.Status)
		}
	}
	if r.Status == workflow.RolledBack {
		w.checkReverse(t)
	}
}

// checkReverse checks that what had ended was undone in reverse.
func (w *world) checkReverse(t *rapid.T) {
	var want, got []string
	for _, id := range slices.Backward(w.order) {
		if slices.Contains(w.back, id) {
			want = append(want, id)
		}
	}
	for _, id := range w.back {
		if slices.Contains(w.order, id) {
			got = append(got, id)
		}
	}
	if !slices.Equal(want, got) {
		t.Errorf("undone in the order %v, want %v", got, want)
	}
}

// TestCrashes is the promise of this package: whatever dies when, each run ends as the plain reference says, nothing that is
// done is done again, and nothing runs before its time.
func TestCrashes(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		seen := map[string]bool{}
		count := 0
		rapid.Check(t, func(rt *rapid.T) {
			count++
			if db.Kind() == database.Postgres && count > 30 {
				return // the same rules, at ten times the cost
			}
			x := draw(rt, db, fmt.Sprintf("trial%d", count))
			err := db.Write(context.Background(), database.Platform(), func(ctx context.Context, tx *database.Tx) error { return workflow.Create(ctx, tx, x.spec) })
			if err != nil {
				rt.Fatal(err)
			}
			x.check(rt, x.run(rt))
			for name := range x.seen {
				seen[name] = true
			}
		})
		for _, name := range workflow.Failpoints() {
			if !seen[name] {
				t.Errorf("the failpoint %s was never reached", name)
			}
		}
	})
}
