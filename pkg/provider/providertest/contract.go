package providertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/provider"
)

// Quirk is how a target of the test behaves.
type Quirk string

// The quirks. All but Obedient and the two Unsupported ones may be something that a driver's targets cannot have.
const (
	Obedient    Quirk = "obedient"    // does all that it is told, once for each (run, step), and refuses older epochs
	Unsupported Quirk = "unsupported" // knows no fence
	Fails       Quirk = "fails"       // fails every action and check, and says Complaint on its last line
	Hangs       Quirk = "hangs"       // never answers; its config has a timeout of about HangTimeout
	Floods      Quirk = "floods"      // prints megabytes, and then fails saying Complaint
	Nonsense    Quirk = "nonsense"    // answers check with something that is no state
)

// Complaint is the last line of what a target says when it fails.
const Complaint = "the disk is on fire"

// HangTimeout is the timeout that the config of a hanging target gives.
const HangTimeout = 300 * time.Millisecond

// Subject is a driver under test with its targets.
type Subject struct {
	Driver provider.Driver
	// Target makes a new target with a quirk, in the role standby and healthy; ok is false when the driver's targets cannot have it.
	Target func(t *testing.T, q Quirk) (target provider.Target, ok bool)
	// Effects lists what a target has done so far, in order, each as "action run/step epoch".
	Effects func(t *testing.T, target provider.Target) []string
	// BadConfigs are configs that Validate must refuse, by the path that it must name.
	BadConfigs map[string]map[string]any
}

// Run runs the contract against a driver.
func Run(t *testing.T, make func(t *testing.T) Subject) {
	t.Helper()
	s := make(t)
	t.Run("a promoted target is active and healthy", s.promoted)
	t.Run("each action has its effect and its role", s.roles)
	t.Run("an action is repeated without a second effect", s.repeated)
	t.Run("a lower epoch is refused without effect", s.stale)
	t.Run("what is not supported says so", s.unsupported)
	t.Run("a failure says why", s.complains(Fails))
	t.Run("a flood is bounded and its end is kept", s.complains(Floods))
	t.Run("a target that hangs is given up at the timeout", s.hangs)
	t.Run("a call ends with its context", s.cancelled)
	t.Run("nonsense is named as such", s.nonsense)
	t.Run("many targets at once do not disturb each other", s.crowd)
	t.Run("a wrong config is refused by its path", s.configs)
}

func (s Subject) target(t *testing.T, q Quirk) provider.Target {
	t.Helper()
	target, ok := s.Target(t, q)
	if !ok {
		t.Skipf("a target of this driver cannot be of the kind %q", q)
	}
	if faults := s.Driver.Validate(target.Config); len(faults) > 0 {
		t.Fatalf("the config of a valid target is refused: %+v", faults)
	}
	return target
}

func call(target provider.Target, action provider.Action, step string, epoch int64) provider.Call {
	return provider.Call{Target: target, Action: action, Role: provider.RoleAfter(action), Run: "run_1", Step: step, Epoch: epoch}
}

func (s Subject) do(t *testing.T, target provider.Target, action provider.Action, step string, epoch int64) {
	t.Helper()
	if err := s.Driver.Do(t.Context(), call(target, action, step, epoch)); err != nil {
		t.Fatalf("%s %s: %v", action, step, err)
	}
}

func (s Subject) shows(t *testing.T, target provider.Target) provider.State {
	t.Helper()
	state, err := s.Driver.Check(t.Context(), provider.Call{Target: target, Action: provider.Check})
	if err != nil {
		t.Fatalf("check: %v", err)
	}
	return state
}

func (s Subject) expectEffects(t *testing.T, target provider.Target, want ...string) {
	t.Helper()
	if got := s.Effects(t, target); !slices.Equal(got, want) {
		t.Errorf("effects = %q, want %q", got, want)
	}
}

func (s Subject) promoted(t *testing.T) {
	target := s.target(t, Obedient)
	if state := s.shows(t, target); state.Role != provider.RoleStandby || !state.Healthy {
		t.Errorf("before: %+v, want a healthy standby", state)
	}
	s.do(t, target, provider.Promote, "s1", 1)
	if state := s.shows(t, target); state.Role != provider.RoleActive || !state.Healthy {
		t.Errorf("after: %+v, want a healthy active", state)
	}
}

func (s Subject) roles(t *testing.T) {
	target := s.target(t, Obedient)
	var want []string
	for i, action := range []provider.Action{provider.Promote, provider.Demote, provider.Fence, provider.Stop} {
		step := fmt.Sprintf("s%d", i)
		s.do(t, target, action, step, 3)
		want = append(want, fmt.Sprintf("%s run_1/%s 3", action, step))
		if got := s.shows(t, target).Role; got != provider.RoleAfter(action) {
			t.Errorf("after %s: role %q, want %q", action, got, provider.RoleAfter(action))
		}
	}
	s.do(t, target, provider.Start, "s9", 3)
	s.expectEffects(t, target, append(want, "start run_1/s9 3")...)
	if got := s.shows(t, target).Role; got == provider.RoleStopped {
		t.Error("after start it is still stopped")
	}
}

func (s Subject) repeated(t *testing.T) {
	target := s.target(t, Obedient)
	s.do(t, target, provider.Promote, "s1", 1)
	s.do(t, target, provider.Promote, "s1", 1)
	s.do(t, target, provider.Promote, "s1", 2) // the next leader repeats what the last one may have done
	s.expectEffects(t, target, "promote run_1/s1 1")
	s.do(t, target, provider.Demote, "s2", 2)
	s.expectEffects(t, target, "promote run_1/s1 1", "demote run_1/s2 2")
}

func (s Subject) stale(t *testing.T) {
	target := s.target(t, Obedient)
	s.do(t, target, provider.Promote, "s1", 7)
	for _, action := range provider.Actions() {
		if err := s.Driver.Do(t.Context(), call(target, action, "s2", 6)); !errors.Is(err, provider.ErrStaleEpoch) {
			t.Errorf("%s with a lower epoch: %v, want ErrStaleEpoch", action, err)
		}
	}
	s.expectEffects(t, target, "promote run_1/s1 7")
	if got := s.shows(t, target).Role; got != provider.RoleActive {
		t.Errorf("role %q, want active as before", got)
	}
}

func (s Subject) unsupported(t *testing.T) {
	target := s.target(t, Unsupported)
	if err := s.Driver.Do(t.Context(), call(target, provider.Fence, "s1", 1)); !errors.Is(err, provider.ErrNotSupported) {
		t.Errorf("fence: %v, want ErrNotSupported", err)
	}
	s.do(t, target, provider.Promote, "s2", 1)
}

func (s Subject) complains(q Quirk) func(t *testing.T) {
	return func(t *testing.T) {
		target := s.target(t, q)
		_, checkErr := s.Driver.Check(t.Context(), call(target, provider.Check, "s1", 1))
		for what, err := range map[string]error{"check": checkErr, "promote": s.Driver.Do(t.Context(), call(target, provider.Promote, "s2", 1))} {
			expectFailure(t, what, err)
			if err != nil && !strings.Contains(err.Error(), Complaint) {
				t.Errorf("%s: %v\nwant it to say %q", what, provider.Shorten(err.Error(), 500), Complaint)
			}
			if err != nil && len(err.Error()) > provider.MaxText+512 {
				t.Errorf("%s: the error is %d bytes long", what, len(err.Error()))
			}
		}
	}
}

// expectFailure checks that err is a failure, and not one of the two answers that are none.
func expectFailure(t *testing.T, what string, err error) {
	t.Helper()
	if errors.Is(err, provider.ErrNotSupported) || errors.Is(err, provider.ErrStaleEpoch) {
		t.Errorf("%s: %v, want a failure", what, err)
		return
	}
	var known *omni.Error
	if !errors.As(err, &known) || (known.Code != omni.CodeUnavailable && known.Code != omni.CodeInternal) {
		t.Errorf("%s: %v (%T), want an *omni.Error with CodeUnavailable or CodeInternal", what, err, err)
	}
}

// patience is how much longer than its limit a call may take on a loaded machine.
const patience = 10 * time.Second

func (s Subject) hangs(t *testing.T) {
	target := s.target(t, Hangs)
	start := time.Now()
	err := s.Driver.Do(t.Context(), call(target, provider.Promote, "s1", 1))
	took := time.Since(start)
	expectFailure(t, "promote", err)
	if took < HangTimeout || took > HangTimeout+patience {
		t.Errorf("gave up after %s, want about %s", took, HangTimeout)
	}
	if err != nil && !strings.Contains(err.Error(), omni.Duration(HangTimeout).String()) {
		t.Errorf("%v\nwant the timeout in it", err)
	}
}

func (s Subject) cancelled(t *testing.T) {
	target := s.target(t, Hangs)
	target.Config["timeout"] = "5m"
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := s.Driver.Do(ctx, call(target, provider.Promote, "s1", 1))
	expectFailure(t, "promote", err)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the context's error as its cause", err)
	}
	if took := time.Since(start); took > patience {
		t.Errorf("ended after %s", took)
	}
}

func (s Subject) nonsense(t *testing.T) {
	target := s.target(t, Nonsense)
	_, err := s.Driver.Check(t.Context(), call(target, provider.Check, "s1", 1))
	if !omni.Is(err, omni.CodeInternal) {
		t.Errorf("%v, want CodeInternal", err)
	}
}

func (s Subject) crowd(t *testing.T) {
	const many = 40
	targets := make([]provider.Target, many)
	results := make(chan error, many)
	for i := range targets {
		targets[i] = s.target(t, Obedient)
	}
	for _, target := range targets {
		go func() { results <- s.Driver.Do(t.Context(), call(target, provider.Promote, "s1", 1)) }()
	}
	for range targets {
		if err := <-results; err != nil {
			t.Errorf("promote: %v", err)
		}
	}
	for _, target := range targets {
		s.expectEffects(t, target, "promote run_1/s1 1")
	}
}

func (s Subject) configs(t *testing.T) {
	for path, config := range s.BadConfigs {
		faults := s.Driver.Validate(config)
		if !slices.ContainsFunc(faults, func(f omni.FieldError) bool { return f.Path == path && f.Message != "" }) {
			t.Errorf("config %v: %+v, want a fault at %q", config, faults, path)
		}
		target := provider.Target{Tenant: "acme", Resource: "db", Region: "east", Config: config}
		if err := s.Driver.Do(t.Context(), call(target, provider.Promote, "s1", 1)); !omni.Is(err, omni.CodeInvalid) {
			t.Errorf("config %v: a call gives %v, want CodeInvalid", config, err)
		}
	}
	if faults := s.Driver.Validate(map[string]any{"colour": "red"}); !slices.ContainsFunc(faults, func(f omni.FieldError) bool { return f.Path == "colour" }) {
		t.Errorf("an unknown field: %+v, want it named", faults)
	}
}
