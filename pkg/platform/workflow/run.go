package workflow

import (
	"encoding/json"
	"time"
)

// The states of a run.
const (
	AwaitingApproval = "awaiting_approval"
	Running          = "running"
	Paused           = "paused"
	Succeeded        = "succeeded"
	Failed           = "failed"
	Aborted          = "aborted"
	RolledBack       = "rolled_back"
)

// The states of a step that are not also states of a run (Running, Succeeded, Failed and RolledBack are).
const (
	Pending = "pending"
	Skipped = "skipped"
)

// What happens when a step has failed for good (Spec.OnFailure).
const (
	// OnFailurePause stops between steps and waits for Resume or Abort; the default.
	OnFailurePause = "pause"
	// OnFailureRollback undoes what was done, last first.
	OnFailureRollback = "rollback"
	// OnFailureContinue goes on with all that does not stand behind the failed step in its lane; the run fails at its end.
	OnFailureContinue = "continue"
)

// The phases of a run that is between two states.
const (
	aborting    = "aborting"
	rollingBack = "rolling_back"
)

// The states of a step's undo; "" is not begun.
const (
	undoRunning = "running"
	undoFailed  = "failed"
	undoDone    = "done"
)

// Bounds of a run, and what is used when a field is left out.
const (
	MaxSteps           = 20000
	MaxAttempts        = 100
	MaxParallel        = 1024
	MaxInput           = 1 << 20 // bytes of a run's or a step's Input
	MaxText            = 4 << 10 // bytes kept of a message or an error
	MaxResult          = 64 << 10
	DefaultMaxAttempts = 3
	DefaultTimeout     = time.Minute
	MaxTimeout         = 24 * time.Hour // of a step
	DefaultParallel    = 64
)

// StepSpec is one step to be done. It may begin when every step of lower levels has ended well (succeeded, skipped, or failed
// in a run that continues), and every step with a lower Seq of the same level and lane has. In a run that continues, the
// steps behind a failed one in its lane are skipped.
type StepSpec struct {
	ID          string // unique in its run, such as "1.orders-db.promote"
	Lane        string // what is worked on one step after the other, such as a resource
	Action      string // a key of Kind.Actions
	Level, Seq  int
	Input       json.RawMessage
	Predicted   time.Duration // 0 when not known
	MaxAttempts int           // 0 means DefaultMaxAttempts
	Timeout     time.Duration // of one attempt; 0 means DefaultTimeout
}

// Spec is a run to be made.
type Spec struct {
	ID            string // unique for ever
	Kind          string // a key of the engine's kinds
	Tenant        string // "" for the platform's own
	Key           string // unique among alive runs, such as "failover/acme"
	Input         json.RawMessage
	Steps         []StepSpec
	OnFailure     string // OnFailurePause when empty
	Parallel      int    // most steps at once; 0 means DefaultParallel
	AwaitApproval bool
}

// Run is a run as it stands.
type Run struct {
	ID, Kind, Tenant, Key, Status, OnFailure string
	// Error is why it is paused, failed or being rolled back: the first failed step's.
	Error                            string
	Input                            json.RawMessage
	CreatedAt, StartedAt, FinishedAt time.Time // zero when not yet
	// Version grows with each change of Status, not with the progress of steps.
	Version int64
	Steps   []Step // in the order of Spec.Steps

	phase                  string
	parallel               int
	requestID, traceParent string
}

// Alive says whether the run is not over.
func (r *Run) Alive() bool { return alive(r.Status) }

// Aborting says that Abort was called and steps in the middle are still coming to their end.
func (r *Run) Aborting() bool { return r.phase == aborting }

// RollingBack says that what was done is being undone, or was when the run was paused.
func (r *Run) RollingBack() bool { return r.phase == rollingBack }

func alive(status string) bool {
	return status == AwaitingApproval || status == Running || status == Paused
}

// Step is a step as it stands.
type Step struct {
	StepSpec
	Status                string
	Attempts              int // of Do; begins again with Resume
	StartedAt, FinishedAt time.Time
	Message               string // what the action found, or why it was skipped
	Error                 string // of the last attempt
	Result                json.RawMessage

	undo         string
	starts       int // how often Do may have been called; never reset
	undoAttempts int
	undoStarts   int
	ended        int64 // the order in which steps ended, from 1
	notBefore    time.Time
}

// over says that the step has come to its end.
func (s *Step) over() bool {
	return s.Status == Succeeded || s.Status == Skipped || s.Status == Failed || s.Status == RolledBack
}
