package shop

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestState(t *testing.T) {
	start := state{Role: Active, Epoch: 3}
	t.Run("refuses an older epoch and takes the same", func(t *testing.T) {
		if _, _, err := start.next(request{Action: actionFence, Epoch: 2}); !errors.Is(err, errStaleEpoch) {
			t.Fatalf("got %v", err)
		}
		n, repeated, err := start.next(request{Action: actionFence, Epoch: 3})
		if err != nil || repeated || n.Role != Fenced || n.Epoch != 3 {
			t.Fatalf("%+v %v %v", n, repeated, err)
		}
	})
	t.Run("does not repeat a (run, step), even when it is something else by now", func(t *testing.T) {
		n, _, _ := start.next(request{Action: actionPromote, Run: "r1", Step: "s1", Epoch: 3})
		n, _, _ = n.next(request{Action: actionFence, Run: "r2", Step: "s1", Epoch: 4})
		n, repeated, err := n.next(request{Action: actionPromote, Run: "r1", Step: "s1", Epoch: 5})
		if err != nil || !repeated || n.Role != Fenced || n.Epoch != 5 {
			t.Fatalf("%+v %v %v", n, repeated, err)
		}
	})
	t.Run("remembers only so many", func(t *testing.T) {
		n := start
		for i := range 3 * maxDone {
			n, _, _ = n.next(request{Action: actionDemote, Run: "r", Step: fmt.Sprint(i), Epoch: 3})
		}
		if len(n.Done) != maxDone || n.Done[maxDone-1].Step != fmt.Sprint(3*maxDone-1) || len(start.Done) != 0 {
			t.Fatalf("%d, last %+v", len(n.Done), n.Done[len(n.Done)-1])
		}
	})
}

func TestContact(t *testing.T) {
	grace := 2 * time.Second
	zero := time.Unix(1000, 0)
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	synced := func() contact {
		c := contact{sure: zero}
		c.heard(at(0), true)
		return c
	}
	t.Run("has everything while nobody runs there, however long", func(t *testing.T) {
		c := synced()
		for ms := 100; ms < 60_000; ms += 100 {
			c.refused(at(ms), grace)
		}
		if lag := c.lag(at(60_000), grace); lag != 0 {
			t.Fatalf("lag %s", lag)
		}
	})
	t.Run("cannot be sure when somebody may have run there unseen for the grace", func(t *testing.T) {
		c := synced()
		c.refused(at(1100), grace)
		c.refused(at(1200), grace)
		if lag := c.lag(at(1200), grace); lag != 1200*time.Millisecond {
			t.Fatalf("lag %s", lag)
		}
	})
	t.Run("falls behind while the active one is silent", func(t *testing.T) {
		c := synced()
		if lag := c.lag(at(999), grace); lag != 0 {
			t.Fatalf("lag %s", lag)
		}
		if lag := c.lag(at(4000), grace); lag != 4*time.Second {
			t.Fatalf("lag %s", lag)
		}
	})
	t.Run("is as old as its last record when it was never in touch", func(t *testing.T) {
		c := contact{sure: zero}
		c.refused(at(100), grace)
		if lag := c.lag(at(5000), grace); lag != 5*time.Second {
			t.Fatalf("lag %s", lag)
		}
	})
}
