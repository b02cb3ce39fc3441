package auth

import (
	"maps"
	"slices"
	"strings"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Everything is the permission that grants all others.
const Everything = "*"

// Role is a named set of permissions. It also has those of the roles that it inherits from.
type Role struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Inherits    []string `json:"inherits,omitempty"`
	Permissions []string `json:"permissions,omitempty"` // its own
}

// Grant is a permission, and the role that it comes from.
type Grant struct {
	Permission string `json:"permission"`
	From       string `json:"from"`
}

// Graph answers what roles grant. It takes any set of roles, also one with cycles and with parents that do not exist, as
// damaged data may hold; Check is for what is written.
type Graph struct{ roles map[string]Role }

// NewGraph makes the graph of roles. Of two with one name the last counts.
func NewGraph(roles []Role) Graph {
	g := Graph{roles: make(map[string]Role, len(roles))}
	for _, r := range roles {
		g.roles[r.Name] = r
	}
	return g
}

// Role gives one role.
func (g Graph) Role(name string) (Role, bool) {
	r, ok := g.roles[name]
	return r, ok
}

// Roles gives all, by name.
func (g Graph) Roles() []Role {
	return slices.SortedFunc(maps.Values(g.roles), func(a, b Role) int { return strings.Compare(a.Name, b.Name) })
}

// Grants gives every permission that the roles called names have together, sorted, each once, from the role nearest to
// those asked for. Unknown roles grant nothing.
func (g Graph) Grants(names ...string) []Grant {
	from := map[string]string{}
	seen := map[string]bool{}
	for level := slices.Sorted(slices.Values(names)); len(level) > 0; {
		var next []string
		for _, name := range level {
			role, known := g.roles[name]
			if !known || seen[name] {
				continue
			}
			seen[name] = true
			for _, p := range role.Permissions {
				if _, ok := from[p]; !ok {
					from[p] = name
				}
			}
			next = append(next, role.Inherits...)
		}
		slices.Sort(next)
		level = next
	}
	grants := make([]Grant, 0, len(from))
	for _, p := range slices.Sorted(maps.Keys(from)) {
		grants = append(grants, Grant{Permission: p, From: from[p]})
	}
	return grants
}

// Check refuses a graph with a cycle, which it names, or with a parent that does not exist.
func (g Graph) Check() error {
	done := map[string]bool{}
	for _, r := range g.Roles() {
		if err := g.check(r.Name, nil, done); err != nil {
			return err
		}
	}
	return nil
}

func (g Graph) check(name string, path []string, done map[string]bool) error {
	if at := slices.Index(path, name); at >= 0 {
		return omni.Errorf(omni.CodeInvalid, "roles inherit in a circle: %s", strings.Join(append(path[at:], name), " → ")).
			WithFields(omni.FieldError{Path: "inherits", Message: "must not lead back to the role itself"})
	}
	if done[name] {
		return nil
	}
	path = append(slices.Clone(path), name)
	for _, parent := range g.roles[name].Inherits {
		if _, ok := g.roles[parent]; !ok {
			return omni.Errorf(omni.CodeInvalid, "the role %s inherits from %q, which does not exist", name, parent).
				WithFields(omni.FieldError{Path: "inherits", Message: "must name roles that exist"})
		}
		if err := g.check(parent, path, done); err != nil {
			return err
		}
	}
	done[name] = true
	return nil
}

// Allows says whether someone who holds permissions (sorted or not) holds wanted.
func Allows(permissions []string, wanted string) bool {
	return slices.Contains(permissions, wanted) || slices.Contains(permissions, Everything)
}
