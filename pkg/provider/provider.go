package provider

import (
	"context"
	"errors"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Action is what a driver is asked to do to a placement.
type Action string

// The actions. Check only looks; the others change the placement.
const (
	Check   Action = "check"
	Promote Action = "promote"
	Demote  Action = "demote"
	Fence   Action = "fence"
	Start   Action = "start"
	Stop    Action = "stop"
)

// Actions lists what Driver.Do takes: every action but Check.
func Actions() []Action { return []Action{Promote, Demote, Fence, Start, Stop} }

// RoleAfter is the role that a target has once action is done, "" when the action does not say (start keeps the role that the target
// had before it stopped). It is what check must show for an action whose answer was lost to count as done.
func RoleAfter(action Action) string {
	switch action {
	case Promote:
		return RoleActive
	case Demote:
		return RoleStandby
	case Fence:
		return RoleFenced
	case Stop:
		return RoleStopped
	case Start, Check:
	}
	return ""
}

// The roles that a State may show. "" is unknown.
const (
	RoleActive  = "active"
	RoleStandby = "standby"
	RoleStopped = "stopped"
	RoleFenced  = "fenced"
)

// Target is one placement of one tenant's resource, as a driver needs to know it.
type Target struct {
	Tenant   string
	Resource string
	Type     string // database, app, loadbalancer, …
	Region   string
	Address  string // HOST or HOST:PORT, may be empty
	Driver   string
	Config   map[string]any // the placement's config, as Driver.Validate has accepted it
}

// Call is one request to a driver. Run and Step name the piece of work, and are the idempotency key; Epoch is the
// leader's and is the fencing token. All three are zero when nobody's run asks (a check to show health).
type Call struct {
	Target Target
	Action Action
	Role   string // the role that the caller wants the placement to have at the end
	Run    string
	Step   string
	Epoch  int64
}

// State is what a target says of itself. Fields that it does not know are left out: nil, or "".
type State struct {
	Role       string   `json:"role,omitempty"` // active, standby, stopped, fenced; "" when it does not say
	Healthy    bool     `json:"healthy"`
	LagSeconds *float64 `json:"lag_seconds,omitempty"` // how far its data is behind the active placement; 0 or more
	LagBytes   *int64   `json:"lag_bytes,omitempty"`
	Message    string   `json:"message,omitempty"` // for people, at most MaxText bytes
}

// Driver moves one kind of target. It is safe for concurrent use.
type Driver interface {
	// Validate says what is wrong with a placement's config; Path is relative to the config ("command", "env.HOME"). It does no I/O.
	Validate(config map[string]any) []omni.FieldError
	// Check asks the target how it is. A target that answers "not well" is a State, not an error. Errors are ErrNotSupported,
	// ErrStaleEpoch, or an *omni.Error: CodeUnavailable when the target did not answer or failed, CodeInternal when it answered nonsense,
	// CodeInvalid for a config that Validate refuses.
	Check(ctx context.Context, c Call) (State, error)
	// Do carries out c.Action and returns once it is done. Errors are as those of Check. After an error other than ErrNotSupported
	// and ErrStaleEpoch the effect is not known; Check tells.
	Do(ctx context.Context, c Call) error
}

// ErrNotSupported says that a target does not know the action: its step is skipped. Compare with errors.Is.
var ErrNotSupported = errors.New("the target does not support this action")

// ErrStaleEpoch says that the target has seen a newer leader: whoever called must stop. Compare with errors.Is.
var ErrStaleEpoch = errors.New("the target refused: it has seen a newer leader")
