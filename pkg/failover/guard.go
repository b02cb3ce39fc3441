package failover

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/provider"
)

// resolve fills in what a request leaves out, and refuses what makes no sense.
func resolve(w World, r Request) (Request, error) {
	if r.Kind == "" {
		r.Kind = KindFailover
	}
	var err error
	switch r.Kind {
	case KindFailover:
		err = resolveFailover(w, &r)
	case KindFailback:
		err = resolveFailback(w, &r)
	default:
		err = invalid("kind", "must be failover or failback, not %q", clip(string(r.Kind)))
	}
	if err != nil {
		return r, err
	}
	for _, end := range []struct{ field, region string }{{"from", r.From}, {"to", r.To}} {
		if _, ok := w.region(end.region); !ok {
			return r, omni.Errorf(omni.CodeNotFound, "%s: there is no region %q", end.field, clip(end.region)).
				WithHint("omnictl regions list shows them all")
		}
	}
	if r.From == r.To {
		return r, omni.Errorf(omni.CodeRefused, "%s is in %s already: source and target are the same", r.Tenant, r.To)
	}
	switch r.Mode {
	case Planned, Forced:
	case "":
		r.Mode = Planned
		if w.health(r.From) == Down {
			r.Mode = Forced
		}
	default:
		return r, invalid("mode", "must be planned or forced, not %q", clip(string(r.Mode)))
	}
	return r, nil
}

func resolveFailover(w World, r *Request) error {
	if r.From == "" {
		return invalid("from", "must name the region to leave")
	}
	if r.To != "" {
		return nil
	}
	if w.Policy == nil {
		return invalid("to", "must name the region to go to: tenant %s has no policy that lists targets", r.Tenant)
	}
	for _, name := range w.Policy.Spec.Targets {
		region, ok := w.region(name)
		if ok && name != r.From && !region.Cordoned && w.health(name) != Down {
			r.To = name
			return nil
		}
	}
	return omni.Errorf(omni.CodeRefused, "none of the policy's targets (%s) can take %s", strings.Join(w.Policy.Spec.Targets, ", "), r.Tenant).
		WithHint("each is down, cordoned or the source; name another with to")
}

func resolveFailback(w World, r *Request) error {
	if r.To == "" {
		if w.Policy == nil {
			return invalid("to", "must name the region to return to: tenant %s has no policy with a primary", r.Tenant)
		}
		r.To = w.Policy.Spec.Primary
	}
	if r.From != "" {
		return nil
	}
	from := elsewhere(w, r.To)
	switch len(from) {
	case 0:
		return omni.Errorf(omni.CodeRefused, "%s is in %s already: nothing of it is active elsewhere", r.Tenant, r.To)
	case 1:
		r.From = from[0]
		return nil
	}
	return invalid("from", "must be named, since %s is active in several regions: %s", r.Tenant, strings.Join(from, ", "))
}

// elsewhere lists the regions from which a tenant can return to one: where something of it is active, or else where a run was to take what
// it has fenced and not promoted.
func elsewhere(w World, to string) []string {
	regions, halfway := map[string]bool{}, map[string]bool{}
	for _, res := range w.Resources {
		active, any := res.Active()
		for _, p := range res.Placements {
			switch {
			case p.Region == to:
			case p.Region == active.Region:
				regions[p.Region] = true
			case !any && res.Serving == to:
				halfway[p.Region] = true
			}
		}
	}
	if len(regions) == 0 {
		regions = halfway
	}
	return slices.Sorted(maps.Keys(regions))
}

// nothingThere says why there is nothing to move.
func nothingThere(w World, r Request) error {
	if len(w.Resources) == 0 {
		return omni.Errorf(omni.CodeRefused, "tenant %s has no resources", r.Tenant).WithHint("apply some first")
	}
	for _, res := range w.Resources {
		if p, ok := res.Active(); ok && p.Region == r.To {
			return omni.Errorf(omni.CodeRefused, "%s is in %s already: nothing of it is active in %s", r.Tenant, r.To, r.From)
		}
	}
	return omni.Errorf(omni.CodeRefused, "nothing of %s is active in %s", r.Tenant, r.From)
}

// guardTarget holds the regions and the tenant against the plan.
func (p *planner) guardTarget() {
	if p.w.Alive != "" {
		p.refuse(omni.CodeConflict, "wait for it to end, or abort it", "the run %s of %s is alive", p.w.Alive, p.r.Tenant)
	}
	to, _ := p.w.region(p.r.To)
	if to.Cordoned {
		p.refuse(omni.CodeRefused, "uncordon it, or choose another target", "%s is cordoned%s", to.Name, because(to.CordonReason))
	}
	switch v := p.w.Health[p.r.To]; p.w.health(p.r.To) {
	case Down:
		p.refuse(omni.CodeRefused, "choose another target", "%s is down%s", to.Name, because(v.Reason))
	case Degraded:
		p.warn("%s is degraded%s", to.Name, because(v.Reason))
	case Unknown:
		p.warn("the health of %s is not known%s", to.Name, because(v.Reason))
	case Up:
	}
	if p.r.Mode == Planned && p.w.health(p.r.From) == Down {
		p.refuse(omni.CodeRefused, "use mode forced: it goes on without the source", "%s is down, and a planned move needs it%s",
			p.r.From, because(p.w.Health[p.r.From].Reason))
	}
	if policy := p.w.Policy; policy != nil && p.r.To != policy.Spec.Primary && !slices.Contains(policy.Spec.Targets, p.r.To) {
		p.warn("%s is neither the primary nor a target of policy %s", p.r.To, policy.Name)
	}
	if policy := p.w.Policy; policy != nil && p.w.onFailure(p.r.Mode, p.r.From) != policy.Spec.WithDefaults().OnStepFailure {
		p.warn("a step that fails pauses the run instead of rolling it back: %s is down and cannot take anything back", p.r.From)
	}
}

// guardMover holds what drivers said of a resource's placements against the plan.
func (p *planner) guardMover(m mover) {
	if m.moved || m.rejoins {
		return
	}
	if s, asked := p.w.Placements[PlacementKey{m.Name, p.r.From}]; asked && s.Error != "" && p.r.Mode == Planned {
		p.warn("%s in %s does not answer, and a planned move must fence it: %s", m.Name, p.r.From, s.Error)
	}
	s, asked := p.w.Placements[PlacementKey{m.Name, p.r.To}]
	if !asked || s.Silent {
		if p.r.Mode == Forced && stateful(m.Type) && !m.returns {
			p.plan.AtRisk = append(p.plan.AtRisk, Risk{Resource: m.Name})
		}
		return
	}
	if why := unfit(s); why != "" {
		if p.r.Mode == Planned {
			p.refuse(omni.CodeRefused, "see to it, or use mode forced", "%s in %s %s", m.Name, p.r.To, why)
		} else {
			p.warn("%s in %s %s; its promotion may fail", m.Name, p.r.To, why)
		}
	}
	if s.Role == string(infra.Active) {
		p.warn("%s in %s says that it is active already, though %s should be", m.Name, p.r.To, p.r.From)
	}
	if !m.returns {
		p.guardLag(m, s)
	}
}

func (p *planner) guardLag(m mover, s PlacementState) {
	bound, silence := p.w.maxLag(p.r), time.Duration(0)
	if p.r.Mode == Forced {
		silence = p.w.silence(p.r.From)
	}
	if behind(s.LagSeconds, bound+silence) {
		text := fmt.Sprintf("%s in %s is %.1fs behind, more than %s%s", m.Name, p.r.To, *s.LagSeconds, omni.Duration(bound), without(silence))
		if p.r.acceptsLoss() {
			p.warn("%s; forced: what was written meanwhile is lost", text)
		} else {
			p.refuse(omni.CodeRefused, "wait for it to catch up, or use mode forced with a reason", "%s", text)
		}
	}
	lossy := p.r.Mode == Forced || s.LagBytes == nil // a planned move waits until no byte is missing
	if lossy && (s.LagSeconds != nil && *s.LagSeconds > 0 || s.LagBytes != nil && *s.LagBytes > 0 || unknownLag(p.r, m, s)) {
		p.plan.AtRisk = append(p.plan.AtRisk, Risk{Resource: m.Name, LagSeconds: s.LagSeconds, LagBytes: s.LagBytes})
	}
}

// acceptsLoss says that a human forces the move and has said why.
func (r Request) acceptsLoss() bool { return r.Mode == Forced && r.Reason != "" && !r.byPolicy }

func unknownLag(r Request, m mover, s PlacementState) bool {
	return r.Mode == Forced && stateful(m.Type) && s.LagSeconds == nil && s.LagBytes == nil
}

func stateful(typ string) bool { return rank(typ) == 1 || rank(typ) == 2 }

func behind(lag *float64, bound time.Duration) bool { return lag != nil && *lag > bound.Seconds() }

// without says what of a lag does not count.
func without(silence time.Duration) string {
	if silence == 0 {
		return ""
	}
	return fmt.Sprintf(" without the %.1fs for which the source has not been seen alive", silence.Seconds())
}

// unfit says why a placement cannot be promoted; "" when nothing speaks against it. One that is stopped starts with its promotion.
func unfit(s PlacementState) string {
	switch {
	case s.Error != "":
		return "does not answer: " + s.Error
	case !s.Healthy && s.Role != provider.RoleStopped:
		return "is not healthy"
	}
	return ""
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

func invalid(field, format string, args ...any) error {
	message := fmt.Sprintf(format, args...)
	return omni.Errorf(omni.CodeInvalid, "%s: %s", field, message).WithFields(omni.FieldError{Path: field, Message: message})
}

func clip(s string) string {
	if len(s) > omni.MaxName {
		return s[:omni.MaxName] + "…"
	}
	return s
}
