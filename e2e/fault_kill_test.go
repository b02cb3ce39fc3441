package e2e_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// TestKilledAtRandomInstants moves shops from region to region and back, kills omnid with SIGKILL in the middle of it, and sometimes
// again in the middle of what follows, and starts it again on the same data. Each run must go on to its end, and nothing be done twice.
func TestKilledAtRandomInstants(t *testing.T) {
	t.Parallel()
	seed, random := faultSeed(t)
	const tenants = 6
	rounds := 5
	if testing.Short() {
		rounds = 1
	}
	dir := t.TempDir()
	shops, manifests := openShops(t, dir, tenants, func(i int) shopOptions {
		return shopOptions{seed: seed + uint64(i), work: 20 * time.Millisecond, dies: i%2 == 1}
	})
	o := newOmnid(t, "omnid", dir)
	o.start(t)
	o.apply(t, manifests)

	kills, forced := 0, false
	begun := time.Now()
	for round := range rounds {
		// What a forced move leaves behind is fenced; only a planned one returns to it.
		mode, expected := "planned", 9*tenants
		if forced {
			expected += 3 * tenants // they join again first
		}
		if forced = !forced && random.IntN(3) == 0; forced {
			mode, expected = "forced", 6*tenants
		}
		moves := triggerAll(o, shops, mode, random)
		kills += killAt(t, o, shops, effects(t, shops)+random.IntN(expected), random)
		for range random.IntN(3) {
			kills += killAt(t, o, shops, effects(t, shops)+random.IntN(2*tenants), random)
		}
		ids := moves()
		for i, s := range shops {
			id := ids[i]
			if id == "" {
				id = triggerAgain(t, o, s, mode)
			}
			run := o.ends(t, id)
			if run.Status != "succeeded" {
				t.Errorf("round %d: the run of %s is %s: %s", round, s.tenant, run.Status, run.Error)
			}
			s.at, s.known[id] = s.away(), true
			s.holdsOnce(t, run)
			s.epochsGrow(t)
			s.isIn(t, o, s.at)
			s.auditedOnce(t, o, run)
		}
		o.verify(t)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d runs, omnid killed %d times, in %s", rounds*tenants, kills, time.Since(begun).Round(time.Millisecond))
	begun = time.Now()
	o.stop(t)
	t.Logf("stopped in %s", time.Since(begun).Round(time.Millisecond))
	o.verify(t)
}

// triggerAll triggers a move of each shop, in quick succession. What it returns waits for the answers and gives the ids of the runs, "" for
// those whose answers omnid's death has swallowed.
func triggerAll(o *omnid, shops []*shop, mode string, random *rand.Rand) (ids func() []string) {
	got := make([]string, len(shops))
	o = &omnid{keys: o.keys, readyLine: o.readyLine} // the next process has another address
	var all sync.WaitGroup
	for i, s := range shops {
		pause := time.Duration(random.IntN(300)) * time.Millisecond
		all.Go(func() {
			time.Sleep(pause)
			if run, err := o.trigger(s, mode); err == nil {
				got[i] = run.ID
			}
		})
	}
	return func() []string {
		all.Wait()
		return got
	}
}

// triggerAgain is for a trigger without an answer: if it has made a run, that is the one; if not, it is asked for again.
func triggerAgain(t *testing.T, o *omnid, s *shop, mode string) string {
	t.Helper()
	list, err := o.runs(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range list {
		if !s.known[run.ID] {
			return run.ID
		}
	}
	run, err := o.trigger(s, mode)
	if err != nil {
		t.Fatalf("triggering the move of %s again: %v", s.tenant, err)
	}
	return run.ID
}

// killAt kills omnid a moment after the shops' agents have had so many effects, or after a while without any more, and starts it again.
func killAt(t *testing.T, o *omnid, shops []*shop, target int, random *rand.Rand) int {
	t.Helper()
	last, since := -1, time.Now()
	for {
		n := effects(t, shops)
		if n != last {
			last, since = n, time.Now()
		}
		if n >= target || time.Since(since) > patience(4*time.Second) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
	o.kill(t)
	if !o.killedItself() {
		t.Fatal(errors.New("omnid ended before it was killed"))
	}
	o.start(t)
	return 1
}
