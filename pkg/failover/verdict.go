package failover

import "time"

// Health is what a verdict says.
type Health string

// The verdicts. Unknown means that too few observations are fresh enough to say anything else.
const (
	Up       Health = "up"
	Degraded Health = "degraded"
	Down     Health = "down"
	Unknown  Health = "unknown"
)

// Verdict is the judgement on a region at one moment, with the votes that led to it.
type Verdict struct {
	Region string    `json:"region"`
	Health Health    `json:"health"`
	Since  time.Time `json:"since"` // since when it has been so
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Votes  []Vote    `json:"votes"`
	// AliveUntil is when a region that is down was last seen not to be: the moment after which the last of the zones that had to agree
	// answered no more. Null when nobody saw it alive before.
	AliveUntil *time.Time `json:"alive_until,omitempty"`
}

// Vote is what one zone says: Down when more than half of its probes are down, Degraded when some are.
type Vote struct {
	Zone     string   `json:"zone"`
	Health   Health   `json:"health"`
	Probes   int      `json:"probes"`
	Down     int      `json:"down"`
	Evidence []string `json:"evidence,omitempty"` // one line a failing probe: its name, failures in a row, last error
}
