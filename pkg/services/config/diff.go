package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// maxDifferences bounds those that are told of one object.
const maxDifferences = 200

// Difference is one field that an apply would change, or has changed. From is nothing when it is added, To when it is
// removed.
type Difference struct {
	Path string `json:"path"`
	From any    `json:"from,omitempty"`
	To   any    `json:"to,omitempty"`
}

// form is an object as a manifest would say it, in the types of encoding/json.
type form map[string]any

// formOf gives the manifest's form of an object: its name, labels and spec.
func formOf(meta omni.Metadata, spec any) (form, error) {
	raw, err := json.Marshal(map[string]any{"metadata": meta, "spec": spec})
	if err != nil {
		return nil, fmt.Errorf("the manifest of %s: %w", meta.Name, err)
	}
	var out form
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("the manifest of %s: %w", meta.Name, err)
	}
	return out, nil
}

// differences lists what differs between two forms, by path; either may be nil.
func differences(from, to form) []Difference {
	var out []Difference
	compare("", anyMap(from), anyMap(to), &out)
	if len(out) > maxDifferences {
		out = out[:maxDifferences]
	}
	return out
}

// anyMap turns a nil form into a nil value.
func anyMap(f form) any {
	if f == nil {
		return nil
	}
	return map[string]any(f)
}

func compare(path string, from, to any, out *[]Difference) {
	if len(*out) > maxDifferences || reflect.DeepEqual(from, to) {
		return
	}
	a, aMap := from.(map[string]any)
	b, bMap := to.(map[string]any)
	if (aMap || from == nil) && (bMap || to == nil) && len(a)+len(b) > 0 {
		keys := maps.Clone(a)
		if keys == nil {
			keys = map[string]any{}
		}
		maps.Copy(keys, b)
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			compare(join(path, k), a[k], b[k], out)
		}
		return
	}
	x, xList := from.([]any)
	y, yList := to.([]any)
	if xList && yList {
		for i := range max(len(x), len(y)) {
			compare(fmt.Sprintf("%s[%d]", path, i), item(x, i), item(y, i), out)
		}
		return
	}
	*out = append(*out, Difference{Path: path, From: from, To: to})
}

func item(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nil
}
