package provider

import (
	"maps"
	"slices"
	"strings"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Registry finds drivers by the name that manifests use.
type Registry struct{ drivers map[string]Driver }

// NewRegistry makes one; the map is copied.
func NewRegistry(drivers map[string]Driver) *Registry {
	return &Registry{drivers: maps.Clone(drivers)}
}

// Driver gives the driver called name; CodeInvalid when there is none.
func (r *Registry) Driver(name string) (Driver, error) {
	if d, ok := r.drivers[name]; ok {
		return d, nil
	}
	return nil, omni.Errorf(omni.CodeInvalid, "there is no driver %q", Shorten(name, 64)).
		WithHint("use one of %s", strings.Join(r.Names(), ", "))
}

// Names lists the drivers, sorted.
func (r *Registry) Names() []string { return slices.Sorted(maps.Keys(r.drivers)) }

// Validate says what is wrong with a placement's driver and config. Paths are relative to the placement: "driver", or
// "config" and what is in it ("config.command").
func (r *Registry) Validate(driver string, config map[string]any) []omni.FieldError {
	d, ok := r.drivers[driver]
	if !ok {
		return []omni.FieldError{{Path: "driver", Message: "must be one of " + strings.Join(r.Names(), ", ")}}
	}
	faults := d.Validate(config)
	for i := range faults {
		faults[i].Path = strings.TrimSuffix("config."+faults[i].Path, ".")
	}
	return faults
}
