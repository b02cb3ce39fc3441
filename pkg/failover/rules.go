package failover

import (
	"fmt"
	"slices"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// What a policy's fields are when they are left out.
const (
	defaultFailures   = 3
	defaultWindow     = 30 * time.Second
	defaultCooldown   = 30 * time.Minute
	defaultMaxLag     = 5 * time.Second
	defaultHealthyFor = 15 * time.Minute
)

// Bounds of a policy.
const (
	maxTargets  = 16
	maxZones    = 16
	maxFailures = 1000
	minWindow   = 100 * time.Millisecond
	maxWindow   = time.Hour
	maxCooldown = 30 * 24 * time.Hour
)

// WithDefaults returns a copy in which every field that was left out has its default. Trigger.Zones stays 0: the majority
// depends on the region.
func (s PolicySpec) WithDefaults() PolicySpec {
	s.Trigger = s.Trigger.WithDefaults()
	fill(&s.Cooldown, defaultCooldown)
	fill(&s.MaxLag, defaultMaxLag)
	fill(&s.Failback.HealthyFor, defaultHealthyFor)
	if s.OnStepFailure == "" {
		s.OnStepFailure = PauseOnFailure
	}
	if s.Approval == "" {
		s.Approval = Automatic
	}
	if s.Failback.Mode == "" {
		s.Failback.Mode = Manual
	}
	return s
}

// WithDefaults returns a copy in which Failures and Window have their defaults when they were left out.
func (t Trigger) WithDefaults() Trigger {
	if t.Failures == 0 {
		t.Failures = defaultFailures
	}
	fill(&t.Window, defaultWindow)
	return t
}

func fill(d *omni.Duration, otherwise time.Duration) {
	if *d == 0 {
		*d = omni.Duration(otherwise)
	}
}

// ValidatePolicy says everything that is wrong with a policy's manifest by itself, each fault with its path; nil when nothing
// is. Whether its regions exist is not seen here.
func ValidatePolicy(meta omni.Metadata, spec PolicySpec) error {
	var list []omni.FieldError
	add := func(path, format string, args ...any) {
		list = append(list, omni.FieldError{Path: path, Message: fmt.Sprintf(format, args...)})
	}
	name := func(path, value string) {
		if omni.CheckName(path, value) != nil {
			add(path, "must be 1 to 63 of a–z, 0–9 and '-', with no '-' at either end, not %q", clip(value))
		}
	}
	span := func(path string, d omni.Duration, least, most time.Duration) {
		if d.Std() < least || d.Std() > most {
			add(path, "must be %s to %s, not %s", omni.Duration(least), omni.Duration(most), d)
		}
	}
	name("metadata.name", meta.Name)
	name("metadata.tenant", meta.Tenant)
	if len(meta.Labels) > 64 {
		add("metadata.labels", "must be at most 64, not %d", len(meta.Labels))
	}
	name("spec.primary", spec.Primary)
	validateTargets(spec, add, name)
	s := spec.WithDefaults()
	if s.Trigger.Zones < 0 || s.Trigger.Zones > maxZones {
		add("spec.trigger.zones", "must be 1 to %d, or left out for a majority, not %d", maxZones, s.Trigger.Zones)
	}
	if s.Trigger.Failures < 1 || s.Trigger.Failures > maxFailures {
		add("spec.trigger.failures", "must be 1 to %d, not %d", maxFailures, s.Trigger.Failures)
	}
	span("spec.trigger.window", s.Trigger.Window, minWindow, maxWindow)
	span("spec.cooldown", s.Cooldown, 0, maxCooldown)
	span("spec.maxLag", s.MaxLag, 0, maxCooldown)
	span("spec.failback.healthyFor", s.Failback.HealthyFor, 0, maxCooldown)
	if !slices.Contains([]OnFailure{PauseOnFailure, RollbackOnFailure, ContinueOnFailure}, s.OnStepFailure) {
		add("spec.onStepFailure", "must be pause, rollback or continue, not %q", clip(string(s.OnStepFailure)))
	}
	for path, a := range map[string]Approval{"spec.approval": s.Approval, "spec.failback.mode": s.Failback.Mode} {
		if a != Automatic && a != Manual {
			add(path, "must be automatic or manual, not %q", clip(string(a)))
		}
	}
	return policyError(meta.Name, list)
}

func validateTargets(spec PolicySpec, add func(path, format string, args ...any), name func(path, value string)) {
	if n := len(spec.Targets); n < 1 || n > maxTargets {
		add("spec.targets", "must be 1 to %d regions, not %d", maxTargets, n)
		return
	}
	for i, target := range spec.Targets {
		path := fmt.Sprintf("spec.targets[%d]", i)
		name(path, target)
		switch {
		case target == spec.Primary:
			add(path, "%q is the primary; a target is another region", clip(target))
		case slices.Contains(spec.Targets[:i], target):
			add(path, "%q is named twice", clip(target))
		}
	}
}

func policyError(name string, list []omni.FieldError) error {
	if len(list) == 0 {
		return nil
	}
	slices.SortStableFunc(list, func(a, b omni.FieldError) int {
		switch {
		case a.Path < b.Path:
			return -1
		case a.Path > b.Path:
			return 1
		}
		return 0
	})
	return omni.Errorf(omni.CodeInvalid, "policy %s: %s %s", clip(name), list[0].Path, list[0].Message).WithFields(list...)
}
