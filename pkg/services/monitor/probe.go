package monitor

import (
	"cmp"
	"context"
	"hash/fnv"
	"io"
	"net/url"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
)

// Limits that hold whatever a definition says; infra refuses others when a region is applied.
const (
	defaultInterval = 5 * time.Second
	minInterval     = 100 * time.Millisecond
	maxInterval     = time.Hour
	defaultTimeout  = 2 * time.Second
	minTimeout      = 10 * time.Millisecond
	// firstWithin bounds how long a new probe waits for its first question.
	firstWithin = 5 * time.Second
	// ringSpan is how far back a ring reaches, and minRing and maxRing are how many observations it may hold then.
	ringSpan = 5 * time.Minute
	minRing  = 32
	maxRing  = 512
)

// Status is what a probe shows.
type Status string

// The statuses.
const (
	Unknown Status = "unknown" // not asked yet
	Up      Status = "up"
	Down    Status = "down"
)

// key names a probe.
type key struct{ region, zone, probe string }

func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(k.region, o.region), cmp.Compare(k.zone, o.zone), cmp.Compare(k.probe, o.probe))
}

// ask puts one question to a target; nil means that it is alive.
type ask func(ctx context.Context) error

// probe is one probe with what was observed of it.
type probe struct {
	key      key
	def      infra.Probe
	shown    string // the target, without a password
	interval time.Duration
	timeout  time.Duration
	ask      ask // nil for heartbeat

	due   time.Time // when to ask next; guarded by schedule.mu, as index
	index int       // in the heap; -1 outside

	busy    atomic.Bool // a question is under way
	skipped atomic.Int64

	mu       sync.Mutex
	ring     []answer // oldest at next once it is full
	next     int
	status   Status
	since    time.Time
	failures int       // in a row
	beat     time.Time // of a heartbeat: the last sign of life, or when it began to be watched
	beats    int64     // of a heartbeat: how many all replicas had been given, when the table was read last; -1 before
}

// answer is an observation without what all of a probe's observations share.
type answer struct {
	at      time.Time
	latency time.Duration
	ok      bool
	err     string
}

func newProbe(k key, def infra.Probe, now time.Time) *probe {
	p := &probe{key: k, def: def, shown: def.Target, index: -1, status: Unknown, since: now, beat: now, beats: -1}
	if u, err := url.Parse(def.Target); err == nil && u.User != nil {
		p.shown = u.Redacted()
	}
	p.interval = def.Interval.Std()
	if p.interval <= 0 {
		p.interval = defaultInterval
	}
	p.interval = min(max(p.interval, minInterval), maxInterval)
	p.timeout = def.Timeout.Std()
	if p.timeout <= 0 {
		p.timeout = defaultTimeout
	}
	p.timeout = min(max(p.timeout, minTimeout), p.interval)
	p.due = now.Add(p.phase())
	if def.Type == infra.ProbeHeartbeat {
		p.due = now.Add(p.interval) // its first silence must last as long as any other
	}
	return p
}

// same says whether the probe is still the one that def describes.
func (p *probe) same(def infra.Probe) bool { return reflect.DeepEqual(p.def, def) }

// phase spreads the probes of an interval evenly, by their names, so that they are never asked all at once.
func (p *probe) phase() time.Duration {
	h := fnv.New64a()
	for _, part := range []string{p.key.region, p.key.zone, p.key.probe} {
		_, _ = io.WriteString(h, part+"/") // a hash takes everything
	}
	// FNV differs little in its high bits for names that differ at their end; multiplying and taking the high half spreads these.
	spread := (h.Sum64() * 0x9E3779B97F4A7C15) >> 32
	return time.Duration(spread * uint64(min(p.interval, firstWithin)) >> 32) // both factors are below 2^32 and 2^33
}

// capacity is how many answers the ring holds.
func (p *probe) capacity() int { return min(max(int(ringSpan/p.interval), minRing), maxRing) }

// record adds an answer, and says whether it changed the status.
func (p *probe) record(a answer) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.ring); n > 0 {
		if last := p.ring[(p.next+n-1)%n]; last.err == a.err {
			a.err = last.err // the same text, once
		}
	}
	if len(p.ring) < p.capacity() {
		p.ring = append(p.ring, a)
	} else {
		p.ring[p.next] = a
		p.next = (p.next + 1) % len(p.ring)
	}
	status := Up
	p.failures++
	if a.ok {
		p.failures = 0
	} else {
		status = Down
	}
	if changed = status != p.status; changed {
		p.status, p.since = status, a.at
	}
	return changed
}

// last is the newest answer; ok is false without one. The caller holds p.mu.
func (p *probe) last() (a answer, ok bool) {
	if n := len(p.ring); n > 0 {
		return p.ring[(p.next+n-1)%n], true
	}
	return answer{}, false
}

// observations appends what was observed at since or later to list, oldest first. now is a reading of the clock with which they were
// made: how long ago each was is told by its monotonic part, so that a wall clock that was set in between, forward or back, makes
// nothing newer or older than it is.
func (p *probe) observations(list []infra.Observation, observer string, since, now time.Time) []infra.Observation {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.ring {
		a := p.ring[(p.next+i)%len(p.ring)]
		at := now.Add(-now.Sub(a.at)).UTC()
		if at.Before(since) {
			continue
		}
		list = append(list, infra.Observation{
			Region: p.key.region, Zone: p.key.zone, Probe: p.key.probe, Observer: observer,
			At: at, OK: a.ok, Latency: a.latency, Error: a.err,
		})
	}
	return list
}

// State is what an observer makes of a probe. Times are UTC.
type State struct {
	Region    string          `json:"region"`
	Zone      string          `json:"zone"`
	Probe     string          `json:"probe"`
	Observer  string          `json:"observer"`
	Type      infra.ProbeType `json:"type,omitempty"`
	Target    string          `json:"target,omitempty"`
	Status    Status          `json:"status"`
	Since     time.Time       `json:"since"`
	At        *time.Time      `json:"at,omitempty"` // of the last answer; left out when there is none, or another observer has it
	LatencyMS float64         `json:"latency_ms"`   // of the last answer, or of the one that changed the status
	Failures  int             `json:"failures"`     // in a row; 0 for other observers
	Skipped   int64           `json:"skipped"`      // questions that could not be asked in time; 0 for other observers
	Error     string          `json:"error,omitempty"`
}

func (p *probe) state(observer string) State {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := State{
		Region: p.key.region, Zone: p.key.zone, Probe: p.key.probe, Observer: observer, Type: p.def.Type, Target: p.shown,
		Status: p.status, Since: p.since.UTC(), Failures: p.failures, Skipped: p.skipped.Load(),
	}
	if a, ok := p.last(); ok {
		at := a.at.UTC()
		s.At, s.LatencyMS, s.Error = &at, milliseconds(a.latency), a.err
	}
	return s
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
