package failover

import (
	"fmt"

	"github.com/omnicloud/omnicloud/pkg/infra"
)

// rank is where a type stands in the order that holds even where no dependency says so; 0 for a type that has no place in it.
func rank(typ string) int {
	switch typ {
	case "database":
		return 1
	case "cache", "queue":
		return 2
	case "app":
		return 3
	case "loadbalancer":
		return 4
	}
	return 0
}

const ranks = 4

// order gives the level, from 0, of each resource of a tenant: behind all that it depends on, and databases before caches and
// queues before apps before load balancers. Where the declared dependencies contradict the types, only the dependencies
// count, and contradicted says so.
func order(resources []infra.Resource) (level map[string]int, contradicted bool, err error) {
	needs := make(map[string][]string, len(resources)+ranks)
	for _, r := range resources {
		needs[r.Name] = append([]string(nil), r.DependsOn...)
	}
	explicit, err := infra.LevelsOf(needs)
	if err != nil {
		return nil, false, err
	}
	// One gate behind each rank stands for all pairs of it and the next: "\x00" begins no resource's name.
	for k := 1; k <= ranks; k++ {
		gate := fmt.Sprintf("\x00%d", k)
		needs[gate] = []string{fmt.Sprintf("\x00%d", k-1)}
		for _, r := range resources {
			if rank(r.Type) == k {
				needs[gate] = append(needs[gate], r.Name)
				needs[r.Name] = append(needs[r.Name], fmt.Sprintf("\x00%d", k-1))
			}
		}
	}
	levels, err := infra.LevelsOf(needs)
	if err != nil {
		levels, contradicted = explicit, true
	}
	level = make(map[string]int, len(resources))
	for i, names := range levels {
		for _, name := range names {
			level[name] = i
		}
	}
	return level, contradicted, nil
}
