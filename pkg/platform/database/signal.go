package database

import "sync"

// signals wakes, within this process, those who wait for something to be committed. It is a shortcut for those who
// poll anyway: another process's commits are not seen.
type signals struct {
	mu      sync.Mutex
	waiting map[string]map[chan struct{}]struct{}
}

// Watch gives a channel that receives after a transaction with Signal(topic) has been committed; several signals that meet a
// reader still busy are one. Call stop when done.
func (db *DB) Watch(topic string) (wake <-chan struct{}, stop func()) {
	s := &db.signals
	ch := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		s.waiting = map[string]map[chan struct{}]struct{}{}
	}
	if s.waiting[topic] == nil {
		s.waiting[topic] = map[chan struct{}]struct{}{}
	}
	s.waiting[topic][ch] = struct{}{}
	return ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.waiting[topic], ch)
	}
}

func (s *signals) send(topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ch := range s.waiting[topic] {
		select {
		case ch <- struct{}{}:
		default: // it has yet to see the last one
		}
	}
}
