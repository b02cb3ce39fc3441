package shop

import (
	"errors"
	"fmt"
	"slices"
)

// Role is what a process is.
type Role string

// The roles. A process that does not run is Stopped unless it was fenced.
const (
	Active  Role = "active"
	Standby Role = "standby"
	Fenced  Role = "fenced"
	Stopped Role = "stopped"
)

// The actions of the exec driver that change something.
const (
	actionCheck   = "check"
	actionPromote = "promote"
	actionDemote  = "demote"
	actionFence   = "fence"
	actionStart   = "start"
	actionStop    = "stop"
)

// roleAfter is what an action makes of a process; start and stop leave its role.
func roleAfter(action string, now Role) Role {
	switch action {
	case actionPromote:
		return Active
	case actionDemote:
		return Standby
	case actionFence:
		return Fenced
	}
	return now
}

// errStaleEpoch says that a newer leader has been here.
var errStaleEpoch = errors.New("stale epoch")

// errRefused says that an action would harm.
var errRefused = errors.New("refused")

// state is what a process must not forget.
type state struct {
	Role  Role   `json:"role"`
	Epoch int64  `json:"epoch"`          // the highest that was seen
	Term  int64  `json:"term,omitempty"` // of a database: the term that it began, or is about to begin
	Done  []done `json:"done,omitempty"` // the last actions, oldest first
}

// done names a piece of work that has had its effect.
type done struct {
	Action string `json:"action"`
	Run    string `json:"run"`
	Step   string `json:"step"`
}

// Bounds of a state.
const (
	maxDone  = 64
	maxWord  = 256 // bytes of a run or a step
	maxState = 64 << 10
)

// request is one action on one process.
type request struct {
	Action string `json:"action"`
	Run    string `json:"run,omitempty"`
	Step   string `json:"step,omitempty"`
	Epoch  int64  `json:"epoch"`
}

func (r request) check() error {
	if len(r.Run) > maxWord || len(r.Step) > maxWord {
		return fmt.Errorf("the run and the step may have at most %d bytes", maxWord)
	}
	if r.Epoch < 0 {
		return errors.New("the epoch must not be negative")
	}
	return nil
}

// next is the state after a request, and whether the request has had its effect before. The old state is left as it is.
func (s state) next(r request) (state, bool, error) {
	if err := r.check(); err != nil {
		return s, false, err
	}
	if r.Epoch < s.Epoch {
		return s, false, fmt.Errorf("%w: epoch %d was sent, but %d has been seen", errStaleEpoch, r.Epoch, s.Epoch)
	}
	n := s
	n.Epoch = r.Epoch
	work := done{Action: r.Action, Run: r.Run, Step: r.Step}
	named := r.Run != "" && r.Step != ""
	if named && slices.Contains(s.Done, work) {
		return n, true, nil
	}
	n.Role = roleAfter(r.Action, s.Role)
	if named {
		n.Done = append(slices.Clone(s.Done), work)
		n.Done = n.Done[max(0, len(n.Done)-maxDone):]
	}
	return n, false, nil
}
