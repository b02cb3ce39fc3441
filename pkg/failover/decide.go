package failover

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

// The causes that keep a run from starting by itself.
const (
	BlockedFrozen   = "frozen"
	BlockedCooldown = "cooldown"
	BlockedBrake    = "brake"
	BlockedTarget   = "no_target"
	BlockedAlive    = "alive"
	BlockedRefused  = "refused"
)

// Facts are what the decision about a run by policy is made from.
type Facts struct {
	Now        time.Time
	Policy     Policy
	Kind       Kind
	From       string
	Regions    []infra.Region
	Health     map[string]Verdict // by the policy's trigger
	Freeze     Freeze
	Alive      *Run // the tenant's run that is alive
	Last       *Run // the tenant's run that ended last
	AliveRuns  int  // by policy, of all tenants
	RunsInHour int
	MaxAlive   int
	MaxPerHour int
}

// Decide says where a tenant goes that its policy wants to leave From, or what keeps it: exactly one of the two. It is a pure
// function. A tenant that a run is moving out of From already needs neither.
func Decide(f Facts) (target string, blocked *Blocked) {
	block := func(cause, format string, args ...any) (string, *Blocked) {
		return "", &Blocked{
			Tenant: f.Policy.Tenant, Kind: f.Kind, From: f.From, Cause: cause, Reason: fmt.Sprintf(format, args...), Since: f.Now,
		}
	}
	spec := f.Policy.Spec.WithDefaults()
	switch {
	case f.Alive != nil && f.Alive.From == f.From:
		return "", nil
	case f.Alive != nil:
		return block(BlockedAlive, "the run %s of the tenant is alive (%s)", f.Alive.ID, f.Alive.Status)
	case f.Freeze.Frozen:
		return block(BlockedFrozen, "automation is frozen by %s%s", f.Freeze.By, because(f.Freeze.Reason))
	}
	if f.Last != nil && f.Last.FinishedAt != nil {
		if until := f.Last.FinishedAt.Add(spec.Cooldown.Std()); f.Now.Before(until) {
			return block(BlockedCooldown, "the run %s ended less than %s ago; the next may start at %s",
				f.Last.ID, spec.Cooldown, until.UTC().Format(time.RFC3339))
		}
	}
	if f.AliveRuns >= f.MaxAlive {
		return block(BlockedBrake, "the brake holds: at most %d runs by policy are alive at once", f.MaxAlive)
	}
	if f.RunsInHour >= f.MaxPerHour {
		return block(BlockedBrake, "the brake holds: at most %d runs by policy begin in an hour", f.MaxPerHour)
	}
	candidates := append(slices.Clone(spec.Targets), spec.Primary)
	if f.Kind == KindFailback {
		candidates = []string{spec.Primary}
	}
	var why []string
	for _, name := range candidates {
		reason := f.unfit(name)
		if reason == "" {
			return name, nil
		}
		why = append(why, name+" "+reason)
	}
	return block(BlockedTarget, "there is nowhere to go: %s", strings.Join(why, ", "))
}

// unfit says why a region cannot be the target; "" when it can.
func (f Facts) unfit(name string) string {
	i := slices.IndexFunc(f.Regions, func(r infra.Region) bool { return r.Name == name })
	switch {
	case name == f.From:
		return "is what must be left"
	case i < 0:
		return "does not exist"
	case f.Regions[i].Cordoned:
		return "is cordoned"
	case f.Health[name].Health != Up:
		return "is " + string(healthOr(f.Health[name].Health))
	}
	return ""
}

func healthOr(h Health) Health {
	if h == "" {
		return Unknown
	}
	return h
}

// returns says whether the policy wants the tenant back in its primary region: it was moved away from there by a failover that
// succeeded, and the region has been up for long enough.
func returns(p Policy, primary Verdict, last *Run, now time.Time) bool {
	spec := p.Spec.WithDefaults()
	return spec.Failback.Mode == Automatic && primary.Health == Up && now.Sub(primary.Since) >= spec.Failback.HealthyFor.Std() &&
		last != nil && last.Kind == KindFailover && last.Status == Succeeded && last.From == spec.Primary
}

// reasonFor says why a policy moves a tenant.
func reasonFor(kind Kind, from string, v Verdict, healthyFor omni.Duration) string {
	if kind == KindFailback {
		return fmt.Sprintf("%s has been up for %s", v.Region, healthyFor)
	}
	return fmt.Sprintf("%s is down: %s", from, v.Reason)
}
