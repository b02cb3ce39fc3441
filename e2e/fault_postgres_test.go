package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// isReady says what /readyz answers; the error tells which checks fail.
func (o *omnid) isReady() error {
	req, err := http.NewRequest(http.MethodGet, "http://"+o.Listen+"/readyz?verbose", nil)
	if err != nil {
		return err
	}
	answer, err := client().Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // it was read
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%d: %s", answer.StatusCode, body)
	}
	return err
}

// TestPostgresRestarts takes the database away in the middle of moves, as a crash does, and gives it back.
func TestPostgresRestarts(t *testing.T) {
	t.Parallel()
	seed, random := faultSeed(t)
	db := startPostgres(t)
	dir := t.TempDir()
	shops, manifests := openShops(t, dir, 3, func(i int) shopOptions { return shopOptions{seed: seed + uint64(i), work: 20 * time.Millisecond} })
	o := newOmnid(t, "omnid", dir, "--database-url", db.url())
	o.start(t)
	o.apply(t, manifests)
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	for round := range rounds {
		var ids []string
		for _, s := range shops {
			run, err := o.trigger(s, "planned")
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, run.ID)
		}
		until := effects(t, shops) + random.IntN(9*len(shops))
		for begun := time.Now(); effects(t, shops) < until && time.Since(begun) < patience(10*time.Second); {
			time.Sleep(time.Millisecond)
		}
		db.quit()
		if round == 0 { // long enough to be noticed; the others are as short as can be
			eventually(t, patience(10*time.Second), "readiness goes down", func() error {
				if o.isReady() == nil {
					return fmt.Errorf("omnid says that it is ready, without a database")
				}
				return nil
			})
			if err := o.call(http.MethodGet, "/api/v1/tenants", nil, nil); err == nil {
				t.Error("a request was answered without a database")
			} else if p, ok := err.(*problem); !ok || p.Status != http.StatusServiceUnavailable { //nolint:errorlint // call gives it as it is
				t.Errorf("without a database a request is answered with %v, want 503", err)
			}
		}
		begun := time.Now()
		db.start(t)
		eventually(t, patience(20*time.Second), "readiness comes back", o.isReady)
		t.Logf("round %d: ready %s after the database was started again", round, time.Since(begun).Round(time.Millisecond))
		for i, s := range shops {
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
	if !o.running() {
		t.Fatal("omnid has ended")
	}
	o.stop(t)
	o.verify(t)
}
