package monitor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

// These tests stand inside the package to put questions of their own in the place of the network, so that time can be
// fake.

// bubble is a running service in fake time, whose regions the test sets.
type bubble struct {
	*Service
	t       *testing.T // of the bubble
	mu      sync.Mutex
	regions []infra.Region
	err     error
	counts  counts
}

// counts gathers what Metrics is told.
type counts struct {
	answered, skipped atomic.Int64
	late              atomic.Int64 // the latest, in ns
}

func (c *counts) ProbeAnswered(_ string, _ infra.ProbeType, _ bool, _, late time.Duration) {
	c.answered.Add(1)
	for {
		old := c.late.Load()
		if int64(late) <= old || c.late.CompareAndSwap(old, int64(late)) {
			return
		}
	}
}

func (c *counts) ProbeSkipped(_ string, _ infra.ProbeType, n int64) { c.skipped.Add(n) }

func region(name string, probes ...infra.Probe) infra.Region {
	return infra.Region{Name: name, Spec: infra.RegionSpec{Zones: []infra.Zone{{Name: "a", Probes: probes}}}}
}

func every(name string, interval time.Duration) infra.Probe {
	return infra.Probe{Name: name, Type: infra.ProbeHTTP, Target: "http://h", Interval: omni.Duration(interval), Timeout: omni.Duration(interval / 2)}
}

// watch runs fn in a bubble with a service that watches regions; answers are by probe; a question without one
// succeeds after 1 ms.
func watch(t *testing.T, opts Options, answers map[string]ask, regions []infra.Region, fn func(b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{t: t, regions: regions}
		opts.Now, opts.Observer, opts.Metrics = time.Now, "r1", &b.counts
		b.Service = New(opts)
		b.asking = func(p *probe) ask {
			if p.def.Type == infra.ProbeHeartbeat {
				return nil
			}
			if own := answers[p.key.probe]; own != nil {
				return own
			}
			return func(ctx context.Context) error { return after(ctx, time.Millisecond, nil) }
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- b.Run(ctx, func(context.Context) ([]infra.Region, error) {
				b.mu.Lock()
				defer b.mu.Unlock()
				return b.regions, b.err
			})
		}()
		synctest.Wait()
		fn(b)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// after answers err after d, or with the context's error.
func after(ctx context.Context, d time.Duration, err error) error {
	select {
	case <-time.After(d):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func never(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (b *bubble) set(err error, regions ...infra.Region) {
	b.mu.Lock()
	b.err = err
	b.regions = regions
	b.mu.Unlock()
	b.Wake()
	synctest.Wait()
}

func (b *bubble) of(t *testing.T, probe string) []infra.Observation {
	t.Helper()
	var list []infra.Observation
	for _, o := range b.Observations("east", time.Time{}) {
		if o.Probe == probe {
			list = append(list, o)
		}
	}
	return list
}

func TestAProbeIsAskedOnceAnInterval(t *testing.T) {
	watch(t, Options{}, nil, []infra.Region{region("east", every("p", 2*time.Second))}, func(b *bubble) {
		t := b.t
		if states := b.ProbeStates(); len(states) != 1 || states[0].Status != Unknown || len(b.of(t, "p")) != 0 {
			t.Errorf("before the first answer: %+v, want unknown", states)
		}
		time.Sleep(20*time.Second + 10*time.Millisecond)
		list := b.of(t, "p")
		if len(list) != 10 {
			t.Fatalf("%d observations in 20s, want 10", len(list))
		}
		for i, o := range list {
			if !o.OK || o.Observer != "r1" || o.Zone != "a" || o.Latency != time.Millisecond {
				t.Errorf("observation %+v", o)
			}
			if i > 0 && o.At.Sub(list[i-1].At) != 2*time.Second {
				t.Errorf("%s after the one before, want 2s", o.At.Sub(list[i-1].At))
			}
		}
		if got := b.Observations("east", list[7].At); len(got) != 3 {
			t.Errorf("since the 8th: %d, want 3", len(got))
		}
		if got := b.Observations("west", time.Time{}); len(got) != 0 {
			t.Errorf("another region has %d", len(got))
		}
	})
}

func TestAHangingTargetDelaysNobody(t *testing.T) {
	var probes []infra.Probe
	answers := map[string]ask{}
	for i := range 50 {
		hanging := fmt.Sprintf("dead-%d", i)
		answers[hanging] = never
		probes = append(probes, every(hanging, time.Second), every(fmt.Sprintf("live-%d", i), time.Second))
	}
	watch(t, Options{}, answers, []infra.Region{region("east", probes...)}, func(b *bubble) {
		t := b.t
		time.Sleep(10*time.Second + 600*time.Millisecond)
		for i := range 50 {
			if list := b.of(t, fmt.Sprintf("live-%d", i)); len(list) < 10 || !list[9].OK {
				t.Errorf("live-%d: %d observations, want 10 good ones", i, len(list))
			}
			list := b.of(t, fmt.Sprintf("dead-%d", i))
			if len(list) < 10 || list[0].OK || list[0].Error != "no answer within 500ms" || list[0].Latency != 500*time.Millisecond {
				t.Errorf("dead-%d: %d observations, the first %+v", i, len(list), list[0])
			}
		}
		if late := time.Duration(b.counts.late.Load()); late > 0 {
			t.Errorf("a question was asked %s late", late)
		}
	})
}

func TestTooManyQuestionsAreSkippedAndCounted(t *testing.T) {
	answers := map[string]ask{"a": never, "b": never, "c": never}
	probes := []infra.Probe{every("a", time.Second), every("b", time.Second), every("c", time.Second)}
	for i := range probes {
		probes[i].Timeout = probes[i].Interval
	}
	watch(t, Options{InFlight: 2}, answers, []infra.Region{region("east", probes...)}, func(b *bubble) {
		t := b.t
		time.Sleep(10 * time.Second)
		var skipped int64
		for _, s := range b.ProbeStates() {
			skipped += s.Skipped
		}
		if skipped < 9 || skipped != b.counts.skipped.Load() {
			t.Errorf("%d skipped, %d counted; want one of three a second", skipped, b.counts.skipped.Load())
		}
	})
}

func TestStatusFollowsTheAnswers(t *testing.T) {
	var broken atomic.Bool
	answers := map[string]ask{"p": func(ctx context.Context) error {
		if broken.Load() {
			return after(ctx, 3*time.Millisecond, errors.New("refused\x1b[31m"))
		}
		return nil
	}}
	watch(t, Options{}, answers, []infra.Region{region("east", every("p", time.Second))}, func(b *bubble) {
		t := b.t
		time.Sleep(1100 * time.Millisecond)
		up := b.ProbeStates()[0]
		broken.Store(true)
		time.Sleep(3 * time.Second)
		down := b.ProbeStates()[0]
		broken.Store(false)
		time.Sleep(time.Second)
		again := b.ProbeStates()[0]
		if up.Status != Up || down.Status != Down || down.Failures != 3 || down.Error != "refused[31m" || again.Status != Up || again.Error != "" {
			t.Errorf("up %+v\ndown %+v\nagain %+v", up, down, again)
		}
		if held := again.Since.Sub(down.Since); held < 2900*time.Millisecond || held > 3100*time.Millisecond {
			t.Errorf("down for %s, want about 3s", held)
		}
	})
}

func TestHeartbeatsFailAfterTheirInterval(t *testing.T) {
	beat := infra.Probe{Name: "agent", Type: infra.ProbeHeartbeat, Interval: omni.Duration(10 * time.Second)}
	watch(t, Options{}, nil, []infra.Region{region("east", beat, every("p", time.Second))}, func(b *bubble) {
		t := b.t
		if err := b.Heartbeat(t.Context(), "east", "a", "nobody"); !omni.Is(err, omni.CodeNotFound) {
			t.Errorf("an unknown probe: %v", err)
		}
		if err := b.Heartbeat(t.Context(), "east", "a", "p"); !omni.Is(err, omni.CodeInvalid) {
			t.Errorf("a probe that asks: %v", err)
		}
		time.Sleep(9 * time.Second)
		for range 5 { // the last one at 25s
			if err := b.Heartbeat(t.Context(), "east", "a", "agent"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(4 * time.Second)
		}
		list := b.of(t, "agent")
		if len(list) != 5 || b.state("agent").Status != Up {
			t.Fatalf("%d observations, status %s; want 5 good ones", len(list), b.state("agent").Status)
		}
		time.Sleep(7 * time.Second) // 11s after the last
		if s := b.state("agent"); s.Status != Down || s.Error != "no heartbeat for 10s" {
			t.Errorf("after the interval: %+v", s)
		}
		time.Sleep(20 * time.Second)
		if s := b.state("agent"); s.Failures != 3 || s.Error != "no heartbeat for 30s" {
			t.Errorf("after three: %+v", s)
		}
		for range 1000 {
			if err := b.Heartbeat(t.Context(), "east", "a", "agent"); err != nil {
				t.Fatal(err)
			}
		}
		if list := b.of(t, "agent"); len(list) != 9 || b.state("agent").Status != Up {
			t.Errorf("a flood of beats made %d observations, want one more than 8", len(list))
		}
	})
}

func (b *bubble) state(probe string) State {
	for _, s := range b.ProbeStates() {
		if s.Probe == probe {
			return s
		}
	}
	return State{}
}

func TestAReloadKeepsWhatHasNotChanged(t *testing.T) {
	one, two := every("one", time.Second), every("two", time.Second)
	watch(t, Options{}, nil, []infra.Region{region("east", one, two), region("west", one)}, func(b *bubble) {
		t := b.t
		time.Sleep(5*time.Second + 10*time.Millisecond)
		changed := two
		changed.Target = "http://elsewhere"
		b.set(nil, region("east", one, changed, every("three", time.Second)))
		if n, m := len(b.of(t, "one")), len(b.of(t, "two")); n != 5 || m != 0 {
			t.Errorf("unchanged: %d, want 5; changed: %d, want none", n, m)
		}
		if n := len(b.Observations("west", time.Time{})); n != 0 {
			t.Errorf("a removed region still has %d observations", n)
		}
		b.set(errors.New("the database is away"))
		asked := b.counts.answered.Load()
		time.Sleep(10 * time.Second)
		if n := b.counts.answered.Load() - asked; n < 28 || n > 32 {
			t.Errorf("%d questions in 10s without the database, want 30", n)
		}
		if n := len(b.of(t, "one")); n != 15 {
			t.Errorf("%d observations, want 15", n)
		}
	})
}

func TestRingsAreBoundedAndReachBack(t *testing.T) {
	fast, slow := every("fast", 100*time.Millisecond), every("slow", time.Minute)
	watch(t, Options{}, nil, []infra.Region{region("east", fast, slow)}, func(b *bubble) {
		t := b.t
		time.Sleep(time.Hour + 10*time.Second)
		for name, want := range map[string]int{"fast": maxRing, "slow": minRing} {
			list := b.of(t, name)
			if len(list) != want {
				t.Errorf("%s: %d observations after an hour, want %d", name, len(list), want)
			}
			for i := range list[1:] {
				if !list[i].At.Before(list[i+1].At) {
					t.Fatalf("%s: observation %d is not older than the next", name, i)
				}
			}
			if age := time.Since(list[len(list)-1].At); age > time.Minute {
				t.Errorf("%s: the newest is %s old", name, age)
			}
		}
	})
}

func TestPhasesAreSpread(t *testing.T) {
	const parts, probes = 10, 2000
	var count [parts]int
	for i := range probes {
		p := newProbe(key{"east", "a", fmt.Sprintf("probe-%d", i)}, every("", 2*time.Second), time.Now())
		phase := p.phase()
		if phase < 0 || phase >= p.interval {
			t.Fatalf("phase %s of an interval of %s", phase, p.interval)
		}
		count[phase*parts/p.interval]++
	}
	for i, n := range count {
		if n < probes/parts*3/4 || n > probes/parts*5/4 {
			t.Errorf("part %d of the interval has %d of %d probes: %v", i, n, probes, count)
		}
	}
}

func TestDefinitionsAreBoundedWhateverTheySay(t *testing.T) {
	for _, c := range []struct{ interval, timeout, wantInterval, wantTimeout time.Duration }{
		{0, 0, 5 * time.Second, 2 * time.Second},
		{time.Second, 0, time.Second, time.Second},
		{time.Nanosecond, time.Nanosecond, 100 * time.Millisecond, 10 * time.Millisecond},
		{-1, -1, 5 * time.Second, 2 * time.Second},
		{1 << 62, 1 << 62, time.Hour, time.Hour},
	} {
		def := infra.Probe{Type: infra.ProbeTCP, Interval: omni.Duration(c.interval), Timeout: omni.Duration(c.timeout)}
		if p := newProbe(key{}, def, time.Now()); p.interval != c.wantInterval || p.timeout != c.wantTimeout {
			t.Errorf("%+v: got %s, %s", c, p.interval, p.timeout)
		}
	}
}

// A machine that stood still for a while asks each probe once, keeps its phase, and counts the rest.
func TestMissedIntervalsAreNotMadeUpFor(t *testing.T) {
	start := time.Now()
	s := newSchedule()
	p := newProbe(key{"east", "a", "p"}, every("p", time.Second), start)
	p.due = start
	s.add(p)
	due, wait := s.ready(start.Add(3500*time.Millisecond), nil)
	if len(due) != 1 || due[0].missed != 3 || wait != 500*time.Millisecond || !p.due.Equal(start.Add(4*time.Second)) {
		t.Errorf("due %+v, next in %s", due, wait)
	}
}

// set gives t as a clock shows it whose wall part was set by d meanwhile: its monotonic part is as it was. There is no other way to
// make such a time than in the two words that time.Time documents, so the test looks whether they still are what it takes them for.
func set(t *testing.T, at time.Time, d time.Duration) time.Time {
	t.Helper()
	moved := at
	*(*uint64)(unsafe.Pointer(&moved)) += uint64(d/time.Second) << 30
	if moved.Sub(at) != 0 || moved.Unix()-at.Unix() != int64(d/time.Second) {
		t.Skip("this version of Go keeps times in another form")
	}
	return moved
}

func TestAClockThatIsSetChangesNothing(t *testing.T) {
	for _, d := range []time.Duration{time.Hour, -time.Hour} {
		began := time.Now()
		p := newProbe(key{"r", "a", "p"}, every("p", time.Second), began)
		p.record(answer{at: began.Add(time.Second), ok: true})
		p.record(answer{at: set(t, began.Add(2*time.Second), d), err: "refused"})
		now := set(t, began.Add(3*time.Second), d)
		list := p.observations(nil, "me", now.Add(-5*time.Second), now)
		if len(list) != 2 || !list[0].OK || list[1].OK || !list[0].At.Before(list[1].At) || now.Sub(list[1].At) > 2*time.Second {
			t.Errorf("after the clock was set by %s: %+v", d, list)
		}
		if list = p.observations(nil, "me", now.Add(-1500*time.Millisecond), now); len(list) != 1 {
			t.Errorf("after the clock was set by %s, %d observations are of the last 1.5s", d, len(list))
		}
	}
}
