package e2e_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// leaseTTL is how long after a leader's death another may lead.
const leaseTTL = 2 * time.Second

// replicas are two omnids on one etcd, one PostgreSQL and one directory of keys.
type replicas struct {
	one, other *omnid
	shops      []*shop
}

func startReplicas(t *testing.T, options func(i int) shopOptions) *replicas {
	t.Helper()
	db, etcd, dir := startPostgres(t), startEtcd(t), t.TempDir()
	r := &replicas{}
	for _, one := range []struct {
		name string
		at   **omnid
	}{{"one", &r.one}, {"other", &r.other}} {
		// Each has a data directory of its own, so the keys must be somewhere else.
		o := newOmnid(t, one.name, t.TempDir(), "--database-url", db.url(), "--etcd-endpoints", etcd, "--key-dir", dir,
			"--election-ttl", leaseTTL.String())
		o.keys = dir
		o.launch(t)
		*one.at = o
	}
	for _, o := range []*omnid{r.one, r.other} {
		if !o.becomesReady(t) {
			t.Fatalf("%s ended: %v", o.name, o.cmd.ProcessState)
		}
	}
	var manifests string
	r.shops, manifests = openShops(t, dir, 4, options)
	r.one.apply(t, manifests)
	return r
}

// leads says which of the replicas leads, as o tells it, "" for none.
func (o *omnid) leads() (name string, err error) {
	var page struct {
		Items []struct {
			Leader string `json:"leader"`
		} `json:"items"`
	}
	if err := o.call(http.MethodGet, "/api/v1/services", nil, &page); err != nil {
		return "", err
	}
	if len(page.Items) == 0 {
		return "", errors.New("there are no services")
	}
	return page.Items[0].Leader, nil
}

// leader gives the one that leads, and the one that does not.
func (r *replicas) leader(t *testing.T) (leader, follower *omnid) {
	t.Helper()
	eventually(t, patience(leaseTTL+5*time.Second), "one of the replicas leads", func() error {
		name, err := r.one.leads()
		switch {
		case err != nil:
			return err
		case name == r.one.name:
			leader, follower = r.one, r.other
		case name == r.other.name:
			leader, follower = r.other, r.one
		default:
			return fmt.Errorf("%q leads", name)
		}
		return nil
	})
	return leader, follower
}

// move triggers a move of every shop, half of them at each replica, and waits until their agents have had a random number of effects.
func (r *replicas) move(t *testing.T, random *rand.Rand) (ids []string, epoch int64) {
	t.Helper()
	before := effects(t, r.shops)
	for i, s := range r.shops {
		run, err := []*omnid{r.one, r.other}[i%2].trigger(s, "planned")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, run.ID)
	}
	until := before + 2 + random.IntN(6*len(r.shops))
	eventually(t, patience(20*time.Second), "the moves go on", func() error {
		if n := effects(t, r.shops); n < until {
			return fmt.Errorf("%d of %d effects", n, until)
		}
		return nil
	})
	return ids, r.newest(t)
}

// newest is the highest epoch of all effects.
func (r *replicas) newest(t *testing.T) (epoch int64) {
	t.Helper()
	for _, s := range r.shops {
		for _, e := range s.entries(t, "effect") {
			epoch = max(epoch, e.Epoch)
		}
	}
	return epoch
}

// takesOver waits until the other has an effect of a higher epoch, and says how long after begun that was.
func (r *replicas) takesOver(t *testing.T, epoch int64, begun time.Time) {
	t.Helper()
	limit := patience(leaseTTL + 5*time.Second)
	eventually(t, limit, "another leader acts", func() error {
		if now := r.newest(t); now <= epoch {
			return fmt.Errorf("the newest epoch is %d", now)
		}
		return nil
	})
	t.Logf("the next leader acts %s after the last one was stopped (lease %s)", time.Since(begun).Round(time.Millisecond), leaseTTL)
}

// end waits for the runs at o, and holds everything against the invariants.
func (r *replicas) end(t *testing.T, o *omnid, ids []string) {
	t.Helper()
	for i, s := range r.shops {
		run := o.ends(t, ids[i])
		if run.Status != "succeeded" {
			t.Errorf("the run of %s is %s: %s", s.tenant, run.Status, run.Error)
		}
		s.at = s.away()
		s.holdsOnce(t, run)
		s.epochsGrow(t)
		s.isIn(t, o, s.at)
		s.auditedOnce(t, o, run)
	}
	o.verify(t)
}

// TestReplicas has two replicas share the work: whichever is asked answers, one leads, and when that one is killed or frozen in the middle of
// moves the other finishes them.
func TestReplicas(t *testing.T) {
	t.Parallel()
	seed, random := faultSeed(t)
	r := startReplicas(t, func(i int) shopOptions {
		return shopOptions{seed: seed + uint64(i), work: 40 * time.Millisecond, dies: i%2 == 1}
	})

	t.Run("of fifty triggers at once, at both, one wins", func(t *testing.T) {
		s := r.shops[0]
		var mu sync.Mutex
		var won []string
		answers := map[int]int{}
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				run, err := []*omnid{r.one, r.other}[i%2].trigger(s, "planned")
				var p *problem
				for raceEnabled && errors.As(err, &p) && p.Status == http.StatusServiceUnavailable {
					// So slow that the database gives up waiting for what a transaction does next: the answer says to try again.
					run, err = []*omnid{r.one, r.other}[i%2].trigger(s, "planned")
				}
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won = append(won, run.ID)
				case errors.As(err, &p):
					answers[p.Status]++
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if len(won) != 1 || answers[http.StatusConflict] != 49 {
			t.Fatalf("%d won, and the others were answered %v, want 49 times 409", len(won), answers)
		}
		run := r.one.ends(t, won[0])
		if run.Status != "succeeded" {
			t.Errorf("it is %s: %s", run.Status, run.Error)
		}
		s.at = s.away()
		s.holdsOnce(t, run)
		s.isIn(t, r.one, s.at)
		s.isIn(t, r.other, s.at)
		s.auditedOnce(t, r.other, run)
	})

	t.Run("the leader is killed", func(t *testing.T) {
		leader, follower := r.leader(t)
		ids, epoch := r.move(t, random)
		begun := time.Now()
		leader.kill(t)
		r.takesOver(t, epoch, begun)
		r.end(t, follower, ids)
		leader.start(t)
	})

	t.Run("the leader is frozen past its lease", func(t *testing.T) {
		leader, follower := r.leader(t)
		ids, epoch := r.move(t, random)
		begun := time.Now()
		leader.signal(t, syscall.SIGSTOP)
		r.takesOver(t, epoch, begun)
		if random.IntN(2) == 0 { // it wakes up in the middle of the other's work, or after it
			leader.signal(t, syscall.SIGCONT)
			r.end(t, follower, ids)
		} else {
			r.end(t, follower, ids)
			leader.signal(t, syscall.SIGCONT)
		}
		eventually(t, patience(10*time.Second), "the one that was frozen knows that it leads no more", func() error {
			name, err := leader.leads()
			if err == nil && (name != follower.name || leader.said(t, "this replica leads no more") == 0) {
				err = fmt.Errorf("it says that %q leads", name)
			}
			return err
		})
		// It is a good follower now, which takes requests; and a good leader again when its turn comes.
		ids, _ = r.move(t, random)
		r.end(t, leader, ids)
		refused := 0
		for _, s := range r.shops {
			refused += len(s.entries(t, "refused"))
		}
		t.Logf("agents have refused %d actions of the frozen leader", refused)
	})

	t.Run("the leader ends in good order", func(t *testing.T) {
		leader, follower := r.leader(t)
		ids, epoch := r.move(t, random)
		begun := time.Now()
		leader.stop(t)
		r.takesOver(t, epoch, begun)
		r.end(t, follower, ids)
		follower.stop(t)
		follower.verify(t)
	})
}
