package infra

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Bounds of what a manifest may say.
const (
	MaxZones      = 16
	MaxProbes     = 64 // a zone
	MaxPlacements = 32
	MaxDependsOn  = 256
	MaxLabels     = 64
	MaxConfig     = 64 << 10 // bytes of a placement's config as JSON
	maxText       = 200      // bytes of a display name, a label's value
	maxTarget     = 2048     // bytes of a probe's target or one of its arguments
	maxArguments  = 64
	maxAddress    = 255
	maxLease      = 24 * time.Hour

	minInterval     = 100 * time.Millisecond
	maxInterval     = time.Hour
	defaultInterval = 5 * time.Second
	defaultTimeout  = 2 * time.Second
)

// faults collects what is wrong with an object, field by field.
type faults []omni.FieldError

func (f *faults) add(path, format string, args ...any) {
	*f = append(*f, omni.FieldError{Path: path, Message: fmt.Sprintf(format, args...)})
}

func (f *faults) name(path, value string) {
	if omni.CheckName(path, value) != nil {
		f.add(path, "must be 1 to 63 of a–z, 0–9 and '-', with no '-' at either end, not %q", clip(value))
	}
}

func (f *faults) text(path, value string, limit int) {
	if len(value) > limit {
		f.add(path, "must be at most %d bytes long, not %d", limit, len(value))
	}
	if strings.ContainsFunc(value, unicode.IsControl) {
		f.add(path, "must not contain control characters")
	}
}

// err makes the one error that names them all; nil when there are none.
func (f faults) err(kind, name string) error {
	if len(f) == 0 {
		return nil
	}
	return omni.Errorf(omni.CodeInvalid, "%s %s: %s %s", kind, clip(name), f[0].Path, f[0].Message).WithFields(f...)
}

func clip(s string) string {
	if len(s) > omni.MaxName {
		return s[:omni.MaxName] + "…"
	}
	return s
}

func checkMeta(f *faults, meta omni.Metadata, owned bool) {
	f.name("metadata.name", meta.Name)
	switch {
	case owned:
		f.name("metadata.tenant", meta.Tenant)
	case meta.Tenant != "":
		f.add("metadata.tenant", "must be left out: a region belongs to the platform")
	}
	if len(meta.Labels) > MaxLabels {
		f.add("metadata.labels", "must be at most %d, not %d", MaxLabels, len(meta.Labels))
		return
	}
	for key, value := range meta.Labels {
		f.text("metadata.labels", key, omni.MaxName)
		f.text("metadata.labels."+clip(key), value, maxText)
	}
}

// WithDefaults returns a copy in which every field that was left out has its default.
func (s RegionSpec) WithDefaults() RegionSpec {
	s.Zones = slices.Clone(s.Zones)
	for i := range s.Zones {
		probes := slices.Clone(s.Zones[i].Probes)
		for j := range probes {
			p := &probes[j]
			if p.Interval == 0 {
				p.Interval = omni.Duration(defaultInterval)
			}
			if p.Timeout == 0 && p.Type != ProbeHeartbeat {
				p.Timeout = min(omni.Duration(defaultTimeout), p.Interval)
			}
		}
		s.Zones[i].Probes = probes
	}
	return s
}

// ValidateRegion says everything that is wrong with a region's manifest, each fault with its path; nil when nothing is.
func ValidateRegion(meta omni.Metadata, spec RegionSpec) error {
	var f faults
	checkMeta(&f, meta, false)
	f.text("spec.displayName", spec.DisplayName, maxText)
	if n := len(spec.Zones); n < 1 || n > MaxZones {
		f.add("spec.zones", "must be 1 to %d zones, not %d", MaxZones, n)
		return f.err("region", meta.Name)
	}
	seen := map[string]bool{}
	for i, zone := range spec.WithDefaults().Zones {
		path := fmt.Sprintf("spec.zones[%d]", i)
		f.name(path+".name", zone.Name)
		if seen[zone.Name] {
			f.add(path+".name", "%q names another zone of the region already", zone.Name)
		}
		seen[zone.Name] = true
		checkProbes(&f, path, zone.Probes)
	}
	return f.err("region", meta.Name)
}

func checkProbes(f *faults, path string, probes []Probe) {
	if len(probes) > MaxProbes {
		f.add(path+".probes", "must be at most %d, not %d", MaxProbes, len(probes))
		return
	}
	seen := map[string]bool{}
	for i, p := range probes {
		at := fmt.Sprintf("%s.probes[%d]", path, i)
		f.name(at+".name", p.Name)
		if seen[p.Name] {
			f.add(at+".name", "%q names another probe of the zone already", p.Name)
		}
		seen[p.Name] = true
		checkProbe(f, at, p)
	}
}

func checkProbe(f *faults, at string, p Probe) {
	if p.Interval.Std() < minInterval || p.Interval.Std() > maxInterval {
		f.add(at+".interval", "must be %s to %s, not %s", omni.Duration(minInterval), omni.Duration(maxInterval), p.Interval)
	}
	if p.Timeout.Std() < 0 || p.Timeout > p.Interval {
		f.add(at+".timeout", "must be at most the interval (%s), not %s", p.Interval, p.Timeout)
	}
	wants := map[string]bool{}
	switch p.Type {
	case ProbeHTTP:
		wants["target"], wants["status"] = true, true
		u, err := url.Parse(p.Target)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			f.add(at+".target", "must be an http or https URL, not %q", clip(p.Target))
		}
		if p.Status != 0 && (p.Status < 100 || p.Status > 599) {
			f.add(at+".status", "must be 100 to 599, or left out, not %d", p.Status)
		}
	case ProbeTCP:
		wants["target"] = true
		if host, port, err := net.SplitHostPort(p.Target); err != nil || host == "" || port == "" {
			f.add(at+".target", "must be HOST:PORT, not %q", clip(p.Target))
		}
	case ProbeExec:
		wants["command"] = true
		if len(p.Command) < 1 || len(p.Command) > maxArguments || p.Command[0] == "" {
			f.add(at+".command", "must be a program and its arguments, at most %d", maxArguments)
		}
	case ProbeHeartbeat:
	default:
		f.add(at+".type", "must be http, tcp, exec or heartbeat, not %q", clip(string(p.Type)))
		return
	}
	checkSurplus(f, at, p, wants)
}

// checkSurplus refuses fields that the probe's type does not read: whoever wrote one expects it to matter.
func checkSurplus(f *faults, at string, p Probe, wants map[string]bool) {
	if p.Target != "" && !wants["target"] {
		f.add(at+".target", "must be left out for %s", p.Type)
	}
	if p.Status != 0 && !wants["status"] {
		f.add(at+".status", "must be left out for %s", p.Type)
	}
	if len(p.Command) > 0 && !wants["command"] {
		f.add(at+".command", "must be left out for %s", p.Type)
	}
	f.text(at+".target", p.Target, maxTarget)
	for i, arg := range p.Command[:min(len(p.Command), maxArguments)] {
		if len(arg) > maxTarget || strings.ContainsRune(arg, 0) {
			f.add(fmt.Sprintf("%s.command[%d]", at, i), "must be at most %d bytes, without NUL", maxTarget)
		}
	}
}

// ValidateResource says everything that can be seen to be wrong with a resource's manifest by itself, each fault with its
// path. Whether regions and dependencies exist is not seen here.
func ValidateResource(meta omni.Metadata, spec ResourceSpec, drivers driverCheck) error {
	f := resourceFaults(meta, spec, drivers)
	return f.err("resource", meta.Name)
}

func resourceFaults(meta omni.Metadata, spec ResourceSpec, drivers driverCheck) faults {
	var f faults
	checkMeta(&f, meta, true)
	f.name("spec.type", spec.Type)
	checkDependsOn(&f, meta.Name, spec.DependsOn)
	if n := len(spec.Placements); n < 1 || n > MaxPlacements {
		f.add("spec.placements", "must be 1 to %d placements, not %d", MaxPlacements, n)
		return f
	}
	regions := map[string]bool{}
	active := ""
	for i, p := range spec.Placements {
		at := fmt.Sprintf("spec.placements[%d]", i)
		checkPlacement(&f, at, p, drivers)
		if regions[p.Region] {
			f.add(at+".region", "%q has a placement of the resource already; one a region", clip(p.Region))
		}
		regions[p.Region] = true
		if p.Role != Active {
			continue
		}
		if active != "" {
			f.add(at+".role", "two placements are active, in %s and in %s; exactly one may be", clip(active), clip(p.Region))
		}
		active = p.Region
	}
	if active == "" {
		f.add("spec.placements", "must have exactly one with role: active, not none")
	}
	return f
}

func checkDependsOn(f *faults, self string, names []string) {
	if len(names) > MaxDependsOn {
		f.add("spec.dependsOn", "must be at most %d, not %d", MaxDependsOn, len(names))
		return
	}
	seen := map[string]bool{}
	for i, name := range names {
		at := fmt.Sprintf("spec.dependsOn[%d]", i)
		f.name(at, name)
		switch {
		case name == self:
			f.add(at, "forms the cycle %s → %s: a resource cannot depend on itself", clip(self), clip(self))
		case seen[name]:
			f.add(at, "%q is named twice", clip(name))
		}
		seen[name] = true
	}
}

func checkPlacement(f *faults, at string, p PlacementSpec, drivers driverCheck) {
	f.name(at+".region", p.Region)
	if p.Role != Active && p.Role != Standby {
		f.add(at+".role", "must be active or standby, not %q", clip(string(p.Role)))
	}
	f.text(at+".address", p.Address, maxAddress)
	if strings.ContainsFunc(p.Address, unicode.IsSpace) {
		f.add(at+".address", "must not contain blanks")
	}
	if p.Lease.Std() < 0 || p.Lease.Std() > maxLease {
		f.add(at+".lease", "must be at most %s, not %s", omni.Duration(maxLease), p.Lease)
	}
	if raw, err := json.Marshal(p.Config); err != nil {
		f.add(at+".config", "cannot be written as JSON: %v", err)
	} else if len(raw) > MaxConfig {
		f.add(at+".config", "must be at most %d bytes as JSON, not %d", MaxConfig, len(raw))
	}
	if drivers == nil {
		return
	}
	for _, fault := range drivers.Validate(p.Driver, p.Config) {
		fault.Path = at + "." + fault.Path
		*f = append(*f, fault)
	}
}
