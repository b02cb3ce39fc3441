package monitor

import (
	"container/heap"
	"sync"
	"time"
)

// schedule knows which probe is due next. It is safe for concurrent use.
type schedule struct {
	mu   sync.Mutex
	heap byDue
	wake chan struct{} // has an item when the first due time may have changed
}

// firing is a probe to ask now, when it should have been asked, and how many questions more should have been put since.
type firing struct {
	probe  *probe
	due    time.Time
	missed int64
}

func newSchedule() *schedule { return &schedule{wake: make(chan struct{}, 1)} }

func (s *schedule) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// add begins to ask p, at p.due first.
func (s *schedule) add(p *probe) {
	s.mu.Lock()
	heap.Push(&s.heap, p)
	s.mu.Unlock()
	s.nudge()
}

// remove ends it.
func (s *schedule) remove(p *probe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.index >= 0 {
		heap.Remove(&s.heap, p.index)
	}
}

// move changes when p is asked next; nothing happens when it is no longer asked at all.
func (s *schedule) move(p *probe, due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.index < 0 {
		return
	}
	p.due = due
	heap.Fix(&s.heap, p.index)
	if s.heap[0] == p {
		s.nudge()
	}
}

// ready takes what is due at now into list, sets when each is due again, and says how long until the next. A probe
// that missed whole intervals keeps its phase, and does not make up for them.
func (s *schedule) ready(now time.Time, list []firing) ([]firing, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.heap) > 0 {
		p := s.heap[0]
		if wait := p.due.Sub(now); wait > 0 {
			return list, wait
		}
		missed := int64(now.Sub(p.due) / p.interval)
		list = append(list, firing{probe: p, due: p.due, missed: missed})
		p.due = p.due.Add(time.Duration(missed+1) * p.interval)
		heap.Fix(&s.heap, 0)
	}
	return list, time.Hour
}

// byDue is a heap of probes, the one that is due first on top.
type byDue []*probe

func (h byDue) Len() int           { return len(h) }
func (h byDue) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h byDue) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *byDue) Push(x any) {
	p, ok := x.(*probe)
	if !ok {
		return
	}
	p.index = len(*h)
	*h = append(*h, p)
}

// Pop implements heap.Interface.
func (h *byDue) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	p.index = -1
	return p
}
