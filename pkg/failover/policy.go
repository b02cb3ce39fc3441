package failover

import (
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Policy says when a tenant's resources leave a region and where they go.
type Policy struct {
	Tenant    string            `json:"tenant"`
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels,omitempty"`
	Spec      PolicySpec        `json:"spec"`
	Version   int64             `json:"version"`
	CreatedAt time.Time         `json:"created_at"`
	UpdatedAt time.Time         `json:"updated_at"`
}

// PolicySpec is the manifest's part of a policy.
type PolicySpec struct {
	Primary       string        `json:"primary" yaml:"primary" doc:"the region where the tenant belongs; failback returns there"`
	Targets       []string      `json:"targets" yaml:"targets" doc:"where it may go, best first"`
	Trigger       Trigger       `json:"trigger" yaml:"trigger" doc:"when a region counts as down"`
	Cooldown      omni.Duration `json:"cooldown,omitempty" yaml:"cooldown,omitempty" doc:"how long after a run no other starts by itself; default 30m"`
	MaxLag        omni.Duration `json:"maxLag,omitempty" yaml:"maxLag,omitempty" doc:"a standby further behind is not promoted unless forced; default 5s"`
	OnStepFailure OnFailure     `json:"onStepFailure,omitempty" yaml:"onStepFailure,omitempty" doc:"pause (default), rollback or continue"`
	Approval      Approval      `json:"approval,omitempty" yaml:"approval,omitempty" doc:"automatic (default) or manual"`
	Failback      Failback      `json:"failback,omitzero" yaml:"failback,omitempty" doc:"how it returns to primary"`
}

// Trigger is when a region counts as down: in at least Zones of its zones more than half of the probes failed at least
// Failures times in a row within Window.
type Trigger struct {
	Zones    int           `json:"zones,omitempty" yaml:"zones,omitempty" doc:"zones that must agree; default a majority"`
	Failures int           `json:"failures,omitempty" yaml:"failures,omitempty" doc:"failures in a row of one probe; default 3"`
	Window   omni.Duration `json:"window,omitempty" yaml:"window,omitempty" doc:"how far back observations count; default 30s"`
}

// Failback is how a tenant returns to its primary region.
type Failback struct {
	Mode       Approval      `json:"mode,omitempty" yaml:"mode,omitempty" doc:"manual (default) or automatic"`
	HealthyFor omni.Duration `json:"healthyFor,omitempty" yaml:"healthyFor,omitempty" doc:"how long every zone of primary must have been up; default 15m"`
}

// OnFailure is what happens to a run when a step has used up its attempts.
type OnFailure string

// What may happen.
const (
	PauseOnFailure    OnFailure = "pause"
	RollbackOnFailure OnFailure = "rollback"
	ContinueOnFailure OnFailure = "continue"
)

// Approval says who must agree.
type Approval string

// Who must agree.
const (
	Automatic Approval = "automatic"
	Manual    Approval = "manual"
)
