package tenants

import (
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// EventChanged is the type of the event that follows each change of a tenant; its data is a Changed.
const EventChanged = "omni.tenant.changed"

// Tenant is a customer of the platform, or a part of one, that owns resources and is billed for them.
type Tenant struct {
	Name            string            `json:"name"`
	Labels          map[string]string `json:"labels,omitempty"`
	DisplayName     string            `json:"display_name,omitempty"`
	BillingCurrency string            `json:"billing_currency"`   // ISO 4217
	Deleting        bool              `json:"deleting,omitempty"` // its deletion with all that it owns has begun
	Version         int64             `json:"version"`            // grows with each change; its ETag
	CreatedAt       time.Time         `json:"created_at"`
	UpdatedAt       time.Time         `json:"updated_at"`
}

// TenantSpec is the manifest's part of a tenant.
type TenantSpec struct {
	DisplayName     string `json:"displayName,omitempty" yaml:"displayName,omitempty" doc:"what people call it; at most 200 characters"`
	BillingCurrency string `json:"billingCurrency,omitempty" yaml:"billingCurrency,omitempty" doc:"what it is billed in: an active ISO 4217 code with a minor unit; default USD"`
}

// Changed is the data of EventChanged.
type Changed struct {
	Tenant Tenant `json:"tenant"`
	Change string `json:"change"` // created, updated, deleting or deleted
}

// Bounds of what a tenant may carry.
const (
	maxDisplayName = 200 // characters
	maxLabels      = 64
	maxLabelKey    = 63  // bytes
	maxLabelValue  = 256 // bytes
)

// reserved would be taken for the platform itself. ("*", which would be everybody, is no name anyway.)
const reserved = "platform"

// Manifest gives the tenant in the form in which it is applied.
func (t Tenant) Manifest() (omni.Metadata, TenantSpec) {
	return omni.Metadata{Name: t.Name, Labels: t.Labels}, TenantSpec{DisplayName: t.DisplayName, BillingCurrency: t.BillingCurrency}
}

// checked gives the tenant that meta and spec ask for, with defaults filled in, or every field that is wrong with them.
func checked(meta omni.Metadata, spec TenantSpec, now time.Time) (Tenant, error) {
	if spec.BillingCurrency == "" {
		spec.BillingCurrency = DefaultCurrency
	}
	fields := checkName(meta.Name)
	if meta.Tenant != "" {
		fields = append(fields, omni.FieldError{Path: "metadata.tenant", Message: "must be left out: a tenant belongs to the platform"})
	}
	fields = append(fields, checkLabels(meta.Labels)...)
	if message := checkText(spec.DisplayName, maxDisplayName); message != "" {
		fields = append(fields, omni.FieldError{Path: "spec.displayName", Message: message})
	}
	hint := ""
	if err := checkCurrency("spec.billingCurrency", spec.BillingCurrency, now); err != nil {
		wrong := asError(err)
		fields, hint = append(fields, wrong.Fields...), wrong.Hint
	}
	if len(fields) > 0 {
		return Tenant{}, omni.Errorf(omni.CodeInvalid, "the tenant is not valid: %s %s", fields[0].Path, fields[0].Message).
			WithFields(fields...).WithHint("%s", hint)
	}
	return Tenant{Name: meta.Name, Labels: maps.Clone(meta.Labels), DisplayName: spec.DisplayName, BillingCurrency: spec.BillingCurrency}, nil
}

func checkName(name string) []omni.FieldError {
	if err := omni.CheckName("metadata.name", name); err != nil {
		return asError(err).Fields
	}
	if name == reserved {
		return []omni.FieldError{{Path: "metadata.name", Message: fmt.Sprintf("%q is reserved for the platform itself", name)}}
	}
	return nil
}

func checkLabels(labels map[string]string) []omni.FieldError {
	if len(labels) > maxLabels {
		return []omni.FieldError{{Path: "metadata.labels", Message: fmt.Sprintf("has %d pairs; at most %d are allowed", len(labels), maxLabels)}}
	}
	var fields []omni.FieldError
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if key == "" || len(key) > maxLabelKey || checkText(key, maxLabelKey) != "" {
			fields = append(fields, omni.FieldError{Path: "metadata.labels", Message: fmt.Sprintf("a key must be 1 to %d printable bytes", maxLabelKey)})
			continue
		}
		if message := checkText(labels[key], maxLabelValue); message != "" {
			fields = append(fields, omni.FieldError{Path: "metadata.labels." + key, Message: message})
		}
	}
	return fields
}

// checkText says what is wrong with a text that people will read: too long, not UTF-8, or with characters that do not
// show or that turn the direction of those around them (Unicode UAX 9).
func checkText(s string, longest int) string {
	switch {
	case !utf8.ValidString(s):
		return "is not valid UTF-8"
	case utf8.RuneCountInString(s) > longest:
		return fmt.Sprintf("is longer than %d characters", longest)
	}
	for _, r := range s {
		if unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Bidi_Control, r) {
			return fmt.Sprintf("holds the invisible character U+%04X", r)
		}
	}
	return ""
}

// same says whether applying would change nothing.
func (t Tenant) same(o Tenant) bool {
	return t.DisplayName == o.DisplayName && t.BillingCurrency == o.BillingCurrency && maps.Equal(t.Labels, o.Labels)
}
