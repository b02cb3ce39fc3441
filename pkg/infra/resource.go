package infra

import (
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Role is what a placement is at the moment.
type Role string

// The roles. Only active and standby may stand in a manifest.
const (
	Active  Role = "active"
	Standby Role = "standby"
	Fenced  Role = "fenced"  // kept from serving; its data may be behind
	Stopped Role = "stopped" // does not run
)

// Resource is a logical thing of a tenant, such as its orders database, with a placement in each region that has it.
type Resource struct {
	Tenant    string            `json:"tenant"`
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels,omitempty"`
	Type      string            `json:"type"`
	DependsOn []string          `json:"depends_on"`
	// Serving is the region whose placement users and dependents are sent to; it follows the active one with a run's route step.
	Serving    string      `json:"serving"`
	Placements []Placement `json:"placements"` // sorted by region
	Version    int64       `json:"version"`
	CreatedAt  time.Time   `json:"created_at"`
	UpdatedAt  time.Time   `json:"updated_at"`
}

// Placement is a resource in one region.
type Placement struct {
	Region  string         `json:"region"`
	Role    Role           `json:"role"` // now; PlacementSpec.Role is where it started
	Driver  string         `json:"driver"`
	Address string         `json:"address"`
	Config  map[string]any `json:"config,omitempty"`
	Lease   omni.Duration  `json:"lease,omitempty"`
	Epoch   int64          `json:"epoch"` // of the leader that set the role last; 0 before any run
	Run     string         `json:"run,omitempty"`
	Since   time.Time      `json:"since"` // when it took its role
}

// ResourceSpec is the manifest's part of a resource.
type ResourceSpec struct {
	Type       string          `json:"type" yaml:"type" doc:"database, cache, queue, app, loadbalancer, or another word; databases move before apps before load balancers"`
	DependsOn  []string        `json:"dependsOn,omitempty" yaml:"dependsOn,omitempty" doc:"names of the tenant's resources that must serve before this one can; no cycles"`
	Placements []PlacementSpec `json:"placements" yaml:"placements" doc:"one a region, exactly one of them active"`
}

// PlacementSpec is the manifest's part of a placement.
type PlacementSpec struct {
	Region  string         `json:"region" yaml:"region" doc:"the name of a Region"`
	Role    Role           `json:"role" yaml:"role" doc:"active or standby: where it starts; afterwards only runs move it"`
	Driver  string         `json:"driver" yaml:"driver" doc:"exec, http or sim"`
	Address string         `json:"address,omitempty" yaml:"address,omitempty" doc:"HOST or HOST:PORT where it serves; the host is what DNS answers"`
	Config  map[string]any `json:"config,omitempty" yaml:"config,omitempty" doc:"what the driver needs; see its documentation"`
	Lease   omni.Duration  `json:"lease,omitempty" yaml:"lease,omitempty" doc:"after so long without contact it stops serving by itself; lets a run wait this out when it cannot be fenced"`
}

// PlacementChanged is the data of the event "omni.placement.changed": a placement took a role, or was removed (Role "").
// Billing opens and closes usage by it.
type PlacementChanged struct {
	Tenant   string    `json:"tenant"`
	Resource string    `json:"resource"`
	Type     string    `json:"type"`
	Region   string    `json:"region"`
	Role     Role      `json:"role"`
	Run      string    `json:"run,omitempty"`
	At       time.Time `json:"at"`
}

// EventPlacementChanged is the type of that event.
const EventPlacementChanged = "omni.placement.changed"

// RecordChange is a DNS record set whose answer a run has changed, and what every authoritative server must answer now.
type RecordChange struct {
	Zone   string   `json:"zone"` // with the final dot, as Name
	Name   string   `json:"name"`
	Type   string   `json:"type"` // A or AAAA
	Values []string `json:"values"`
	Serial uint32   `json:"serial"`
}
