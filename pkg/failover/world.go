package failover

import (
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
)

// World is the snapshot that a plan is made from. MakePlan reads nothing else.
type World struct {
	Now        time.Time
	Regions    []infra.Region
	Resources  []infra.Resource // all of the tenant's
	Policy     *Policy          // the tenant's; nil when it has none
	Health     map[string]Verdict
	Placements map[PlacementKey]PlacementState // what drivers said; a placement that was not asked is missing
	History    map[HistoryKey]time.Duration    // how long steps like these took (medians)
	Records    []Record                        // the tenant's record sets that follow a resource
	Alive      string                          // the tenant's run that is alive; "" when there is none

	stored map[string]Verdict // what the leader has published of each region
}

// PlacementKey names a placement of the tenant.
type PlacementKey struct{ Resource, Region string }

// PlacementState is what a driver's check said of a placement.
type PlacementState struct {
	Role       string // as in provider.State; "" when it does not say
	Healthy    bool
	LagSeconds *float64
	LagBytes   *int64
	Error      string // why it could not be asked; the rest is then not known
	Silent     bool   // the driver has no check: nothing is known, and that is no fault
}

// HistoryKey classes steps that take about as long as each other. Driver and Type are "" for steps that serve all resources.
type HistoryKey struct {
	Driver string
	Type   string
	Action Action
}

// Record is a DNS record set that follows a resource.
type Record struct {
	Zone     string
	Name     string
	Type     string
	Resource string
	Values   []string // what it answers now
}

func (w World) region(name string) (infra.Region, bool) {
	for _, r := range w.Regions {
		if r.Name == name {
			return r, true
		}
	}
	return infra.Region{}, false
}

func (w World) health(region string) Health {
	if v, ok := w.Health[region]; ok {
		return v.Health
	}
	return Unknown
}

// maxLag is the bound of the lag guard: the request's, else the policy's, else the default.
func (w World) maxLag(r Request) time.Duration {
	switch {
	case r.MaxLag > 0:
		return r.MaxLag.Std()
	case w.Policy != nil:
		return w.Policy.Spec.WithDefaults().MaxLag.Std()
	}
	return defaultMaxLag
}

// onFailure is what a step that fails for good leads to: what the policy says, but for a rollback of a forced move out of a region that
// is down. That would stop what serves in the target, and then not be able to wake the source.
func (w World) onFailure(mode Mode, from string) OnFailure {
	if w.Policy == nil {
		return PauseOnFailure
	}
	says := w.Policy.Spec.WithDefaults().OnStepFailure
	if says == RollbackOnFailure && mode == Forced && w.health(from) == Down {
		return PauseOnFailure
	}
	return says
}

// silence is for how long a region that is down has not been seen alive. By so much a standby's lag has grown since then, where a driver
// tells it as the age of the last contact: in a forced move, what the standby lacked at that moment is what counts.
func (w World) silence(region string) time.Duration {
	if v := w.Health[region]; v.Health == Down && v.AliveUntil != nil {
		return max(0, w.Now.Sub(*v.AliveUntil))
	}
	return 0
}

// aliveUntil is when the source of a forced run was last seen alive; nil when it is not down, or nobody saw it alive before.
func (w World) aliveUntil(run Run) *time.Time {
	if v := w.Health[run.From]; run.Mode == Forced && v.Health == Down {
		return v.AliveUntil
	}
	return nil
}
