package demo

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"github.com/omnicloud/omnicloud/examples/shop"
	failovercli "github.com/omnicloud/omnicloud/pkg/cli/failover"
	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/failover"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

// The demo's pace.
const (
	warmOrders = 25                      // acknowledged before the region dies
	afterwards = 1500 * time.Millisecond // of orders in the new region, behind the run
	askEvery   = 50 * time.Millisecond
)

// writing is the client of the shop, at work in the background.
type writing struct {
	stop func() (shop.WriterReport, error)

	mu    sync.Mutex
	acks  int
	first map[string]time.Time // the first acknowledged order, by the address that took it
}

// write starts posting orders through the name that omnid's DNS answers.
func (s *stage) write() *writing {
	ctx, cancel := context.WithCancel(context.Background())
	w := &writing{first: map[string]time.Time{}}
	var report shop.WriterReport
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		report, err = shop.Write(ctx, shop.WriterOptions{DNS: s.ready.DNS, Acks: shop.AcksFile(s.shop), OnAck: w.note})
	}()
	w.stop = func() (shop.WriterReport, error) {
		cancel()
		<-done
		return report, err
	}
	return w
}

func (w *writing) note(a shop.Ack) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acks++
	if _, seen := w.first[a.Address]; !seen {
		w.first[a.Address] = a.At
	}
}

func (w *writing) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acks
}

func (w *writing) firstAt(address string) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.first[address]
	return at, ok
}

// play lets the region die and watches what follows.
func (s *stage) play(ctx context.Context) (Report, error) {
	w := s.write()
	stopped := false
	defer func() {
		if !stopped {
			_, _ = w.stop() // the error that ended the play counts
		}
	}()
	if err := s.untilWell(ctx, w); err != nil {
		return Report{}, err
	}
	s.c.Say("orders   %d acknowledged by %s; both regions are up", w.count(), shop.East)
	s.c.Say("\nkill -9  every process of %s\n", shop.East)
	killed := s.c.Now()
	if _, err := shop.KillRegion(ctx, s.shop, shop.East); err != nil {
		return Report{}, omni.Errorf(omni.CodeUnavailable, "the region cannot be killed: %w", err)
	}
	run, err := s.untilRun(ctx)
	if err != nil {
		return Report{}, err
	}
	if run.Evidence != nil {
		s.c.Say("verdict  %s is %s: %s", run.From, run.Evidence.Health, run.Evidence.Reason)
	}
	if run, err = failovercli.Follow(ctx, s.c, s.api, run.ID); err != nil {
		return Report{}, err
	}
	if run.Status != failover.Succeeded {
		return Report{}, omni.Errorf(omni.CodeInternal, "the run ended %s: %s", run.Status, run.Error)
	}
	if err := s.untilWritten(ctx, w); err != nil {
		return Report{}, err
	}
	stopped = true
	if _, err := w.stop(); err != nil {
		return Report{}, omni.Errorf(omni.CodeInternal, "the client failed: %w", err)
	}
	return s.report(ctx, run, killed, w)
}

// untilWell waits until omnid finds both regions up, the shop takes orders, and the standby has each of them too.
func (s *stage) untilWell(ctx context.Context, w *writing) error {
	return client.Poll(ctx, askEvery, func(ctx context.Context) (bool, error) {
		for _, region := range []string{shop.East, shop.West} {
			verdict, err := s.api.RegionHealth(ctx, region)
			if err != nil || verdict.Health != failover.Up {
				return false, err
			}
		}
		database, err := shop.Ask(ctx, s.shop, shop.East, shop.DB)
		if err != nil {
			return false, nil //nolint:nilerr // it may not answer yet; the demo's own limit bounds the waiting
		}
		return database.Mode == "synced" && w.count() >= warmOrders, nil
	})
}

// untilRun waits until omnid has decided by itself.
func (s *stage) untilRun(ctx context.Context) (run failover.Run, err error) {
	err = client.Poll(ctx, askEvery, func(ctx context.Context) (bool, error) {
		runs, err := s.api.Failovers(ctx, tenant, "", 1)
		if err != nil || len(runs) == 0 {
			return false, err
		}
		run, err = s.api.Failover(ctx, runs[0].ID)
		return err == nil, err
	})
	return run, err
}

// untilWritten waits for the first order in the new region, and then a moment longer.
func (s *stage) untilWritten(ctx context.Context, w *writing) error {
	return client.Poll(ctx, askEvery, func(context.Context) (bool, error) {
		at, ok := w.firstAt(s.west)
		return ok && s.c.Now().Sub(at) > afterwards, nil
	})
}

// report puts together what omnid recorded, what the client saw and what the databases hold.
func (s *stage) report(ctx context.Context, run failover.Run, killed time.Time, w *writing) (Report, error) {
	since := func(t time.Time) *int64 {
		ms := t.Sub(killed).Milliseconds()
		return &ms
	}
	r := Report{Run: run.ID, KilledRegion: run.From, DecidedMS: since(run.InitiatedAt), Steps: run.Steps, Usage: []Usage{}}
	if run.Evidence != nil {
		r.DetectedMS = since(run.Evidence.Since)
	}
	if run.DNSSwitchedMS != nil {
		r.DNSSwitchedMS = since(run.InitiatedAt.Add(time.Duration(*run.DNSSwitchedMS) * time.Millisecond))
	}
	if at, ok := w.firstAt(s.west); ok {
		r.FirstWriteMS = since(at)
	}
	found, err := shop.Audit(shop.RegionDir(s.shop, shop.East), shop.RegionDir(s.shop, shop.West), shop.AcksFile(s.shop))
	if err != nil {
		return Report{}, omni.Errorf(omni.CodeInternal, "the databases cannot be compared: %w", err)
	}
	r.OrdersAcknowledged, r.OrdersLost, r.TwoWriters = found.Acknowledged, found.Lost, found.TwoWriters
	usage, err := s.api.Usage(ctx, client.UsageFilter{Tenant: tenant, By: "region"}, 1)
	if err != nil {
		return Report{}, err
	}
	for _, t := range usage.Totals {
		r.Usage = append(r.Usage, Usage{Region: t.Region, Unit: t.Unit, Quantity: t.Quantity})
	}
	trail, err := s.api.VerifyAudit(ctx, "")
	if err != nil {
		return Report{}, err
	}
	r.AuditVerified, r.auditEntries = trail.OK, trail.Entries
	for _, l := range trail.Logs {
		r.auditEntries += l.Entries
	}
	if s.o.keep {
		r.dir = filepath.Clean(s.dir)
	}
	return r, nil
}
