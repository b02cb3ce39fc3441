package failover

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/omnicloud/omnicloud/pkg/infra"
)

// mover is a resource that a plan moves.
type mover struct {
	infra.Resource
	from, to infra.Placement
	rejoins  bool // its placement in the target is fenced or stopped: it must come back as a standby first
	moved    bool // it is active in the target already, and only its users are to follow
	returns  bool // it was active in the target until a run fenced it there and could not promote it elsewhere: it lacks nothing
}

// leaves says whether a resource is to be moved from one region to another: it is active there, or a run that did not end well
// has left it between the two, on its way here or there.
func leaves(r infra.Resource, from, to string) bool {
	active, any := r.Active()
	if any {
		return active.Region == from || (active.Region == to && r.Serving == from)
	}
	_, here := r.Placement(from)
	return here && (r.Serving == from || r.Serving == to)
}

// movers gives the resources to move, by name, and those that would have to but have nothing to move to.
func movers(w World, from, to string) (list []mover, stay []string) {
	for _, r := range w.Resources {
		if !leaves(r, from, to) {
			continue
		}
		target, ok := r.Placement(to)
		if !ok {
			stay = append(stay, r.Name)
			continue
		}
		m := mover{Resource: r, to: target}
		m.from, _ = r.Placement(from)
		_, active := r.Active()
		m.returns = !active && r.Serving == to
		m.rejoins = !m.returns && (target.Role == infra.Fenced || target.Role == infra.Stopped)
		m.moved = target.Role == infra.Active
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b mover) int { return strings.Compare(a.Name, b.Name) })
	slices.Sort(stay)
	return list, stay
}

// byLevel groups movers by the level of their resource, without gaps: their order is kept.
func byLevel(list []mover, level map[string]int) [][]mover {
	groups := map[int][]mover{}
	for _, m := range list {
		groups[level[m.Name]] = append(groups[level[m.Name]], m)
	}
	var out [][]mover
	for _, l := range slices.SortedFunc(maps.Keys(groups), cmp.Compare[int]) {
		out = append(out, groups[l])
	}
	return out
}

// named lists some names for people.
func named(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// host is the part of an address that DNS answers.
func host(address string) string {
	if i := strings.LastIndexByte(address, ':'); i >= 0 && !strings.Contains(address[:i], ":") {
		return address[:i]
	}
	if strings.HasPrefix(address, "[") {
		inner, _, _ := strings.Cut(address[1:], "]")
		return inner
	}
	return address
}
