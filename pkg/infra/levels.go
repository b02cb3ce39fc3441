package infra

import (
	"maps"
	"slices"
	"strings"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Levels orders resources by their dependencies: every resource stands in a later level than all that it depends on, and
// as early as that allows. Within a level they are sorted by name. Dependencies on resources that are not given do not
// count. The same resources give the same levels, in whatever order they come. A cycle is CodeInvalid and named.
func Levels(resources []Resource) ([][]string, error) {
	needs := make(map[string][]string, len(resources))
	for _, r := range resources {
		needs[r.Name] = r.DependsOn
	}
	return LevelsOf(needs)
}

// LevelsOf does what Levels does for a map from each name to the names that it needs.
func LevelsOf(needs map[string][]string) ([][]string, error) {
	missing := make(map[string]int, len(needs))
	needed := make(map[string][]string, len(needs))
	for name, list := range needs {
		missing[name] += 0
		for _, other := range slices.Compact(slices.Sorted(slices.Values(list))) {
			if _, known := needs[other]; known {
				missing[name]++
				needed[other] = append(needed[other], name)
			}
		}
	}
	var level []string
	for name, n := range missing {
		if n == 0 {
			level = append(level, name)
		}
	}
	var levels [][]string
	for len(level) > 0 {
		slices.Sort(level)
		levels = append(levels, level)
		var next []string
		for _, name := range level {
			delete(missing, name)
			for _, reader := range needed[name] {
				if missing[reader]--; missing[reader] == 0 {
					next = append(next, reader)
				}
			}
		}
		level = next
	}
	if len(missing) > 0 {
		return nil, cycleError(needs, missing)
	}
	return levels, nil
}

// cycleError names one cycle among the names that are left. Each of them needs another one that is left, so following the
// smallest of these must come back to where it has been.
func cycleError(needs map[string][]string, left map[string]int) error {
	seen := map[string]int{}
	var path []string
	for at := slices.Min(slices.Collect(maps.Keys(left))); ; {
		if start, again := seen[at]; again {
			path = path[start:]
			break
		}
		seen[at] = len(path)
		path = append(path, at)
		for _, other := range slices.Sorted(slices.Values(needs[at])) {
			if _, ok := left[other]; ok {
				at = other
				break
			}
		}
	}
	first := slices.Index(path, slices.Min(path))
	cycle := append(slices.Clone(path[first:]), path[:first]...)
	named := strings.Join(append(cycle, cycle[0]), " → ")
	return omni.Errorf(omni.CodeInvalid, "the dependencies form a cycle: %s", named).
		WithFields(omni.FieldError{Path: "spec.dependsOn", Message: "forms the cycle " + named}).
		WithHint("take one of these out of the other's dependsOn")
}
