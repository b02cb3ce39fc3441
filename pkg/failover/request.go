package failover

import (
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Request says which move is asked for. What is left out is chosen: Kind is failover; Mode is planned while the source is up and
// forced otherwise; MaxLag is the policy's. A failback may also leave out From (where the tenant is) and To (its primary).
type Request struct {
	Tenant string        `json:"tenant" doc:"the tenant to move"`
	Kind   Kind          `json:"kind,omitempty" doc:"failover (default) or failback"`
	From   string        `json:"from,omitempty" doc:"the region to leave; needed for a failover"`
	To     string        `json:"to,omitempty" doc:"the region to go to; default for a failover the policy's first healthy target, for a failback its primary"`
	Mode   Mode          `json:"mode,omitempty" doc:"planned or forced; default planned while the source is up"`
	MaxLag omni.Duration `json:"max_lag,omitempty" doc:"refuse to promote a standby further behind; default the policy's"`
	Reason string        `json:"reason,omitempty" doc:"why; kept in the audit trail, and needed to force past the lag guard"`

	byPolicy bool // nobody is there to accept a loss
}

// TriggerRequest asks for a run.
type TriggerRequest struct {
	Tenant   string        `json:"tenant" doc:"the tenant to move"`
	Kind     Kind          `json:"kind,omitempty" doc:"failover (default) or failback"`
	From     string        `json:"from,omitempty" doc:"the region to leave; needed for a failover"`
	To       string        `json:"to,omitempty" doc:"the region to go to; default for a failover the policy's first healthy target, for a failback its primary"`
	Mode     Mode          `json:"mode,omitempty" doc:"planned or forced; default planned while the source is up"`
	PlanHash string        `json:"plan_hash,omitempty" doc:"the hash of the plan that was looked at; when the world has changed since, the answer is 412"`
	MaxLag   omni.Duration `json:"max_lag,omitempty" doc:"refuse to promote a standby further behind; default the policy's"`
	Reason   string        `json:"reason,omitempty" doc:"why; kept in the audit trail, and needed to force past the lag guard"`
	DryRun   bool          `json:"dry_run,omitempty" doc:"check everything, and answer the run that would be made without an id; nothing is done"`
	Confirm  string        `json:"confirm,omitempty" doc:"the tenant's name once more: this moves production; not needed for a dry run"`
}

// Request gives the move that is asked for.
func (t TriggerRequest) Request() Request {
	return Request{Tenant: t.Tenant, Kind: t.Kind, From: t.From, To: t.To, Mode: t.Mode, MaxLag: t.MaxLag, Reason: t.Reason}
}

// maxReason bounds a reason, in bytes.
const maxReason = 1000

// Plan is what a run would do, and what it risks. Hash pins it: it covers what would be done and the state that this was
// concluded from, not the predictions, lags and warnings beside it.
type Plan struct {
	Tenant      string      `json:"tenant"`
	Kind        Kind        `json:"kind"`
	From        string      `json:"from"`
	To          string      `json:"to"`
	Mode        Mode        `json:"mode"`
	Hash        string      `json:"hash"`
	PredictedMS *int64      `json:"predicted_ms"` // null when nothing like it has been done before
	Levels      [][]string  `json:"levels"`       // the resources that move, level by level
	Steps       []PlanStep  `json:"steps"`
	AtRisk      []Risk      `json:"at_risk"`
	DNS         []DNSChange `json:"dns"`
	Warnings    []string    `json:"warnings"`
	RefusedBy   []Refusal   `json:"refused_by,omitempty"` // why a trigger would be refused now
}

// PlanStep is a step that would be done.
type PlanStep struct {
	ID          string `json:"id"`
	Resource    string `json:"resource"`
	Action      Action `json:"action"`
	Level       int    `json:"level"`
	PredictedMS *int64 `json:"predicted_ms"`
}

// Risk is a standby that may lack what its active placement has acknowledged.
type Risk struct {
	Resource   string   `json:"resource"`
	LagSeconds *float64 `json:"lag_seconds"` // null when the driver cannot say
	LagBytes   *int64   `json:"lag_bytes"`
}

// DNSChange is a record set whose answer would change.
type DNSChange struct {
	Zone string   `json:"zone"`
	Name string   `json:"name"`
	Type string   `json:"type"`
	From []string `json:"from"`
	To   []string `json:"to"`
}

// Refusal is a reason why a plan must not be carried out.
type Refusal struct {
	Code   omni.Code `json:"code"`
	Reason string    `json:"reason"`
	Hint   string    `json:"hint,omitempty"`
}

// Err gives the refusal as an error.
func (r Refusal) Err() error {
	err := omni.Errorf(r.Code, "%s", r.Reason)
	if r.Hint != "" {
		return err.WithHint("%s", r.Hint)
	}
	return err
}

// Freeze says whether runs may start by themselves.
type Freeze struct {
	Frozen  bool       `json:"frozen"`
	Reason  string     `json:"reason,omitempty"`
	By      string     `json:"by,omitempty"`
	Since   *time.Time `json:"since"`
	Blocked []Blocked  `json:"blocked"` // runs that would have started by themselves, and what keeps them
}

// Blocked is a run that was due by a policy and did not start.
type Blocked struct {
	Tenant string    `json:"tenant"`
	Kind   Kind      `json:"kind"`
	From   string    `json:"from"`
	Cause  string    `json:"cause"` // frozen, cooldown, brake, no_target, alive, refused
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}
