package failover

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/failover"
)

func sample() failover.Run {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	step := began.Add(100 * time.Millisecond)
	return failover.Run{
		ID: "run_1", Tenant: "acme", Kind: failover.KindFailover, From: "us-east-1", To: "eu-west-1", Status: failover.Running, InitiatedAt: began,
		Steps: []failover.Step{
			{ID: "1.guard", Action: failover.ActionGuard, Level: 1, Status: failover.StepSucceeded, DurationMS: new(int64(12))},
			{ID: "1.db.fence", Resource: "db", Action: failover.ActionFence, Level: 1, Status: failover.StepFailed, Attempts: 3, Error: "no route", DurationMS: new(int64(1500))},
			{ID: "1.db.promote", Resource: "db", Action: failover.ActionPromote, Level: 1, Status: failover.StepRunning, StartedAt: &step},
			{ID: "2.app.fence", Resource: "app", Action: failover.ActionFence, Level: 2, Status: failover.StepSkipped},
			{ID: "3.dns", Action: failover.ActionDNS, Level: 3, Status: failover.StepPending},
		},
	}
}

func TestARunIsDrawnLevelByLevel(t *testing.T) {
	run := sample()
	got := render(run, run.InitiatedAt.Add(2*time.Second), 0, newLook(false))
	want := strings.Join([]string{
		"failover acme: us-east-1 → eu-west-1  running  2.0s",
		"  level 1",
		"    (all)                 ✓ guard 12ms",
		"    db                    ✗ fence 1.5s (attempt 3)  ⠋ promote 1.9s",
		"                          fence: no route",
		"  level 2",
		"    app                   – fence",
		"  level 3",
		"    (all)                 · dns",
		"",
	}, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestManyResourcesAreCountedAndTroubleIsAlwaysShown(t *testing.T) {
	run := sample()
	run.Steps = nil
	for i := range 100 {
		status := failover.StepSucceeded
		if i == 99 {
			status = failover.StepFailed
		}
		run.Steps = append(run.Steps, failover.Step{Resource: fmt.Sprintf("r%02d", i), Action: failover.ActionFence, Level: 1, Status: status})
	}
	got := render(run, run.InitiatedAt, 0, newLook(false))
	if lines := strings.Count(got, "\n"); lines > maxLanes+5 {
		t.Errorf("it takes %d lines", lines)
	}
	if !strings.Contains(got, "r99") || !strings.Contains(got, "… and 87 more") {
		t.Errorf("got\n%s", got)
	}
}

func TestPlainOutputSaysEachChangeOnce(t *testing.T) {
	seen := map[string]failover.StepStatus{}
	run := sample()
	if got := changes(seen, run); len(got) != 4 {
		t.Errorf("the first look says %q", got)
	}
	if got := changes(seen, run); len(got) != 0 {
		t.Errorf("a second look says %q again", got)
	}
	run.Steps[2].Status, run.Steps[2].DurationMS = failover.StepSucceeded, new(int64(2000))
	if got := changes(seen, run); !slices.Equal(got, []string{"level 1  db               promote  succeeded in 2.0s"}) {
		t.Errorf("got %q", got)
	}
}

func TestWhereARunRestsIsTheExitCode(t *testing.T) {
	for status, want := range map[failover.Status]int{
		failover.Succeeded: 0, failover.Failed: 1, failover.Aborted: 1, failover.Paused: 8, failover.AwaitingApproval: 8, failover.Running: 8, failover.RolledBack: 9,
	} {
		if got := console.ExitCode(outcome(failover.Run{ID: "run_1", Status: status})); got != want {
			t.Errorf("%s: exit %d, want %d", status, got, want)
		}
	}
}
