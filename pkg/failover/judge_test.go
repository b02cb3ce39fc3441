package failover_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/failover"
	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant, if times could be

// judged is a region of zones with the given numbers of probes.
func judged(probes ...int) infra.Region {
	r := infra.Region{Name: "east"}
	for i, n := range probes {
		zone := infra.Zone{Name: string(rune('a' + i))}
		for j := range n {
			zone.Probes = append(zone.Probes, infra.Probe{
				Name: fmt.Sprint("p", j), Type: infra.ProbeTCP, Interval: omni.Duration(time.Second), Timeout: omni.Duration(time.Second),
			})
		}
		r.Spec.Zones = append(r.Spec.Zones, zone)
	}
	return r
}

// seen gives observations of a probe by an observer, one a second, the last a second before noon: + good, - failed, s slow.
func seen(zone, probe, observer, what string) []infra.Observation {
	var list []infra.Observation
	for i, c := range what {
		o := infra.Observation{
			Region: "east", Zone: zone, Probe: probe, Observer: observer, At: noon.Add(-time.Duration(len(what)-i) * time.Second),
			OK: c != '-', Latency: time.Millisecond,
		}
		switch c {
		case '-':
			o.Error = "connection refused"
		case 's':
			o.Latency = 900 * time.Millisecond
		}
		list = append(list, o)
	}
	return list
}

func all(lists ...[]infra.Observation) []infra.Observation {
	var out []infra.Observation
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

func TestJudge(t *testing.T) {
	three := judged(1, 1, 1)
	trigger := failover.Trigger{Failures: 3, Window: omni.Duration(30 * time.Second)}
	zones := func(a, b, c string) []infra.Observation {
		return all(seen("a", "p0", "me", a), seen("b", "p0", "me", b), seen("c", "p0", "me", c))
	}
	for name, c := range map[string]struct {
		region  infra.Region
		seen    []infra.Observation
		trigger failover.Trigger
		want    failover.Health
	}{
		"all is well":                              {three, zones("++++", "++++", "++++"), trigger, failover.Up},
		"a majority of zones is down":              {three, zones("+---", "+---", "++++"), trigger, failover.Down},
		"one zone of three is down":                {three, zones("+---", "++++", "++++"), trigger, failover.Degraded},
		"one is enough when the policy says so":    {three, zones("+---", "++++", "++++"), failover.Trigger{Zones: 1, Failures: 3}, failover.Down},
		"all must agree when the policy says so":   {three, zones("+---", "+---", "++++"), failover.Trigger{Zones: 3, Failures: 3}, failover.Degraded},
		"two failures are not three":               {three, zones("++--", "++--", "++--"), trigger, failover.Degraded},
		"a success ends the row":                   {three, zones("---+", "---+", "---+"), trigger, failover.Up},
		"nothing was seen":                         {three, nil, trigger, failover.Unknown},
		"one zone is silent":                       {three, zones("++++", "++++", ""), trigger, failover.Degraded},
		"two zones are silent":                     {three, zones("++++", "", ""), trigger, failover.Unknown},
		"one is down, and another silent":          {three, zones("+---", "", "++++"), trigger, failover.Unknown},
		"two are down, and the third silent":       {three, zones("+---", "+---", ""), trigger, failover.Down},
		"restless":                                 {three, zones("+-+-+-++", "++++", "++++"), trigger, failover.Degraded},
		"slow":                                     {three, zones("ssss", "++++", "++++"), trigger, failover.Degraded},
		"one slow answer is none":                  {three, zones("+++s", "++++", "++++"), trigger, failover.Up},
		"no probes":                                {judged(0, 0), nil, trigger, failover.Unknown},
		"zones without probes do not vote":         {judged(1, 0, 0), seen("a", "p0", "me", "---"), trigger, failover.Down},
		"fewer zones with probes than must agree":  {judged(1, 0, 0), seen("a", "p0", "me", "---"), failover.Trigger{Zones: 2, Failures: 3}, failover.Degraded},
		"half of a zone's probes are not a zone":   {judged(2), all(seen("a", "p0", "me", "---"), seen("a", "p1", "me", "+++")), trigger, failover.Degraded},
		"more than half of them are":               {judged(3), all(seen("a", "p0", "me", "---"), seen("a", "p1", "me", "---"), seen("a", "p2", "me", "+++")), trigger, failover.Down},
		"one observer of three is alone with it":   {judged(1), all(seen("a", "p0", "x", "---"), seen("a", "p0", "y", "+++"), seen("a", "p0", "z", "+++")), trigger, failover.Degraded},
		"two observers of three have it":           {judged(1), all(seen("a", "p0", "x", "---"), seen("a", "p0", "y", "---"), seen("a", "p0", "z", "+++")), trigger, failover.Down},
		"what lies before the window is forgotten": {judged(1), seen("a", "p0", "me", "---+++++++++++++"), failover.Trigger{Failures: 3, Window: omni.Duration(time.Millisecond)}, failover.Up},
	} {
		t.Run(name, func(t *testing.T) {
			v := failover.Judge(c.region, c.seen, c.trigger, noon)
			if v.Health != c.want {
				t.Errorf("got %s (%s), want %s: %+v", v.Health, v.Reason, c.want, v.Votes)
			}
			if v.Reason == "" || len(v.Votes) != len(c.region.Spec.Zones) {
				t.Errorf("got %+v", v)
			}
		})
	}
	t.Run("the last observation must be fresh", func(t *testing.T) {
		if v := failover.Judge(judged(1), seen("a", "p0", "me", "---"), trigger, noon.Add(time.Minute)); v.Health != failover.Unknown {
			t.Errorf("got %+v", v)
		}
	})
	t.Run("the votes carry their evidence", func(t *testing.T) {
		v := failover.Judge(judged(1), seen("a", "p0", "me", "----"), trigger, noon)
		if got := v.Votes[0].Evidence; len(got) != 1 || got[0] != "p0: 4 failures in a row, last: connection refused" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("the order of observations does not matter", func(t *testing.T) {
		list := zones("+---", "+---", "++++")
		turned := make([]infra.Observation, 0, len(list))
		for i := range list {
			turned = append(turned, list[len(list)-1-i])
		}
		if a, b := failover.Judge(three, list, trigger, noon), failover.Judge(three, turned, trigger, noon); !reflect.DeepEqual(a, b) {
			t.Errorf("%+v and %+v", a, b)
		}
	})
	t.Run("since when", func(t *testing.T) {
		v := failover.Judge(three, zones("++++", "++++", "++++"), trigger, noon)
		before := failover.Verdict{Health: failover.Up, Since: noon.Add(-time.Hour)}
		if got := v.Following(before).Since; !got.Equal(before.Since) {
			t.Errorf("since %s", got)
		}
		before.Health = failover.Down
		if got := v.Following(before).Since; !got.Equal(noon) {
			t.Errorf("since %s", got)
		}
	})
	t.Run("until when it was alive", func(t *testing.T) {
		down := failover.Judge(three, zones("+-----", "++----", "+++---"), trigger, noon) // two must agree
		if down.Health != failover.Down || down.AliveUntil == nil || !down.AliveUntil.Equal(noon.Add(-5*time.Second)) {
			t.Fatalf("got %+v", down)
		}
		later := failover.Judge(three, zones("---", "---", "---"), trigger, noon)
		if later.AliveUntil != nil {
			t.Errorf("nobody saw it alive, and it says %s", later.AliveUntil)
		}
		unseen := failover.Judge(three, nil, trigger, noon).Following(down) // as after a restart
		if got := later.Following(unseen).AliveUntil; got == nil || !got.Equal(*down.AliveUntil) {
			t.Errorf("the outage is forgotten in its middle: %v", got)
		}
		up := failover.Judge(three, zones("++++", "++++", "++++"), trigger, noon).Following(down)
		if got := later.Following(up).AliveUntil; up.AliveUntil != nil || got != nil {
			t.Errorf("an outage that is over is remembered: %v, %v", up.AliveUntil, got)
		}
	})
}

// FuzzJudge feeds any region, observations and trigger: the verdict always says one of the four, with one vote a zone.
func FuzzJudge(f *testing.F) {
	region, err := json.Marshal(judged(1, 2, 0))
	if err != nil {
		f.Fatal(err)
	}
	seenJSON, err := json.Marshal(seen("a", "p0", "me", "+-s---"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(region, seenJSON, 2, 3, int64(time.Second))
	f.Fuzz(func(t *testing.T, regionJSON, seenJSON []byte, zones, failures int, window int64) {
		var r infra.Region
		var list []infra.Observation
		_ = json.Unmarshal(regionJSON, &r)
		_ = json.Unmarshal(seenJSON, &list)
		v := failover.Judge(r, list, failover.Trigger{Zones: zones, Failures: failures, Window: omni.Duration(window)}, noon)
		switch v.Health {
		case failover.Up, failover.Down, failover.Degraded, failover.Unknown:
		default:
			t.Errorf("the verdict is %q", v.Health)
		}
		if len(v.Votes) != len(r.Spec.Zones) {
			t.Errorf("%d votes of %d zones", len(v.Votes), len(r.Spec.Zones))
		}
	})
}
