package gateway

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// Limit is a token bucket: PerSecond tokens flow in each second, evenly, and Burst fit. The zero Limit limits nothing.
type Limit struct {
	PerSecond int
	Burst     int // at least 1; 0 means PerSecond
}

// maxRoom is the longest that a bucket may take to fill.
const maxRoom = 24 * time.Hour

// limiter holds one bucket for each of the last size keys. A bucket is the moment at which it is full again (the generic cell
// rate algorithm, ITU-T I.371): whole nanoseconds, so that it is exact, and what has been full for long needs no memory.
type limiter[K comparable] struct {
	every time.Duration // between two tokens; 0 limits nothing
	burst int64
	size  int

	mu     sync.Mutex
	recent *list.List // of *bucket[K], the last used in front
	of     map[K]*list.Element
}

type bucket[K comparable] struct {
	key  K
	full time.Time
}

func newLimiter[K comparable](l Limit, size int) *limiter[K] {
	out := &limiter[K]{size: size, recent: list.New(), of: map[K]*list.Element{}}
	if l.PerSecond <= 0 {
		return out
	}
	perSecond := time.Duration(l.PerSecond)
	out.every = (time.Second + perSecond - 1) / perSecond // rounded up: never more than PerSecond
	out.burst = int64(l.Burst)
	if out.burst <= 0 {
		out.burst = int64(l.PerSecond)
	}
	if most := int64(maxRoom / out.every); out.burst > most { // beyond it the arithmetic would overflow
		out.burst = most
	}
	return out
}

// take takes a token: 0, or how long to wait until there is one.
func (l *limiter[K]) take(key K, now time.Time) time.Duration {
	if l.every == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucket(key, now)
	full := b.full
	if full.Before(now) {
		full = now
	}
	room := l.every * time.Duration(l.burst-1)
	if wait := full.Sub(now) - room; wait > 0 {
		return wait
	}
	b.full = full.Add(l.every)
	return 0
}

// bucket gives the bucket of key, and forgets the one that was not used for the longest time when there are too many.
func (l *limiter[K]) bucket(key K, now time.Time) *bucket[K] {
	if e, ok := l.of[key]; ok {
		l.recent.MoveToFront(e)
		return e.Value.(*bucket[K]) //nolint:forcetypeassert // the list holds nothing else
	}
	b := &bucket[K]{key: key, full: now}
	l.of[key] = l.recent.PushFront(b)
	if l.recent.Len() > l.size {
		last := l.recent.Back()
		delete(l.of, last.Value.(*bucket[K]).key) //nolint:forcetypeassert // likewise
		l.recent.Remove(last)
	}
	return b
}

// network is what one client can hardly change: its IPv4 address, or the /64 of its IPv6 address.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if !a.Is6() {
		return a
	}
	prefix, err := a.WithZone("").Prefix(64)
	if err != nil {
		return a
	}
	return prefix.Addr()
}
