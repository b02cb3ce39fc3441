package monitor

import (
	"context"
	"sync"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

// ask asks each probe when it is due, until ctx ends and the last question has.
func (s *Service) ask(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var due []firing
	for {
		select {
		case <-timer.C:
		case <-s.schedule.wake:
		case <-ctx.Done():
			return
		}
		now := s.opts.Now()
		var wait time.Duration
		due, wait = s.schedule.ready(now, due[:0])
		for _, f := range due {
			if f.probe.ask == nil {
				s.silence(f.probe)
				continue
			}
			if f.missed > 0 {
				s.skip(f.probe, f.missed)
			}
			s.start(ctx, &asking, f)
		}
		timer.Reset(wait)
	}
}

func (s *Service) skip(p *probe, n int64) {
	p.skipped.Add(n)
	if s.opts.Metrics != nil {
		s.opts.Metrics.ProbeSkipped(p.key.region, p.def.Type, n)
	}
}

// start puts one question, in a goroutine of its own. When its predecessor is still under way, or too many others are, it is
// skipped: nothing waits here, so that no target can delay another's question.
func (s *Service) start(ctx context.Context, asking *sync.WaitGroup, f firing) {
	p := f.probe
	slots := s.slots
	if p.def.Type == infra.ProbeExec {
		slots = s.programs
	}
	if !p.busy.CompareAndSwap(false, true) {
		s.skip(p, 1)
		return
	}
	select {
	case slots <- struct{}{}:
	default:
		p.busy.Store(false)
		s.skip(p, 1)
		return
	}
	asking.Go(func() {
		defer func() {
			<-slots
			p.busy.Store(false)
		}()
		s.put(ctx, f)
	})
}

// put puts one question and records its answer.
func (s *Service) put(ctx context.Context, f firing) {
	p := f.probe
	timed, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	start := s.opts.Now()
	err := p.ask(timed)
	end := s.opts.Now()
	if err != nil && ctx.Err() != nil {
		return // the end of this process says nothing of the target
	}
	a := answer{at: end, latency: end.Sub(start), ok: err == nil}
	if err != nil {
		a.err = explain(p, err)
	}
	s.took(p, a, start.Sub(f.due))
}

// took records an answer.
func (s *Service) took(p *probe, a answer, late time.Duration) {
	if p.record(a) && s.store != nil {
		s.store.changed(p)
	}
	if s.opts.Metrics != nil {
		s.opts.Metrics.ProbeAnswered(p.key.region, p.def.Type, a.ok, a.latency, late)
	}
}

// silence records that a heartbeat probe has not been heard of for its interval; the next failure is another interval away.
func (s *Service) silence(p *probe) {
	now := s.opts.Now()
	p.mu.Lock()
	beat := p.beat
	p.mu.Unlock()
	quiet := now.Sub(beat)
	if quiet < p.interval { // a beat came after this was due
		s.schedule.move(p, beat.Add(p.interval))
		return
	}
	s.took(p, answer{at: now, err: "no heartbeat for " + omni.Duration(quiet.Round(10*time.Millisecond)).String()}, 0)
}

// beat records a sign of life; own says that it was given to this replica. Beats that come much faster than the interval
// are not all observations, so that they cannot push what matters out of the ring.
func (s *Service) beat(p *probe, own bool) {
	now := s.opts.Now()
	p.mu.Lock()
	p.beat = now
	last, known := p.last()
	p.mu.Unlock()
	s.schedule.move(p, now.Add(p.interval))
	if !known || !last.ok || now.Sub(last.at) >= p.interval/10 {
		s.took(p, answer{at: now, ok: true}, 0)
	}
	if own && s.store != nil {
		s.store.beaten(p)
	}
}
