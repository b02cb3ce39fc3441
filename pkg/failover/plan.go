package failover

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// MakePlan says what the move that r asks for would do in world w. It is a pure function: the same world and request give the
// same plan, and nothing is read or done. A request that makes no sense in this world is an error (CodeInvalid,
// CodeNotFound, CodeRefused); what a guard has against carrying the plan out stands in Plan.RefusedBy.
func MakePlan(w World, r Request) (Plan, error) {
	r, err := resolve(w, r)
	if err != nil {
		return Plan{}, err
	}
	p := &planner{w: w, r: r, plan: Plan{
		Tenant: r.Tenant, Kind: r.Kind, From: r.From, To: r.To, Mode: r.Mode,
		Levels: [][]string{}, Steps: []PlanStep{}, AtRisk: []Risk{}, DNS: []DNSChange{}, Warnings: []string{},
	}}
	list, stay := movers(w, r.From, r.To)
	if len(list)+len(stay) == 0 {
		return Plan{}, nothingThere(w, r)
	}
	list = p.leaveBehind(list, stay)
	level, contradicted, err := order(w.Resources)
	if err != nil {
		return Plan{}, err
	}
	if contradicted {
		p.warn("the declared dependencies contradict the order of types (databases, caches and queues, apps, load balancers); only the dependencies count")
	}
	p.guardTarget()
	for _, m := range list {
		p.guardMover(m)
	}
	p.steps(byLevel(list, level))
	p.records(list)
	p.plan.Hash = p.hash(list)
	return p.plan, nil
}

type planner struct {
	w     World
	r     Request
	plan  Plan
	total time.Duration
	known bool // at least one prediction went into total
}

func (p *planner) warn(format string, args ...any) {
	p.plan.Warnings = append(p.plan.Warnings, fmt.Sprintf(format, args...))
}

func (p *planner) refuse(code omni.Code, hint, format string, args ...any) {
	p.plan.RefusedBy = append(p.plan.RefusedBy, Refusal{Code: code, Reason: fmt.Sprintf(format, args...), Hint: hint})
}

// leaveBehind sees to resources that have nothing to go to: a planned move does not split a tenant, a forced one saves what it can.
func (p *planner) leaveBehind(list []mover, stay []string) []mover {
	kept := list[:0:0]
	var fenced []string
	for _, m := range list {
		if m.rejoins && p.r.Mode == Forced {
			fenced = append(fenced, m.Name)
			if !p.r.acceptsLoss() {
				continue
			}
			m.rejoins = false // there is nobody to catch up from
		}
		kept = append(kept, m)
	}
	switch {
	case len(stay) > 0 && p.r.Mode == Planned:
		p.refuse(omni.CodeRefused, "add placements there, or use mode forced to leave these behind",
			"%s: no placement in %s", named(stay), p.r.To)
	case len(stay) > 0:
		p.warn("left behind, without a placement in %s: %s", p.r.To, named(stay))
	}
	switch {
	case len(fenced) > 0 && p.r.acceptsLoss():
		p.warn("fenced or stopped in %s until now, so that what was written since is lost: %s", p.r.To, named(fenced))
	case len(fenced) > 0:
		p.warn("left behind, fenced or stopped in %s, so that their data may be old, and no reason is given to accept that: %s", p.r.To, named(fenced))
	}
	if len(kept) == 0 && (p.r.Mode == Forced || len(stay) == 0) {
		p.refuse(omni.CodeRefused, "choose another target; a reason forces fenced placements too", "nothing of %s can move to %s", p.r.Tenant, p.r.To)
	}
	return kept
}

// steps writes the steps of every level, and those that serve them all.
func (p *planner) steps(levels [][]mover) {
	p.rejoin(levels)
	for i, group := range levels {
		names := make([]string, 0, len(group))
		for _, m := range group {
			names = append(names, m.Name)
		}
		p.plan.Levels = append(p.plan.Levels, names)
		p.level(i+1, group)
	}
	last := len(levels)
	p.add(p.single(last+1, ActionDNS))
	p.add(p.single(last+2, ActionMeter))
	if p.r.Mode == Planned {
		p.release(last+3, levels)
	} else {
		p.warn("the old placements stay fenced; a failback lets them join again")
	}
	if p.known {
		p.plan.PredictedMS = millis(p.total)
	}
}

// rejoin begins with the placements in the target that an earlier run has fenced.
func (p *planner) rejoin(levels [][]mover) {
	var slowest time.Duration
	for _, group := range levels {
		for _, m := range group {
			if m.rejoins {
				slowest = max(slowest, p.step(0, m, m.to.Driver, ActionRelease))
			}
		}
	}
	p.total += slowest
}

func (p *planner) level(n int, group []mover) {
	p.add(p.single(n, ActionGuard))
	var slowest time.Duration
	for _, m := range group {
		var lane time.Duration
		if !m.moved {
			lane += p.step(n, m, m.from.Driver, ActionFence)
			lane += p.step(n, m, m.to.Driver, ActionPromote)
		}
		lane += p.step(n, m, m.to.Driver, ActionVerify)
		lane += p.step(n, m, m.to.Driver, ActionRoute)
		slowest = max(slowest, lane)
	}
	p.total += slowest
}

func (p *planner) release(n int, levels [][]mover) {
	var slowest time.Duration
	for _, group := range levels {
		for _, m := range group {
			slowest = max(slowest, p.step(n, m, m.from.Driver, ActionRelease))
		}
	}
	p.total += slowest
}

func (p *planner) add(took time.Duration) { p.total += took }

// single writes a step that serves all resources.
func (p *planner) single(level int, action Action) time.Duration {
	s := PlanStep{ID: strconv.Itoa(level) + "." + string(action), Action: action, Level: level}
	return p.predict(s, HistoryKey{Action: action})
}

func (p *planner) step(level int, m mover, driver string, action Action) time.Duration {
	s := PlanStep{ID: strconv.Itoa(level) + "." + m.Name + "." + string(action), Resource: m.Name, Action: action, Level: level}
	return p.predict(s, HistoryKey{Driver: driver, Type: m.Type, Action: action})
}

func (p *planner) predict(s PlanStep, key HistoryKey) time.Duration {
	took, ok := p.w.History[key]
	if ok {
		s.PredictedMS = millis(took)
		p.known = true
	}
	p.plan.Steps = append(p.plan.Steps, s)
	return took
}

func millis(d time.Duration) *int64 {
	ms := d.Milliseconds()
	return &ms
}

// records says what DNS would answer anew. A planned move does not begin where the dns step could only fail.
func (p *planner) records(list []mover) {
	to := make(map[string]string, len(list))
	for _, m := range list {
		to[m.Name] = host(m.to.Address)
	}
	for _, r := range p.w.Records {
		address, moves := to[r.Resource]
		if !moves {
			continue
		}
		p.plan.DNS = append(p.plan.DNS, DNSChange{Zone: r.Zone, Name: r.Name, Type: r.Type, From: r.Values, To: []string{address}})
		if answerable(r.Type, address) {
			continue
		}
		if p.r.Mode == Planned {
			p.refuse(omni.CodeRefused, "give the placement an IP address of the record's type, or use mode forced",
				"DNS could not answer %s %s with the address of %s in %s, %q", r.Name, r.Type, r.Resource, p.r.To, clip(address))
		} else {
			p.warn("DNS cannot answer %s %s with the address of %s in %s, %q: the dns step will fail until that is mended",
				r.Name, r.Type, r.Resource, p.r.To, clip(address))
		}
	}
}

// answerable says whether a record of type A or AAAA can have the address.
func answerable(typ, address string) bool {
	ip, err := netip.ParseAddr(address)
	return err == nil && ip.Zone() == "" && ip.Is4() == (typ == "A") && !ip.Is4In6()
}

// pin is a placement that the plan stands on.
type pin struct {
	Resource string `json:"resource"`
	Version  int64  `json:"version"`
	Region   string `json:"region"`
	Role     string `json:"role"`
	Serving  string `json:"serving"`
}

// hash covers what would be done, and what was concluded from; see Plan.
func (p *planner) hash(list []mover) string {
	doc := struct {
		Tenant   string   `json:"tenant"`
		Kind     Kind     `json:"kind"`
		From     string   `json:"from"`
		To       string   `json:"to"`
		Mode     Mode     `json:"mode"`
		Policy   int64    `json:"policy"`
		Cordoned []bool   `json:"cordoned"`
		Steps    []string `json:"steps"`
		Pins     []pin    `json:"pins"`
		DNS      []string `json:"dns"`
	}{Tenant: p.r.Tenant, Kind: p.r.Kind, From: p.r.From, To: p.r.To, Mode: p.r.Mode}
	if p.w.Policy != nil {
		doc.Policy = p.w.Policy.Version
	}
	for _, name := range []string{p.r.From, p.r.To} {
		r, _ := p.w.region(name)
		doc.Cordoned = append(doc.Cordoned, r.Cordoned)
	}
	for _, s := range p.plan.Steps {
		doc.Steps = append(doc.Steps, s.ID)
	}
	for _, m := range list {
		for _, placement := range m.Placements {
			doc.Pins = append(doc.Pins, pin{m.Name, m.Version, placement.Region, string(placement.Role), m.Serving})
		}
	}
	for _, d := range p.plan.DNS {
		doc.DNS = append(doc.DNS, d.Zone+" "+d.Name+" "+d.Type)
	}
	return digest(doc)
}

// digest hashes a document whose JSON is canonical already, since it holds no map.
func digest(doc any) string {
	sum := sha256.New()
	if err := json.NewEncoder(sum).Encode(doc); err != nil {
		return "" // strings, numbers and lists always encode
	}
	return hex.EncodeToString(sum.Sum(nil))
}
