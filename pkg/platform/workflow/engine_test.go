package workflow_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/election/epoch"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
)

// journal keeps what actions and hooks were called for, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

func (j *journal) at(line string) int { return slices.Index(j.all(), line) }

// write is a platform transaction that must go well.
func write(t *testing.T, db *database.DB, fn func(ctx context.Context, tx *database.Tx) error) {
	t.Helper()
	if err := db.Write(t.Context(), database.Platform(), fn); err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, db *database.DB, s workflow.Spec) {
	t.Helper()
	write(t, db, func(ctx context.Context, tx *database.Tx) error { return workflow.Create(ctx, tx, s) })
}

func get(t *testing.T, db *database.DB, id string) workflow.Run {
	t.Helper()
	var r workflow.Run
	err := db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) (err error) {
		r, err = workflow.Get(ctx, tx, id)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// control calls one of Approve, Pause, Resume, Abort.
func control(t *testing.T, db *database.DB, id string, fn func(context.Context, *database.Tx, string) error) error {
	t.Helper()
	return db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error { return fn(ctx, tx, id) })
}

func take(t *testing.T, db *database.DB) int64 {
	t.Helper()
	var n int64
	write(t, db, func(ctx context.Context, tx *database.Tx) (err error) {
		n, err = epoch.Take(ctx, tx, "test")
		return err
	})
	return n
}

// lead runs an engine until the test ends; stop ends it earlier and waits.
func lead(t *testing.T, db *database.DB, kinds map[string]workflow.Kind, opts workflow.Options) (e *workflow.Engine, stop func() error) {
	t.Helper()
	if opts.Backoff.Base == 0 {
		opts.Backoff = workflow.Backoff{Base: time.Millisecond, Max: 4 * time.Millisecond}
	}
	e = workflow.NewEngine(db, kinds, opts)
	n := take(t, db)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- e.Lead(ctx, n) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = stop() })
	return e, stop
}

// until waits until the run is over or done says so.
func until(t *testing.T, e *workflow.Engine, id string, done func(workflow.Run) bool) workflow.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := e.Wait(ctx, database.Platform(), id, done)
	if err != nil {
		t.Fatalf("waiting for run %s, which is %s: %v\n%s", id, r.Status, err, show(r))
	}
	return r
}

func is(status string) func(workflow.Run) bool {
	return func(r workflow.Run) bool { return r.Status == status }
}

func over(workflow.Run) bool { return false }

func show(r workflow.Run) string {
	var b strings.Builder
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "%s %s attempts=%d %s %s\n", s.ID, s.Status, s.Attempts, s.Message, s.Error)
	}
	return b.String()
}

func status(r workflow.Run, step string) string {
	for _, s := range r.Steps {
		if s.ID == step {
			return s.Status
		}
	}
	return "missing"
}

func step(id, lane string, level, seq int, action string) workflow.StepSpec {
	return workflow.StepSpec{ID: id, Lane: lane, Level: level, Seq: seq, Action: action}
}

// one is a kind "job" with one set of actions.
func one(actions map[string]workflow.Action) map[string]workflow.Kind {
	return map[string]workflow.Kind{"job": {Actions: actions}}
}

func job(id string, steps ...workflow.StepSpec) workflow.Spec {
	return workflow.Spec{ID: id, Kind: "job", Tenant: "acme", Key: "job/" + id, Steps: steps}
}

func TestRun(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		t.Run("steps run level by level, and in each lane one after the other", func(t *testing.T) {
			var j journal
			kinds := one(map[string]workflow.Action{"note": {Do: func(_ context.Context, c workflow.Call) (workflow.Outcome, error) {
				j.add("%s", c.Step.ID)
				return workflow.Outcome{Message: "noted", Result: map[string]int{"n": c.Attempt}}, nil
			}}})
			e, _ := lead(t, db, kinds, workflow.Options{})
			create(t, db, job("order",
				step("2.lb", "lb", 2, 0, "note"),
				step("0.db.b", "db", 0, 2, "note"), step("0.db.a", "db", 0, 1, "note"),
				step("1.app", "app", 1, 0, "note"), step("0.cache", "cache", 0, 0, "note")))
			r := until(t, e, "order", over)
			if r.Status != workflow.Succeeded || r.FinishedAt.IsZero() || r.StartedAt.IsZero() || r.Error != "" {
				t.Fatalf("the run is %+v", r)
			}
			for _, pair := range [][2]string{{"0.db.a", "0.db.b"}, {"0.db.b", "1.app"}, {"0.cache", "1.app"}, {"1.app", "2.lb"}} {
				if a, b := j.at(pair[0]), j.at(pair[1]); a < 0 || b < a {
					t.Errorf("%s must be before %s: %v", pair[0], pair[1], j.all())
				}
			}
			if s := r.Steps[2]; s.Message != "noted" || string(s.Result) != `{"n":1}` || s.Attempts != 1 || s.StartedAt.IsZero() || s.FinishedAt.Before(s.StartedAt) {
				t.Errorf("the step is %+v", s)
			}
		})

		t.Run("a run without steps succeeds", func(t *testing.T) {
			e, _ := lead(t, db, one(nil), workflow.Options{})
			create(t, db, job("empty"))
			if r := until(t, e, "empty", over); r.Status != workflow.Succeeded {
				t.Errorf("it is %s", r.Status)
			}
		})

		t.Run("what Commit and the hooks write is there exactly when the step is done", func(t *testing.T) {
			var j journal
			kinds := map[string]workflow.Kind{"job": {
				Actions: map[string]workflow.Action{"pay": {
					Do: func(context.Context, workflow.Call) (workflow.Outcome, error) {
						return workflow.Outcome{Skipped: true, Message: "was so"}, nil
					},
					Commit: func(_ context.Context, tx *database.Tx, c workflow.Call, o workflow.Outcome) error {
						tx.AfterCommit(func() { j.add("commit %s skipped=%v", c.Step.ID, o.Skipped) })
						return nil
					},
				}},
				Hooks: workflow.Hooks{
					OnRun: func(_ context.Context, tx *database.Tx, r workflow.Run) error {
						tx.AfterCommit(func() { j.add("run %s v%d", r.Status, r.Version) })
						return nil
					},
					OnStep: func(ctx context.Context, tx *database.Tx, r workflow.Run, s workflow.Step, last *time.Time) error {
						id := omni.RequestFrom(ctx).ID
						tx.AfterCommit(func() { j.add("step %s %s last=%v request=%s", s.ID, s.Status, last != nil, id) })
						return nil
					},
				},
			}}
			e, _ := lead(t, db, kinds, workflow.Options{})
			write(t, db, func(ctx context.Context, tx *database.Tx) error {
				ctx = omni.WithRequest(ctx, omni.Request{ID: "req_1"})
				return workflow.Create(ctx, tx, job("hooks", step("a", "x", 0, 0, "pay"), step("b", "x", 0, 1, "pay")))
			})
			r := until(t, e, "hooks", over)
			if status(r, "a") != workflow.Skipped || r.Version != 2 {
				t.Errorf("the run is %+v", r)
			}
			want := []string{
				"commit a skipped=true", "step a skipped last=false request=req_1",
				"commit b skipped=true", "step b skipped last=true request=req_1", "run succeeded v2",
			}
			// What is noted after a commit may be noted a moment after others see that commit.
			deadline := time.Now().Add(10 * time.Second)
			for !slices.Equal(j.all(), want) && time.Now().Before(deadline) {
				time.Sleep(time.Millisecond)
			}
			if got := j.all(); !slices.Equal(got, want) {
				t.Errorf("got %q\nwant %q", got, want)
			}
		})
	})
}

// late refuses at the end of the transaction.
type late struct{}

type lateKey struct{}

func (late) Flush(context.Context, *database.Tx) error {
	return omni.Errorf(omni.CodeConflict, "too late")
}

func TestFailure(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		boom := errors.New("boom")

		t.Run("a failed attempt is repeated, and says so", func(t *testing.T) {
			var j journal
			e, _ := lead(t, db, one(map[string]workflow.Action{"flaky": {Do: func(_ context.Context, c workflow.Call) (workflow.Outcome, error) {
				j.add("%d repeat=%v", c.Attempt, c.Repeat)
				if c.Attempt < 3 {
					return workflow.Outcome{}, boom
				}
				return workflow.Outcome{}, nil
			}}}), workflow.Options{})
			create(t, db, job("flaky", step("a", "x", 0, 0, "flaky")))
			r := until(t, e, "flaky", is(workflow.Paused))
			if r.Status != workflow.Succeeded || r.Steps[0].Attempts != 3 || r.Steps[0].Error != "" {
				t.Errorf("%s:\n%s", r.Status, show(r))
			}
			if want := []string{"1 repeat=false", "2 repeat=true", "3 repeat=true"}; !slices.Equal(j.all(), want) {
				t.Errorf("got %q", j.all())
			}
		})

		t.Run("a permanent error is not retried, and pauses; resume gives a fresh count", func(t *testing.T) {
			var fixed sync.Map
			e, _ := lead(t, db, one(map[string]workflow.Action{"strict": {Do: func(_ context.Context, c workflow.Call) (workflow.Outcome, error) {
				if _, ok := fixed.Load("yes"); !ok {
					return workflow.Outcome{}, workflow.Permanent(boom)
				}
				if c.Attempt != 1 || !c.Repeat {
					return workflow.Outcome{}, fmt.Errorf("attempt %d repeat %v", c.Attempt, c.Repeat)
				}
				return workflow.Outcome{}, nil
			}}}), workflow.Options{})
			create(t, db, job("strict", step("a", "x", 0, 0, "strict"), step("b", "x", 0, 1, "strict")))
			r := until(t, e, "strict", is(workflow.Paused))
			if r.Status != workflow.Paused || r.Error != "step a: boom" || r.Steps[0].Attempts != 1 || status(r, "b") != workflow.Pending {
				t.Fatalf("%s %q:\n%s", r.Status, r.Error, show(r))
			}
			fixed.Store("yes", true)
			if err := control(t, db, "strict", workflow.Resume); err != nil {
				t.Fatal(err)
			}
			r = until(t, e, "strict", func(r workflow.Run) bool { return r.Status == workflow.Paused && strings.Contains(r.Error, "step b") })
			// b has its first call now: it is not a repeat, which the action refuses for good after its attempts.
			if status(r, "a") != workflow.Succeeded || status(r, "b") != workflow.Failed {
				t.Errorf("%s %q:\n%s", r.Status, r.Error, show(r))
			}
		})

		t.Run("rollback undoes what was done, the last first, and what was begun", func(t *testing.T) {
			var j journal
			act := workflow.Action{
				Do: func(_ context.Context, c workflow.Call) (workflow.Outcome, error) {
					j.add("do %s", c.Step.ID)
					return workflow.Outcome{}, nil
				},
				Undo: func(_ context.Context, c workflow.Call) error {
					j.add("undo %s %s repeat=%v", c.Step.ID, c.Step.Status, c.Repeat)
					if c.Step.ID == "b" && c.Attempt == 1 {
						return boom
					}
					return nil
				},
				UndoCommit: func(_ context.Context, tx *database.Tx, c workflow.Call) error {
					tx.AfterCommit(func() { j.add("uncommit %s", c.Step.ID) })
					return nil
				},
			}
			bad := act
			bad.Do = func(context.Context, workflow.Call) (workflow.Outcome, error) {
				return workflow.Outcome{}, workflow.Permanent(boom)
			}
			e, _ := lead(t, db, one(map[string]workflow.Action{"act": act, "bad": bad, "plain": {}}), workflow.Options{})
			s := job("back", step("a", "x", 0, 0, "act"), step("p", "x", 0, 1, "plain"), step("q", "x", 0, 2, "plain"),
				step("b", "x", 0, 3, "act"), step("c", "x", 0, 4, "bad"), step("d", "x", 0, 5, "act"))
			s.OnFailure = workflow.OnFailureRollback
			create(t, db, s)
			r := until(t, e, "back", is(workflow.Paused))
			if r.Status != workflow.RolledBack || r.Error != "step c: boom" {
				t.Fatalf("%s %q:\n%s", r.Status, r.Error, show(r))
			}
			want := []string{
				"do a", "do b", "undo c failed repeat=false", "undo b succeeded repeat=false", "undo b succeeded repeat=true", "uncommit b",
				"undo a succeeded repeat=false", "uncommit a",
			}
			if !slices.Equal(j.all(), want) {
				t.Errorf("got  %q\nwant %q", j.all(), want)
			}
			for _, s := range r.Steps {
				if want := map[bool]string{true: workflow.Pending, false: workflow.RolledBack}[s.ID == "d"]; s.Status != want {
					t.Errorf("step %s is %s", s.ID, s.Status)
				}
			}
		})

		t.Run("an undo that fails pauses the rollback, and resume goes on with it", func(t *testing.T) {
			var fixed sync.Map
			e, _ := lead(t, db, one(map[string]workflow.Action{
				"stuck": {Undo: func(context.Context, workflow.Call) error {
					if _, ok := fixed.Load("yes"); !ok {
						return workflow.Permanent(errors.New("stuck"))
					}
					return nil
				}},
				"bad": {Do: func(context.Context, workflow.Call) (workflow.Outcome, error) {
					return workflow.Outcome{}, workflow.Permanent(boom)
				}},
			}), workflow.Options{})
			s := job("stuck", step("a", "x", 0, 0, "stuck"), step("b", "x", 0, 1, "bad"))
			s.OnFailure = workflow.OnFailureRollback
			create(t, db, s)
			r := until(t, e, "stuck", is(workflow.Paused))
			if r.Status != workflow.Paused || !r.RollingBack() || r.Error != "undoing step a: stuck" {
				t.Fatalf("%s %q:\n%s", r.Status, r.Error, show(r))
			}
			fixed.Store("yes", true)
			if err := control(t, db, "stuck", workflow.Resume); err != nil {
				t.Fatal(err)
			}
			if r = until(t, e, "stuck", over); r.Status != workflow.RolledBack || status(r, "a") != workflow.RolledBack {
				t.Errorf("%s %q:\n%s", r.Status, r.Error, show(r))
			}
		})

		t.Run("continue goes on with the others, skips what stands behind, and fails", func(t *testing.T) {
			e, _ := lead(t, db, one(map[string]workflow.Action{"ok": {}, "bad": {Do: func(context.Context, workflow.Call) (workflow.Outcome, error) {
				return workflow.Outcome{}, workflow.Permanent(boom)
			}}}), workflow.Options{})
			s := job("on", step("a1", "a", 0, 0, "bad"), step("a2", "a", 0, 1, "ok"), step("a3", "a", 0, 2, "ok"),
				step("b1", "b", 0, 0, "ok"), step("c1", "c", 1, 0, "ok"))
			s.OnFailure = workflow.OnFailureContinue
			create(t, db, s)
			r := until(t, e, "on", over)
			if r.Status != workflow.Failed || r.Error != "step a1: boom" {
				t.Errorf("%s %q", r.Status, r.Error)
			}
			got := []string{status(r, "a1"), status(r, "a2"), status(r, "a3"), status(r, "b1"), status(r, "c1")}
			if want := []string{workflow.Failed, workflow.Skipped, workflow.Skipped, workflow.Succeeded, workflow.Succeeded}; !slices.Equal(got, want) {
				t.Errorf("the steps are %v", got)
			}
		})

		t.Run("panics, timeouts, unknown actions and strange results are failures with a reason", func(t *testing.T) {
			e, _ := lead(t, db, one(map[string]workflow.Action{
				"panic": {Do: func(context.Context, workflow.Call) (workflow.Outcome, error) { panic("oh") }},
				"slow": {Do: func(ctx context.Context, _ workflow.Call) (workflow.Outcome, error) {
					<-ctx.Done()
					return workflow.Outcome{}, ctx.Err()
				}},
				"odd": {Do: func(context.Context, workflow.Call) (workflow.Outcome, error) {
					return workflow.Outcome{Message: "a\x00b\xff" + strings.Repeat("x", 10000), Result: func() {}}, nil
				}},
			}), workflow.Options{})
			slow := step("slow", "b", 0, 0, "slow")
			slow.Timeout, slow.MaxAttempts = 20*time.Millisecond, 2
			s := job("odd", step("panic", "a", 0, 0, "panic"), slow, step("none", "c", 0, 0, "none"), step("odd", "d", 0, 0, "odd"))
			s.OnFailure = workflow.OnFailureContinue
			create(t, db, s)
			r := until(t, e, "odd", over)
			for i, want := range []string{"panicked: oh", "did not end within 20ms", "no action none"} {
				if s := r.Steps[i]; s.Status != workflow.Failed || !strings.Contains(s.Error, want) {
					t.Errorf("step %s is %s: %q", s.ID, s.Status, s.Error)
				}
			}
			if r.Steps[1].Attempts != 2 {
				t.Errorf("the slow step was tried %d times", r.Steps[1].Attempts)
			}
			if s := r.Steps[3]; s.Status != workflow.Succeeded || len(s.Message) > workflow.MaxText || s.Result != nil {
				t.Errorf("the odd step is %s with %d bytes of message", s.Status, len(s.Message))
			}
		})

		t.Run("a checkpoint that cannot be committed fails its own step only", func(t *testing.T) {
			refuse := func(context.Context, *database.Tx, workflow.Call, workflow.Outcome) error {
				return errors.New("constraint")
			}
			e, _ := lead(t, db, one(map[string]workflow.Action{
				"good": {Commit: func(ctx context.Context, tx *database.Tx, c workflow.Call, _ workflow.Outcome) error { return nil }},
				"bad":  {Commit: refuse},
				"sql": {Commit: func(ctx context.Context, tx *database.Tx, _ workflow.Call, _ workflow.Outcome) error {
					_, err := tx.Exec(ctx, "insert into no_such_table values (1)")
					return err
				}},
				"late": {Commit: func(_ context.Context, tx *database.Tx, _ workflow.Call, _ workflow.Outcome) error {
					tx.Attach(lateKey{}, func() database.Flusher { return late{} })
					return nil
				}},
			}), workflow.Options{})
			var steps []workflow.StepSpec
			for i := range 30 {
				action := "good"
				if i%10 == 3 {
					action = []string{"bad", "sql", "late"}[i/10]
				}
				steps = append(steps, step(fmt.Sprintf("s%02d", i), fmt.Sprint(i), 0, 0, action))
			}
			s := job("poison", steps...)
			s.OnFailure = workflow.OnFailureContinue
			create(t, db, s)
			r := until(t, e, "poison", over)
			for i, s := range r.Steps {
				want := workflow.Succeeded
				if i%10 == 3 {
					want = workflow.Failed
				}
				if s.Status != want {
					t.Errorf("step %s is %s: %s", s.ID, s.Status, s.Error)
				}
			}
			if s := r.Steps[3]; s.Attempts != workflow.DefaultMaxAttempts || !strings.Contains(s.Error, "could not be recorded: constraint") {
				t.Errorf("step %s after %d attempts: %q", s.ID, s.Attempts, s.Error)
			}
		})
	})
}

func TestControl(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		t.Run("pause lets running steps end, resume goes on", func(t *testing.T) {
			var j journal
			begun, gate := make(chan struct{}), make(chan struct{})
			e, _ := lead(t, db, one(map[string]workflow.Action{"hold": {Do: func(_ context.Context, c workflow.Call) (workflow.Outcome, error) {
				j.add("%s", c.Step.ID)
				if c.Step.ID == "a" {
					close(begun)
					<-gate
				}
				return workflow.Outcome{}, nil
			}}}), workflow.Options{})
			create(t, db, job("hold", step("a", "x", 0, 0, "hold"), step("b", "x", 0, 1, "hold")))
			<-begun
			if err := control(t, db, "hold", workflow.Pause); err != nil {
				t.Fatal(err)
			}
			close(gate)
			r := until(t, e, "hold", func(r workflow.Run) bool { return status(r, "a") == workflow.Succeeded })
			if r.Status != workflow.Paused || status(r, "b") != workflow.Pending {
				t.Fatalf("%s:\n%s", r.Status, show(r))
			}
			if err := control(t, db, "hold", workflow.Resume); err != nil {
				t.Fatal(err)
			}
			if r := until(t, e, "hold", over); r.Status != workflow.Succeeded || !slices.Equal(j.all(), []string{"a", "b"}) {
				t.Errorf("%s, called %v", r.Status, j.all())
			}
		})

		t.Run("abort lets running steps end, and begins none", func(t *testing.T) {
			begun, gate := make(chan struct{}), make(chan struct{})
			e, _ := lead(t, db, one(map[string]workflow.Action{"hold": {Do: func(_ context.Context, c workflow.Call) (workflow.Outcome, error) {
				close(begun)
				<-gate
				return workflow.Outcome{}, nil
			}}}), workflow.Options{})
			create(t, db, job("abort", step("a", "x", 0, 0, "hold"), step("b", "x", 0, 1, "hold")))
			<-begun
			if err := control(t, db, "abort", workflow.Abort); err != nil {
				t.Fatal(err)
			}
			if r := get(t, db, "abort"); r.Status != workflow.Running || !r.Aborting() {
				t.Errorf("it is %s", r.Status)
			}
			for _, fn := range []func(context.Context, *database.Tx, string) error{workflow.Abort, workflow.Pause} {
				if err := control(t, db, "abort", fn); !omni.Is(err, omni.CodeRefused) || !strings.Contains(err.Error(), "being aborted") {
					t.Errorf("while it is being aborted: %v", err)
				}
			}
			close(gate)
			r := until(t, e, "abort", over)
			if r.Status != workflow.Aborted || status(r, "a") != workflow.Succeeded || status(r, "b") != workflow.Pending {
				t.Errorf("%s:\n%s", r.Status, show(r))
			}
		})

		t.Run("a run that awaits approval does nothing until it is approved or aborted", func(t *testing.T) {
			e, _ := lead(t, db, one(map[string]workflow.Action{"ok": {}}), workflow.Options{})
			for _, id := range []string{"yes", "no"} {
				s := job(id, step("a", "x", 0, 0, "ok"))
				s.AwaitApproval = true
				create(t, db, s)
			}
			if r := get(t, db, "yes"); r.Status != workflow.AwaitingApproval || !r.StartedAt.IsZero() {
				t.Errorf("it is %+v", r)
			}
			if err := control(t, db, "no", workflow.Abort); err != nil {
				t.Fatal(err)
			}
			if err := control(t, db, "yes", workflow.Approve); err != nil {
				t.Fatal(err)
			}
			if r := until(t, e, "yes", over); r.Status != workflow.Succeeded || r.StartedAt.IsZero() {
				t.Errorf("it is %s", r.Status)
			}
			if r := get(t, db, "no"); r.Status != workflow.Aborted || r.FinishedAt.IsZero() || status(r, "a") != workflow.Pending {
				t.Errorf("it is %s", r.Status)
			}
		})

		t.Run("decisions that do not fit the state are refused by name", func(t *testing.T) {
			s := job("wait", step("a", "x", 0, 0, "ok"))
			s.AwaitApproval = true
			create(t, db, s)
			for want, fn := range map[string]func(context.Context, *database.Tx, string) error{"paused": workflow.Pause, "resumed": workflow.Resume} {
				err := control(t, db, "wait", fn)
				if !omni.Is(err, omni.CodeRefused) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "awaiting approval") {
					t.Errorf("%s: %v", want, err)
				}
			}
			if err := control(t, db, "nobody", workflow.Pause); !omni.Is(err, omni.CodeNotFound) {
				t.Errorf("a run that is not there: %v", err)
			}
			err := db.Write(t.Context(), database.Tenant("other"), func(ctx context.Context, tx *database.Tx) error {
				return workflow.Abort(ctx, tx, "wait")
			})
			if !omni.Is(err, omni.CodeNotFound) {
				t.Errorf("another tenant's run: %v", err)
			}
			_ = control(t, db, "wait", workflow.Abort)
			if err := control(t, db, "wait", workflow.Abort); !omni.Is(err, omni.CodeRefused) || !strings.Contains(err.Error(), "it is aborted") {
				t.Errorf("abort of an ended run: %v", err)
			}
		})
	})
}

func TestCreate(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		t.Run("one alive run a key", func(t *testing.T) {
			first := job("first")
			first.Key, first.AwaitApproval = "failover/acme", true
			create(t, db, first)
			second := first
			second.ID = "second"
			err := db.Write(t.Context(), database.Tenant("acme"), func(ctx context.Context, tx *database.Tx) error {
				return workflow.Create(ctx, tx, second)
			})
			if !omni.Is(err, omni.CodeConflict) || !strings.Contains(err.Error(), "first") || !strings.Contains(err.Error(), "awaiting approval") {
				t.Fatalf("got %v", err)
			}
			if err := control(t, db, "first", workflow.Abort); err != nil {
				t.Fatal(err)
			}
			create(t, db, second)
		})

		t.Run("of many at once exactly one wins", func(t *testing.T) {
			var won, lost sync.Map
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					s := job(fmt.Sprintf("race%d", i), step("a", "x", 0, 0, "ok"))
					s.Key = "failover/race"
					err := db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error { return workflow.Create(ctx, tx, s) })
					switch {
					case err == nil:
						won.Store(i, true)
					case omni.Is(err, omni.CodeConflict):
						lost.Store(i, true)
					default:
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if n, m := size(&won), size(&lost); n != 1 || m != 19 {
				t.Errorf("%d won, %d lost", n, m)
			}
		})

		t.Run("what is wrong is named", func(t *testing.T) {
			for path, spoil := range map[string]func(*workflow.Spec){
				"id":                    func(s *workflow.Spec) { s.ID = "" },
				"key":                   func(s *workflow.Spec) { s.Key = strings.Repeat("k", 300) },
				"on_failure":            func(s *workflow.Spec) { s.OnFailure = "explode" },
				"parallel":              func(s *workflow.Spec) { s.Parallel = -1 },
				"input":                 func(s *workflow.Spec) { s.Input = json.RawMessage("{") },
				"steps":                 func(s *workflow.Spec) { s.Steps = make([]workflow.StepSpec, workflow.MaxSteps+1) },
				"steps[1].id":           func(s *workflow.Spec) { s.Steps[1].ID = "a" },
				"steps[0].action":       func(s *workflow.Spec) { s.Steps[0].Action = "" },
				"steps[0].max_attempts": func(s *workflow.Spec) { s.Steps[0].MaxAttempts = 1000 },
				"steps[0].timeout":      func(s *workflow.Spec) { s.Steps[0].Timeout = time.Microsecond },
			} {
				s := job("wrong", step("a", "x", 0, 0, "ok"), step("b", "x", 0, 0, "ok"))
				spoil(&s)
				err := db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error { return workflow.Create(ctx, tx, s) })
				var known *omni.Error
				if !errors.As(err, &known) || known.Code != omni.CodeInvalid || len(known.Fields) == 0 || known.Fields[0].Path != path {
					t.Errorf("%s: %v", path, err)
				}
			}
			err := db.Write(t.Context(), database.Tenant("other"), func(ctx context.Context, tx *database.Tx) error {
				return workflow.Create(ctx, tx, job("foreign"))
			})
			if !omni.Is(err, omni.CodeForbidden) {
				t.Errorf("a run for another tenant: %v", err)
			}
		})

		t.Run("lists are paged, filtered, and only what the scope sees", func(t *testing.T) {
			for i := range 5 {
				s := job(fmt.Sprintf("list%d", i))
				s.Tenant = []string{"red", "blue"}[i%2]
				create(t, db, s)
			}
			list := func(scope database.Scope, f workflow.Filter, p omni.PageRequest) (ids []string, next string) {
				err := db.Read(t.Context(), scope, func(ctx context.Context, tx *database.Tx) error {
					page, err := workflow.List(ctx, tx, f, p)
					for _, r := range page.Items {
						ids = append(ids, r.ID)
					}
					next = page.Next
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				return ids, next
			}
			if ids, next := list(database.Tenant("red"), workflow.Filter{}, omni.PageRequest{Limit: 2}); !slices.Equal(ids, []string{"list4", "list2"}) || next != "list2" {
				t.Errorf("first page %v, next %q", ids, next)
			}
			if ids, next := list(database.Tenant("red"), workflow.Filter{}, omni.PageRequest{Limit: 2, After: "list2"}); !slices.Equal(ids, []string{"list0"}) || next != "" {
				t.Errorf("second page %v, next %q", ids, next)
			}
			if ids, _ := list(database.Platform(), workflow.Filter{Tenant: "blue", Alive: true, Kind: "job", Status: workflow.Running}, omni.PageRequest{}); !slices.Equal(ids, []string{"list3", "list1"}) {
				t.Errorf("blue's %v", ids)
			}
			if ids, _ := list(database.Tenant("red"), workflow.Filter{Tenant: "blue"}, omni.PageRequest{}); len(ids) != 0 {
				t.Errorf("red sees blue's %v", ids)
			}
		})
	})
}

func size(m *sync.Map) (n int) {
	m.Range(func(any, any) bool { n++; return true })
	return n
}
