package workflow_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
)

func TestBackoff(t *testing.T) {
	databasetest.Open(t, database.Infra) // makes the template outside of the bubble
	synctest.Test(t, func(t *testing.T) {
		db := databasetest.OpenAt(t, database.Infra, time.Now)
		var mu sync.Mutex
		var calls []time.Time
		kinds := one(map[string]workflow.Action{"flaky": {Do: func(_ context.Context, c workflow.Call) (workflow.Outcome, error) {
			mu.Lock()
			defer mu.Unlock()
			calls = append(calls, time.Now())
			if c.Attempt < 9 {
				return workflow.Outcome{}, errors.New("not yet")
			}
			return workflow.Outcome{}, nil
		}}})
		count := func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(calls)
		}
		opts := workflow.Options{Backoff: workflow.Backoff{
			Base: 200 * time.Millisecond, Max: 10 * time.Second, Random: func() float64 { return 0.5 },
		}}
		_, stop := lead(t, db, kinds, opts)
		s := job("patient", step("a", "x", 0, 0, "flaky"))
		s.Steps[0].MaxAttempts = 9
		create(t, db, s)
		for count() < 4 {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond) // into the wait for the fifth attempt, which another engine then keeps
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		e, _ := lead(t, db, kinds, opts)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if r, err := e.Wait(ctx, database.Platform(), "patient", nil); err != nil || r.Status != workflow.Succeeded {
			t.Fatalf("%s: %v", r.Status, err)
		}
		var waits []time.Duration
		for i := 1; i < len(calls); i++ {
			waits = append(waits, calls[i].Sub(calls[i-1]).Round(time.Millisecond))
		}
		// Three quarters of 200 ms, doubled each time, at most of 10 s.
		ms := time.Millisecond
		want := []time.Duration{150 * ms, 300 * ms, 600 * ms, 1200 * ms, 2400 * ms, 4800 * ms, 7500 * ms, 7500 * ms}
		if !slices.Equal(waits, want) {
			t.Errorf("waited %v, want %v", waits, want)
		}
	})
}

func TestLeadership(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		t.Run("its end ends the actions, whose outcome the next leader finds out", func(t *testing.T) {
			begun := make(chan struct{})
			_, stop := lead(t, db, one(map[string]workflow.Action{"hang": {Do: func(ctx context.Context, _ workflow.Call) (workflow.Outcome, error) {
				close(begun)
				<-ctx.Done()
				return workflow.Outcome{}, nil // it did it after all: nobody may believe it
			}}}), workflow.Options{})
			create(t, db, job("handover", step("a", "x", 0, 0, "hang")))
			<-begun
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			if r := get(t, db, "handover"); status(r, "a") != workflow.Running || r.Status != workflow.Running {
				t.Fatalf("left as %s:\n%s", r.Status, show(r))
			}
			var j journal
			e, _ := lead(t, db, one(map[string]workflow.Action{"hang": {Do: func(_ context.Context, c workflow.Call) (workflow.Outcome, error) {
				j.add("attempt %d repeat=%v", c.Attempt, c.Repeat)
				return workflow.Outcome{}, nil
			}}}), workflow.Options{})
			if r := until(t, e, "handover", over); r.Status != workflow.Succeeded || !slices.Equal(j.all(), []string{"attempt 1 repeat=true"}) {
				t.Errorf("%s, %q", r.Status, j.all())
			}
		})

		t.Run("an engine whose epoch is over commits nothing more, and says so", func(t *testing.T) {
			begun, gate := make(chan struct{}), make(chan struct{})
			hold := one(map[string]workflow.Action{"hold": {Do: func(context.Context, workflow.Call) (workflow.Outcome, error) {
				close(begun)
				<-gate
				return workflow.Outcome{Message: "from the past"}, nil
			}}})
			e := workflow.NewEngine(db, hold, workflow.Options{})
			n := take(t, db)
			ended := make(chan error, 1)
			go func() { ended <- e.Lead(context.WithoutCancel(t.Context()), n) }()
			create(t, db, job("fenced", step("a", "x", 0, 0, "hold")))
			<-begun
			take(t, db)
			close(gate)
			if err := <-ended; !omni.Is(err, omni.CodeStale) {
				t.Errorf("it ended with %v", err)
			}
			if r := get(t, db, "fenced"); status(r, "a") != workflow.Running || r.Steps[0].Message != "" {
				t.Errorf("the step is now:\n%s", show(r))
			}
		})

		t.Run("a run that was paused or aborted around a crash brings its step to an end, and begins no other", func(t *testing.T) {
			for _, decision := range []string{"pause", "abort"} {
				begun := make(chan struct{})
				_, stop := lead(t, db, one(map[string]workflow.Action{"do": {Do: func(ctx context.Context, _ workflow.Call) (workflow.Outcome, error) {
					close(begun)
					<-ctx.Done()
					return workflow.Outcome{}, ctx.Err()
				}}}), workflow.Options{})
				create(t, db, job(decision, step("a", "x", 0, 0, "do"), step("b", "x", 0, 1, "do")))
				<-begun
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				fn, want := workflow.Pause, workflow.Paused
				if decision == "abort" {
					fn, want = workflow.Abort, workflow.Aborted
				}
				if err := control(t, db, decision, fn); err != nil {
					t.Fatal(err)
				}
				e, end := lead(t, db, one(map[string]workflow.Action{"do": {}}), workflow.Options{})
				r := until(t, e, decision, func(r workflow.Run) bool { return r.Status == want && status(r, "a") == workflow.Succeeded })
				if r.Status != want || status(r, "a") != workflow.Succeeded || status(r, "b") != workflow.Pending {
					t.Errorf("%s:\n%s", r.Status, show(r))
				}
				if err := end(); err != nil {
					t.Fatal(err)
				}
			}
		})

		t.Run("many runs at once, none starved by a large one", func(t *testing.T) {
			var busy, most int
			var mu sync.Mutex
			kinds := one(map[string]workflow.Action{"count": {Do: func(context.Context, workflow.Call) (workflow.Outcome, error) {
				mu.Lock()
				busy++
				most = max(most, busy)
				mu.Unlock()
				defer func() { mu.Lock(); busy--; mu.Unlock() }()
				return workflow.Outcome{}, nil
			}}})
			e, _ := lead(t, db, kinds, workflow.Options{Parallel: 8})
			large := job("large")
			for i := range 400 {
				large.Steps = append(large.Steps, step(string(rune('a'+i%26))+time.Duration(i).String(), time.Duration(i).String(), 0, 0, "count"))
			}
			create(t, db, large)
			for _, id := range []string{"small1", "small2", "small3"} {
				create(t, db, job(id, step("a", "x", 0, 0, "count"), step("b", "x", 0, 1, "count")))
			}
			for _, id := range []string{"small1", "small2", "small3"} {
				until(t, e, id, over)
			}
			if r := get(t, db, "large"); r.Status != workflow.Running {
				t.Logf("the large run was as fast as the small ones") // on a slow machine; nothing is wrong with it
			}
			if r := until(t, e, "large", over); r.Status != workflow.Succeeded {
				t.Errorf("large: %s", r.Status)
			}
			if most > 8 {
				t.Errorf("%d steps at once, 8 allowed", most)
			}
		})
	})
}

func TestAClockAheadOfOurs(t *testing.T) {
	db := databasetest.Open(t, database.Infra)
	create(t, db, job("ahead", step("a", "a", 0, 0, "nothing")))
	write(t, db, func(ctx context.Context, tx *database.Tx) error { // as a leader left it whose clock was an hour ahead
		_, err := tx.Exec(ctx, `update workflow_steps set not_before = $1`, database.Time(tx.Now().Add(time.Hour)))
		return err
	})
	e, _ := lead(t, db, one(map[string]workflow.Action{"nothing": {}}), workflow.Options{})
	if r := until(t, e, "ahead", over); r.Status != workflow.Succeeded {
		t.Errorf("it is %s\n%s", r.Status, show(r))
	}
}
