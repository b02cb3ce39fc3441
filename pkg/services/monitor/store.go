package monitor

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// batch is how many rows one transaction writes at most; more wait for the next second.
const batch = 500

// lastFlush bounds how long the last batch may take when the service ends.
const lastFlush = 2 * time.Second

// store gathers what has changed, and writes it once a second at most.
type store struct {
	db       *database.DB
	observer string

	mu    sync.Mutex
	clean bool            // the observer's rows of an earlier life are gone
	dirty map[*probe]bool // their status changed
	gone  map[key]bool    // removed
	beats map[*probe]bool // have beats that other replicas do not know of
}

func newStore(db *database.DB, observer string) *store {
	return &store{db: db, observer: observer, dirty: map[*probe]bool{}, gone: map[key]bool{}, beats: map[*probe]bool{}}
}

func (st *store) changed(p *probe) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.dirty[p] = true
	delete(st.gone, p.key)
}

func (st *store) removed(k key) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.gone[k] = true
}

// beaten notes a beat for the other replicas. SQLite belongs to a single process, so there are none.
func (st *store) beaten(p *probe) {
	if st.db.Kind() == database.SQLite {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.beats[p] = true
}

// keep writes what has changed every second until ctx ends, and once more then.
func (s *Service) keep(ctx context.Context) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
			defer cancel()
			if err := s.store.flush(last, s.watched); err != nil {
				s.log.WarnContext(last, "the last changes of probes could not be stored", "error", err)
			}
			return
		}
		err := s.store.flush(ctx, s.watched)
		if err == nil {
			err = s.listen(ctx)
		}
		if err != nil && !failing && ctx.Err() == nil {
			s.log.WarnContext(ctx, "changes of probes cannot be stored; they are tried again every second", "error", err)
		}
		failing = err != nil
	}
}

// watched says whether p is still the probe of its name.
func (s *Service) watched(p *probe) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.probes[p.key] == p
}

// work is one batch.
type work struct {
	clean bool
	dirty []*probe
	gone  []key
	beats []*probe
}

// take removes one batch from what waits, sorted so that replicas meet the same rows in the same order. What is no longer
// watched is dropped.
func (st *store) take(watched func(*probe) bool) work {
	st.mu.Lock()
	w := work{clean: !st.clean, gone: some(st.gone), dirty: some(st.dirty), beats: some(st.beats)}
	st.mu.Unlock() // watched has a lock of its own
	stale := func(p *probe) bool { return !watched(p) }
	w.dirty, w.beats = slices.DeleteFunc(w.dirty, stale), slices.DeleteFunc(w.beats, stale)
	byKey := func(a, b *probe) int { return a.key.compare(b.key) }
	slices.SortFunc(w.gone, key.compare)
	slices.SortFunc(w.dirty, byKey)
	slices.SortFunc(w.beats, byKey)
	return w
}

// some moves at most batch items out of a set.
func some[T comparable](set map[T]bool) []T {
	var list []T
	for item := range set {
		if len(list) >= batch {
			break
		}
		list = append(list, item)
		delete(set, item)
	}
	return list
}

// giveBack puts a batch back that could not be written; what a probe shows is read when it is written.
func (st *store) giveBack(w work) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, k := range w.gone {
		st.gone[k] = true
	}
	for _, p := range w.dirty {
		st.dirty[p] = true
	}
	for _, p := range w.beats {
		st.beats[p] = true
	}
}

// flush writes one batch in one transaction.
func (st *store) flush(ctx context.Context, watched func(*probe) bool) error {
	w := st.take(watched)
	if !w.clean && len(w.dirty)+len(w.gone)+len(w.beats) == 0 {
		return nil
	}
	counted := map[*probe]int64{}
	err := st.db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		if w.clean {
			if _, err := tx.Exec(ctx, deleteOwn, st.observer); err != nil {
				return err
			}
		}
		if err := st.write(ctx, tx, w); err != nil {
			return err
		}
		for _, p := range w.beats {
			var beats int64
			if err := tx.QueryRow(ctx, incrementBeats, []any{p.key.region, p.key.zone, p.key.probe}, &beats); err != nil {
				return err
			}
			counted[p] = beats
		}
		return nil
	})
	if err != nil {
		st.giveBack(w)
		return err
	}
	st.mu.Lock()
	st.clean = true
	st.mu.Unlock()
	for p, beats := range counted {
		p.mu.Lock()
		p.beats = beats
		p.mu.Unlock()
	}
	return nil
}

// write writes removals first, since a probe may have come back under its name.
func (st *store) write(ctx context.Context, tx *database.Tx, w work) error {
	for _, k := range w.gone {
		for _, statement := range []string{deleteProbe, deleteBeats} {
			if _, err := tx.Exec(ctx, statement, k.region, k.zone, k.probe); err != nil {
				return err
			}
		}
	}
	for _, p := range w.dirty {
		s := p.state(st.observer)
		if s.Status == Unknown {
			if _, err := tx.Exec(ctx, deleteState, s.Region, s.Zone, s.Probe, s.Observer); err != nil {
				return err
			}
			continue
		}
		if _, err := tx.Exec(ctx, upsertState, s.Region, s.Zone, s.Probe, s.Observer, string(s.Status), database.Time(s.Since), s.Error,
			int64(s.LatencyMS*1000), database.Time(tx.Now())); err != nil {
			return err
		}
	}
	return nil
}

// others reads what the other observers make of the probes of a region, "" for all.
func (st *store) others(ctx context.Context, region string) ([]State, error) {
	var list []State
	err := st.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		list = nil
		query, args := selectOthers, []any{st.observer, maxOthers}
		if region != "" {
			query, args = selectOthersOf, append(args, region)
		}
		return tx.Query(ctx, query, args, func(scan func(dest ...any) error) error {
			var s State
			var since database.Time
			var micros int64
			if err := scan(&s.Region, &s.Zone, &s.Probe, &s.Observer, (*string)(&s.Status), &since, &s.Error, &micros); err != nil {
				return err
			}
			s.Since, s.LatencyMS = since.Std(), float64(micros)/1000
			list = append(list, s)
			return nil
		})
	})
	return list, err
}

// listen takes the beats that other replicas were given. They are told apart by their number, not their time, so that the
// replicas' clocks need not agree.
func (s *Service) listen(ctx context.Context) error {
	if s.store.db.Kind() == database.SQLite {
		return nil
	}
	waiting := map[key]*probe{}
	for _, p := range s.of("") {
		if p.def.Type == infra.ProbeHeartbeat {
			waiting[p.key] = p
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	counts := map[key]int64{}
	err := s.store.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		return tx.Query(ctx, selectBeats, []any{maxProbes}, func(scan func(dest ...any) error) error {
			var k key
			var beats int64
			err := scan(&k.region, &k.zone, &k.probe, &beats)
			counts[k] = beats
			return err
		})
	})
	if err != nil {
		return err
	}
	for k, p := range waiting {
		if p.heard(counts[k]) {
			s.beat(p, false)
		}
	}
	return nil
}

// heard says whether the table has more beats than were known. The first reading only tells how many there were before.
func (p *probe) heard(beats int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.beats
	p.beats = beats
	return known >= 0 && beats > known
}
