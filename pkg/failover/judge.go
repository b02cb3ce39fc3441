package failover

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
)

// Bounds of what the judge looks at.
const (
	restlessChanges = 3  // changes between alive and not within the window that make a probe restless
	slowSamples     = 3  // answers within the window before a probe can be called slow
	evidenceLines   = 16 // of a zone's vote
	evidenceText    = 200
)

// Judge says how a region is, from what was observed of it. It is a pure function.
//
// A probe is down for an observer when its last Failures observations failed; it is down when more than half of the observers
// with fresh observations say so. A zone votes down when more than half of its probes are down, unknown when more than half of
// them have no fresh observation, and degraded when some probe is down, failing, restless (alive and not by turns) or slow (its
// median answer takes more than half of its timeout). The region is down when at least Zones zones vote so (0: a majority of
// the zones with probes); unknown when the zones that know are too few to say otherwise; degraded when any zone is not up.
//
// An observation is fresh within Window, or within two of its probe's intervals if that is longer. The verdict's Since is now;
// see Verdict.Following.
func Judge(region infra.Region, observations []infra.Observation, t Trigger, now time.Time) Verdict {
	t = t.WithDefaults()
	v := Verdict{Region: region.Name, Since: now, At: now, Votes: []Vote{}}
	seen := group(observations)
	voters := 0
	count := map[Health]int{}
	for _, zone := range region.Spec.Zones {
		vote := judgeZone(zone, seen, t, now)
		v.Votes = append(v.Votes, vote)
		if vote.Probes > 0 {
			voters++
			count[vote.Health]++
		}
	}
	need := t.Zones
	if need == 0 {
		need = voters/2 + 1
	}
	v.Health, v.Reason = conclude(voters, need, count)
	if v.Health == Down {
		v.AliveUntil = aliveUntil(region, seen, v.Votes, need)
	}
	return v
}

// aliveUntil is when the last of the need zones answered that were the first to stop; nil when one of them was never seen to answer.
func aliveUntil(region infra.Region, seen map[probeKey]map[string][]infra.Observation, votes []Vote, need int) *time.Time {
	var last []time.Time // when each zone that is down answered last
	for i, zone := range region.Spec.Zones {
		if votes[i].Health == Down {
			last = append(last, lastAnswer(zone, seen))
		}
	}
	slices.SortFunc(last, time.Time.Compare)
	if need < 1 || need > len(last) || last[0].IsZero() {
		return nil
	}
	return &last[need-1]
}

// lastAnswer is when a probe of the zone answered last, for any observer; the zero time when none did.
func lastAnswer(zone infra.Zone, seen map[probeKey]map[string][]infra.Observation) (at time.Time) {
	for _, probe := range zone.Probes {
		for _, list := range seen[probeKey{zone.Name, probe.Name}] {
			for _, o := range list {
				if o.OK && o.At.After(at) {
					at = o.At
				}
			}
		}
	}
	return at
}

func conclude(voters, need int, count map[Health]int) (Health, string) {
	switch {
	case voters == 0:
		return Unknown, "no zone has a probe"
	case count[Down] >= need:
		return Down, fmt.Sprintf("%d of %d zones are down, %d must agree", count[Down], voters, need)
	case count[Unknown] > 0 && count[Down]+count[Unknown] >= min(need, voters):
		return Unknown, fmt.Sprintf("%d of %d zones have no fresh observations", count[Unknown], voters)
	case count[Up] == voters:
		return Up, fmt.Sprintf("all %d zones are up", voters)
	}
	var parts []string
	for _, h := range []Health{Down, Degraded, Unknown} {
		if count[h] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[h], h))
		}
	}
	return Degraded, fmt.Sprintf("of %d zones %s; %d must be down", voters, strings.Join(parts, ", "), need)
}

// Following gives v with the Since of the verdict before it, when that said the same, and with its AliveUntil, while the outage lasts.
func (v Verdict) Following(before Verdict) Verdict {
	if before.Health == v.Health && !before.Since.IsZero() && before.Since.Before(v.Since) {
		v.Since = before.Since
	}
	// An outage begins once, also when it is not seen for a while in its middle, as after a restart of omnid.
	if (v.Health == Down || v.Health == Unknown) && (before.Health == Down || before.Health == Unknown) && before.AliveUntil != nil {
		v.AliveUntil = before.AliveUntil
	}
	return v
}

type probeKey struct{ zone, probe string }

// group sorts observations by probe and observer, each oldest first.
func group(observations []infra.Observation) map[probeKey]map[string][]infra.Observation {
	out := map[probeKey]map[string][]infra.Observation{}
	for _, o := range observations {
		key := probeKey{o.Zone, o.Probe}
		if out[key] == nil {
			out[key] = map[string][]infra.Observation{}
		}
		out[key][o.Observer] = append(out[key][o.Observer], o)
	}
	for _, byObserver := range out {
		for _, list := range byObserver {
			slices.SortStableFunc(list, func(a, b infra.Observation) int { return a.At.Compare(b.At) })
		}
	}
	return out
}

func judgeZone(zone infra.Zone, seen map[probeKey]map[string][]infra.Observation, t Trigger, now time.Time) Vote {
	vote := Vote{Zone: zone.Name, Probes: len(zone.Probes)}
	silent, poor := 0, 0
	for _, probe := range zone.Probes {
		health, why := judgeProbe(probe, seen[probeKey{zone.Name, probe.Name}], t, now)
		switch health {
		case Down:
			vote.Down++
		case Unknown:
			silent++
		case Degraded:
			poor++
		case Up:
		}
		if why != "" && len(vote.Evidence) < evidenceLines {
			vote.Evidence = append(vote.Evidence, probe.Name+": "+why)
		}
	}
	switch {
	case vote.Probes == 0:
		vote.Health = Unknown
	case 2*vote.Down > vote.Probes:
		vote.Health = Down
	case 2*silent > vote.Probes:
		vote.Health = Unknown
	case vote.Down+silent+poor > 0:
		vote.Health = Degraded
	default:
		vote.Health = Up
	}
	return vote
}

// window is how far back observations of a probe count.
func window(p infra.Probe, t Trigger) time.Duration { return max(t.Window.Std(), 2*p.Interval.Std()) }

func judgeProbe(p infra.Probe, byObserver map[string][]infra.Observation, t Trigger, now time.Time) (Health, string) {
	since := now.Add(-window(p, t))
	fresh, down, poor := 0, 0, 0
	why := ""
	for _, observer := range slices.SortedFunc(maps.Keys(byObserver), cmp.Compare[string]) {
		list := byObserver[observer]
		last := list[len(list)-1]
		if last.At.Before(since) {
			continue
		}
		fresh++
		health, reason := judgeObserver(p, list, t, since)
		switch health {
		case Down:
			down++
		case Degraded:
			poor++
		case Up, Unknown:
		}
		if reason != "" && (why == "" || health == Down) {
			why = reason
		}
	}
	switch {
	case fresh == 0:
		return Unknown, "no fresh observation"
	case 2*down > fresh:
		return Down, why
	case down+poor > 0:
		return Degraded, why
	}
	return Up, ""
}

// judgeObserver says how one observer sees a probe; its last observation is fresh.
func judgeObserver(p infra.Probe, list []infra.Observation, t Trigger, since time.Time) (Health, string) {
	failures := 0
	for i := len(list) - 1; i >= 0 && !list[i].OK; i-- {
		failures++
	}
	last := list[len(list)-1]
	if failures >= t.Failures {
		return Down, fmt.Sprintf("%d failures in a row, last: %s", failures, short(last.Error))
	}
	start := len(list)
	for start > 0 && !list[start-1].At.Before(since) {
		start--
	}
	recent := list[start:]
	if n := changes(recent); n >= restlessChanges {
		return Degraded, fmt.Sprintf("restless: %d changes within %s", n, window(p, t))
	}
	if failures > 0 {
		return Degraded, fmt.Sprintf("%d of %d failures in a row, last: %s", failures, t.Failures, short(last.Error))
	}
	if slow := median(recent); p.Timeout > 0 && slow > p.Timeout.Std()/2 {
		return Degraded, fmt.Sprintf("slow: half of its answers take more than %s of %s", slow.Round(time.Millisecond), p.Timeout)
	}
	return Up, ""
}

func changes(list []infra.Observation) int {
	n := 0
	for i := 1; i < len(list); i++ {
		if list[i].OK != list[i-1].OK {
			n++
		}
	}
	return n
}

// median gives the median latency of the answers that were good; 0 when they are too few.
func median(list []infra.Observation) time.Duration {
	var taken []time.Duration
	for _, o := range list {
		if o.OK {
			taken = append(taken, o.Latency)
		}
	}
	if len(taken) < slowSamples {
		return 0
	}
	slices.Sort(taken)
	return taken[len(taken)/2]
}

func short(text string) string {
	if text == "" {
		return "failed"
	}
	if len(text) > evidenceText {
		return strings.ToValidUTF8(text[:evidenceText], "") + "…"
	}
	return text
}

// lookback is how far back observations of a region can matter: what the judge must be given.
func lookback(region infra.Region, t Trigger) time.Duration {
	t = t.WithDefaults()
	back := t.Window.Std()
	for _, zone := range region.Spec.Zones {
		for _, p := range zone.Probes {
			back = max(back, window(p, t), time.Duration(t.Failures+1)*(p.Interval+p.Timeout).Std())
		}
	}
	return back
}
