package auth

import (
	"sync"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Bounds of the cache. Its life is below the second within which a revocation must count everywhere.
const (
	cacheLife    = 800 * time.Millisecond
	cacheEntries = 10_000
)

// entry is what is known of a key id, since a moment before it was read.
type entry struct {
	found   bool
	key     Key
	secrets []secret
	id      omni.Identity
	read    time.Time
}

// cache holds what was read of keys. An id that is not known is remembered too, so that a flood of one bad token does not
// become a flood of queries.
type cache struct {
	mu         sync.Mutex
	entries    map[string]entry
	generation int64
}

func newCache() *cache { return &cache{entries: map[string]entry{}} }

// get gives what is known of id and is still fresh, and the generation to put a newer reading with.
func (c *cache) get(id string, now time.Time) (e entry, ok bool, generation int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok = c.entries[id]
	age := now.Sub(e.read)
	return e, ok && age >= 0 && age < cacheLife, c.generation
}

// put remembers a reading, unless something was forgotten since it began: it may then be older than that change.
func (c *cache) put(id string, e entry, generation int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation != c.generation {
		return
	}
	if len(c.entries) >= cacheEntries {
		c.evict(e.read)
	}
	c.entries[id] = e
}

// evict makes room: it drops what is no longer fresh, and if that is nothing, any tenth.
func (c *cache) evict(now time.Time) {
	for id, e := range c.entries {
		if now.Sub(e.read) >= cacheLife {
			delete(c.entries, id)
		}
	}
	for id := range c.entries {
		if len(c.entries) < cacheEntries*9/10 {
			return
		}
		delete(c.entries, id)
	}
}

// forget drops everything, so that a change counts at once. Changes are rare, and the cache is full again in a moment.
func (c *cache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	clear(c.entries)
}
