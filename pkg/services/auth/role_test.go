package auth_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/services/auth"
)

func graphs() *rapid.Generator[[]auth.Role] {
	return rapid.Custom(func(t *rapid.T) []auth.Role {
		n := rapid.IntRange(0, 6).Draw(t, "n")
		name := rapid.Map(rapid.IntRange(0, 7), func(i int) string { return fmt.Sprintf("r%d", i) }) // some do not exist
		roles := make([]auth.Role, n)
		for i := range roles {
			roles[i] = auth.Role{
				Name:        fmt.Sprintf("r%d", i),
				Inherits:    rapid.SliceOfN(name, 0, 3).Draw(t, "inherits"),
				Permissions: []string{fmt.Sprintf("p%d.read", i)},
			}
		}
		return roles
	})
}

// reachable is the plain answer: repeat until nothing is added.
func reachable(roles []auth.Role, from string) map[string]bool {
	byName := map[string]auth.Role{}
	for _, r := range roles {
		byName[r.Name] = r
	}
	seen := map[string]bool{}
	if _, ok := byName[from]; ok {
		seen[from] = true
	}
	for range roles {
		for name := range byName {
			if !seen[name] {
				continue
			}
			for _, parent := range byName[name].Inherits {
				if _, ok := byName[parent]; ok {
					seen[parent] = true
				}
			}
		}
	}
	return seen
}

func TestGraph(t *testing.T) {
	t.Run("grants what is reachable, whatever the graph", rapid.MakeCheck(func(t *rapid.T) {
		roles := graphs().Draw(t, "roles")
		g := auth.NewGraph(roles)
		for _, r := range roles {
			want := reachable(roles, r.Name)
			got := g.Grants(r.Name)
			if len(got) != len(want) {
				t.Fatalf("%s grants %v, want those of %v", r.Name, got, want)
			}
			for _, grant := range got {
				if !want[grant.From] || grant.Permission != strings.Replace(grant.From, "r", "p", 1)+".read" {
					t.Fatalf("%s has %v, but reaches %v", r.Name, grant, want)
				}
			}
		}
	}))
	t.Run("is refused exactly when it has a cycle or an unknown parent", rapid.MakeCheck(func(t *rapid.T) {
		roles := graphs().Draw(t, "roles")
		wrong := false
		names := map[string]bool{}
		for _, r := range roles {
			names[r.Name] = true
		}
		for _, r := range roles {
			for _, parent := range r.Inherits {
				wrong = wrong || !names[parent] || reachable(roles, parent)[r.Name]
			}
		}
		if err := auth.NewGraph(roles).Check(); (err != nil) != wrong {
			t.Fatalf("Check says %v for %+v", err, roles)
		}
	}))
	t.Run("names the cycle", func(t *testing.T) {
		g := auth.NewGraph([]auth.Role{{Name: "a", Inherits: []string{"b"}}, {Name: "b", Inherits: []string{"c"}}, {Name: "c", Inherits: []string{"b"}}})
		if err := g.Check(); err == nil || !strings.Contains(err.Error(), "b → c → b") {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("gives an unknown role nothing", func(t *testing.T) {
		if got := auth.NewGraph(nil).Grants("root"); len(got) != 0 {
			t.Errorf("granted %v", got)
		}
	})
}

func TestBuiltinRoles(t *testing.T) {
	s := auth.New(auth.Options{})
	if err := s.Roles().Check(); err != nil {
		t.Fatal(err)
	}
	permissions := func(role string) (out []string) {
		for _, g := range s.Roles().Grants(role) {
			out = append(out, g.Permission)
		}
		return out
	}
	t.Run("a viewer only reads", func(t *testing.T) {
		for _, p := range permissions(auth.Viewer) {
			if !strings.HasSuffix(p, ".read") {
				t.Errorf("a viewer has %s", p)
			}
		}
	})
	t.Run("an operator gives out no keys", func(t *testing.T) {
		if slices.Contains(permissions(auth.Operator), "keys.write") {
			t.Error("an operator has keys.write")
		}
	})
	t.Run("each inherits the viewer's", func(t *testing.T) {
		for _, r := range s.Roles().Roles() {
			for _, p := range permissions(auth.Viewer) {
				if !slices.Contains(permissions(r.Name), p) {
					t.Errorf("%s lacks %s", r.Name, p)
				}
			}
		}
	})
	t.Run("inherited permissions say where they come from", func(t *testing.T) {
		if got := s.Roles().Grants(auth.TenantAdmin); !slices.Contains(got, auth.Grant{Permission: "failovers.trigger", From: auth.Operator}) {
			t.Errorf("grants are %v", got)
		}
	})
	t.Run("nothing is allowed by default", func(t *testing.T) {
		if auth.Allows(nil, "regions.read") || auth.Allows(omni.Identity{}.Permissions, "") {
			t.Error("no permissions allow something")
		}
	})
}
