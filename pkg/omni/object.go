package omni

import (
	"fmt"
	"strings"
	"time"
)

// Metadata names an object of a manifest. Tenant is "" for the platform's own kinds (Region, Tenant).
type Metadata struct {
	Name   string            `json:"name" yaml:"name" doc:"1 to 63 of a–z, 0–9 and '-'; unique among its kind and tenant"`
	Tenant string            `json:"tenant,omitempty" yaml:"tenant,omitempty" doc:"the tenant that owns it; left out for Region and Tenant"`
	Labels map[string]string `json:"labels,omitempty" yaml:"labels,omitempty" doc:"free pairs of text, for selecting"`
}

// Outcome is what applying an object did.
type Outcome string

// The outcomes of an apply.
const (
	Created   Outcome = "created"
	Updated   Outcome = "updated"
	Unchanged Outcome = "unchanged"
)

// Duration is a time.Duration that JSON and YAML write as text, such as "30s" or "1h15m"; negative ones are refused.
type Duration time.Duration

// Std gives the time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String writes it as time.Duration does, without zero units at the end ("30m", not "30m0s").
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil || parsed < 0 {
		return fmt.Errorf("%q is not a duration; write one such as 500ms, 30s or 1h15m", text)
	}
	*d = Duration(parsed)
	return nil
}
