package infra

import (
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Region is a place where placements run. A cordoned region takes no failover.
type Region struct {
	Name         string            `json:"name"`
	Labels       map[string]string `json:"labels,omitempty"`
	Spec         RegionSpec        `json:"spec"`
	Cordoned     bool              `json:"cordoned"`
	CordonReason string            `json:"cordon_reason,omitempty"`
	Version      int64             `json:"version"` // grows with each change; its ETag
	CreatedAt    time.Time         `json:"created_at"`
	UpdatedAt    time.Time         `json:"updated_at"`
}

// RegionSpec is the manifest's part of a region.
type RegionSpec struct {
	DisplayName string `json:"displayName,omitempty" yaml:"displayName,omitempty" doc:"what people call it"`
	Zones       []Zone `json:"zones" yaml:"zones" doc:"its availability zones, each with the probes that vote on it; 1 to 16"`
}

// Zone is a part of a region that fails by itself.
type Zone struct {
	Name   string  `json:"name" yaml:"name" doc:"unique in its region"`
	Probes []Probe `json:"probes,omitempty" yaml:"probes,omitempty" doc:"what asks whether the zone is alive; at most 64"`
}

// ProbeType is how a probe asks.
type ProbeType string

// The types of probes.
const (
	ProbeHTTP      ProbeType = "http"
	ProbeTCP       ProbeType = "tcp"
	ProbeExec      ProbeType = "exec"
	ProbeHeartbeat ProbeType = "heartbeat"
)

// Probe asks a zone whether it is alive, once an interval.
type Probe struct {
	Name     string        `json:"name" yaml:"name" doc:"unique in its zone"`
	Type     ProbeType     `json:"type" yaml:"type" doc:"http, tcp, exec or heartbeat"`
	Target   string        `json:"target,omitempty" yaml:"target,omitempty" doc:"a URL for http, HOST:PORT for tcp"`
	Command  []string      `json:"command,omitempty" yaml:"command,omitempty" doc:"for exec: the program and its arguments; exit 0 is alive"`
	Interval omni.Duration `json:"interval,omitempty" yaml:"interval,omitempty" doc:"from one question to the next; default 5s, 100ms to 1h. For heartbeat: the longest silence that is still alive"`
	Timeout  omni.Duration `json:"timeout,omitempty" yaml:"timeout,omitempty" doc:"how long an answer may take; default 2s, at most the interval"`
	Status   int           `json:"status,omitempty" yaml:"status,omitempty" doc:"for http: the status that means alive; default any 2xx"`
}

// Observation is one answer to a probe, as one observer (replica) saw it.
type Observation struct {
	Region   string        `json:"region"`
	Zone     string        `json:"zone"`
	Probe    string        `json:"probe"`
	Observer string        `json:"observer"`
	At       time.Time     `json:"at"`
	OK       bool          `json:"ok"`
	Latency  time.Duration `json:"latency_ns"`
	Error    string        `json:"error,omitempty"`
}
