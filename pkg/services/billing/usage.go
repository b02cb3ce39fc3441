package billing

import "time"

// Unit is the base unit of usage: one placement, running for one second.
const Unit = "placement_second"

// UsageRow is one interval of one placement in one role, cut to what was asked for.
type UsageRow struct {
	Tenant    string     `json:"tenant"`
	Region    string     `json:"region"`
	Resource  string     `json:"resource"`
	Type      string     `json:"type"`
	Role      string     `json:"role"`              // active or standby
	Run       string     `json:"run,omitempty"`     // that began it
	EndRun    string     `json:"end_run,omitempty"` // that ended it
	Unit      string     `json:"unit"`
	Quantity  int64      `json:"quantity"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at"` // exclusive; null while it lasts
}

// Total is the usage of one group. Only the field that the totals are grouped by is set.
type Total struct {
	Tenant   string `json:"tenant,omitempty"`
	Region   string `json:"region,omitempty"`
	Resource string `json:"resource,omitempty"`
	Role     string `json:"role,omitempty"`
	Run      string `json:"run,omitempty"`
	Unit     string `json:"unit"`
	Quantity int64  `json:"quantity"`
}

// Report is a page of intervals with the totals of all of them, not only of the page.
type Report struct {
	Items  []UsageRow `json:"items"`
	Next   string     `json:"next,omitempty"`
	Totals []Total    `json:"totals"`
	AsOf   time.Time  `json:"as_of"` // up to when intervals that still last are counted
}

// Filter selects usage; a zero field selects everything.
type Filter struct {
	Tenant string
	Region string
	Run    string    // intervals that this run began, and those that it ended
	From   time.Time // intervals are cut to [From, To)
	To     time.Time
	By     string // what totals are grouped by: region (the default), run, resource, role or tenant
}

// second is in microseconds.
const second = int64(time.Second / time.Microsecond)

// Seconds counts the whole seconds of UTC that begin within [start, end), in microseconds since 1970. For any middle between
// the two, Seconds(start, middle) + Seconds(middle, end) is exactly Seconds(start, end).
func Seconds(start, end int64) int64 {
	if end <= start {
		return 0
	}
	return begun(end) - begun(start)
}

// begun counts the seconds that begin before the moment us.
func begun(us int64) int64 {
	if us <= 0 {
		return us / second
	}
	return (us + second - 1) / second
}
