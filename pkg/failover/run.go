package failover

import "time"

// Kind is the direction of a run.
type Kind string

// The kinds of runs.
const (
	KindFailover Kind = "failover"
	KindFailback Kind = "failback"
	KindDrill    Kind = "drill"
)

// Mode says how much the source is trusted.
type Mode string

// The modes. Planned asks the source to step down and loses nothing; forced goes on when it does not answer.
const (
	Planned Mode = "planned"
	Forced  Mode = "forced"
)

// Action is what a step does.
type Action string

// The actions, in the order in which a run takes them.
const (
	ActionRelease Action = "release" // lifts a fence: the old placement joins as a standby
	ActionGuard   Action = "guard"   // target healthy, not cordoned, lag within bounds
	ActionFence   Action = "fence"   // the old placement can no longer serve
	ActionPromote Action = "promote"
	ActionVerify  Action = "verify" // the placement serves, in its new role
	ActionRoute   Action = "route"  // dependents are sent to the new placement
	ActionDNS     Action = "dns"    // written, then read back from the authoritative servers
	ActionMeter   Action = "meter"  // usage of both regions is on the books
)

// Status is the state of a run.
type Status string

// The states of a run; see doc.go.
const (
	AwaitingApproval Status = "awaiting_approval"
	Running          Status = "running"
	Paused           Status = "paused"
	Succeeded        Status = "succeeded"
	Failed           Status = "failed"
	Aborted          Status = "aborted"
	RolledBack       Status = "rolled_back"
)

// Alive says whether the run is not over.
func (s Status) Alive() bool { return s == AwaitingApproval || s == Running || s == Paused }

// StepStatus is the state of a step.
type StepStatus string

// The states of a step.
const (
	StepPending    StepStatus = "pending"
	StepRunning    StepStatus = "running"
	StepSucceeded  StepStatus = "succeeded"
	StepFailed     StepStatus = "failed"
	StepSkipped    StepStatus = "skipped"
	StepRolledBack StepStatus = "rolled_back"
)

// Run is one failover, failback or drill. Durations are milliseconds, whole; null when not known yet.
type Run struct {
	ID            string     `json:"id"`
	Tenant        string     `json:"tenant"`
	Kind          Kind       `json:"kind"`
	From          string     `json:"from"`
	To            string     `json:"to"`
	Mode          Mode       `json:"mode"`
	Trigger       string     `json:"trigger"` // manual or policy
	Status        Status     `json:"status"`
	PlanHash      string     `json:"plan_hash"`
	Reason        string     `json:"reason"`
	InitiatedBy   string     `json:"initiated_by"`
	InitiatedAt   time.Time  `json:"initiated_at"`
	FinishedAt    *time.Time `json:"finished_at"`
	DurationMS    *int64     `json:"duration_ms"`
	DNSSwitchedMS *int64     `json:"dns_switched_ms"` // since InitiatedAt, when the authoritative servers answered anew
	Error         string     `json:"error,omitempty"`
	Evidence      *Verdict   `json:"evidence,omitempty"` // the verdict that triggered it, with its votes
	Steps         []Step     `json:"steps"`
	Version       int64      `json:"version"`
}

// Step is one action of a run on one resource ("" for dns and meter, which serve all).
type Step struct {
	ID          string     `json:"id"` // unique in its run, such as "1.orders-db.promote"
	Resource    string     `json:"resource"`
	Action      Action     `json:"action"`
	Level       int        `json:"level"`
	Status      StepStatus `json:"status"`
	Attempts    int        `json:"attempts"`
	PredictedMS *int64     `json:"predicted_ms"`
	DurationMS  *int64     `json:"duration_ms"`
	StartedAt   *time.Time `json:"started_at"`
	FinishedAt  *time.Time `json:"finished_at"`
	Message     string     `json:"message,omitempty"` // why it was skipped, or what it found
	Error       string     `json:"error"`
}
