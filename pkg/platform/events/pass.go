package events

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// remembered bounds the pending events of which a relay keeps in mind who has handled them already. Beyond it the memory is
// dropped: the inboxes know.
const remembered = 100_000

// item is a pending event, on its way through a pass.
type item struct {
	seq   int64
	event Event
}

// state is what a relay knows of one consumer.
type state struct {
	blocked map[string]*block // by subject
}

// block is a subject that waits, for one consumer.
type block struct {
	failures int
	until    *time.Timer // fires when it may be tried again
	trial    bool        // it may, in this pass
	err      error
}

// pass hands a batch of pending events to those who lack them, and marks those that everybody has handled. progress says that
// another pass may find more to do at once.
func (r *Relay) pass(ctx context.Context) (progress bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.states {
		s.tryAgain()
	}
	work, finished, err := r.collect(ctx)
	if err != nil {
		return false, err
	}
	var group sync.WaitGroup
	results := make([]result, len(r.consumers))
	for i := range r.consumers {
		if len(work[i]) > 0 {
			group.Go(func() { results[i] = r.deliver(ctx, i, work[i]) })
		}
	}
	group.Wait()
	for i, res := range results {
		for _, seq := range res.handled {
			r.note(i, seq)
		}
		if len(res.handled) > 0 || res.failed > 0 {
			r.opts.Observe(r.consumers[i].Name, len(res.handled), res.failed)
		}
		progress = progress || len(res.handled) > 0
	}
	finished = append(finished, r.finished(work)...)
	if len(finished) == 0 {
		return progress, ctx.Err()
	}
	return true, r.mark(ctx, finished)
}

// collect reads pending events, until a batch of them has something to do: the events for each consumer, in order, and the
// numbers of those with which everybody is done.
func (r *Relay) collect(ctx context.Context) (work [][]item, finished []int64, err error) {
	err = r.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		work, finished, r.parked = make([][]item, len(r.consumers)), nil, 0
		taken := 0
		return pendingEvents(ctx, tx, func(seq int64, e Event) bool {
			lacking, open := r.lacking(seq, e)
			switch {
			case len(lacking) == 0:
				finished = append(finished, seq)
			case !open:
				r.parked++
				return true
			}
			for _, i := range lacking {
				if !r.states[i].waits(e.Subject) {
					work[i] = append(work[i], item{seq: seq, event: e})
				}
			}
			taken++
			return taken < r.opts.Batch
		}, func(seq int64, err error) {
			r.parked++
			r.opts.Logger.ErrorContext(ctx, "an event of the outbox is damaged", "database", r.db.Name(), "seq", seq, "error", err)
		})
	})
	return work, finished, err
}

// lacking lists the consumers that have yet to handle an event; open says that one of them can be tried now.
func (r *Relay) lacking(seq int64, e Event) (lacking []int, open bool) {
	done := r.done[seq]
	for i, c := range r.consumers {
		if done != nil && done[i] || !matches(c.Types, e.Type) {
			continue
		}
		lacking = append(lacking, i)
		open = open || !r.states[i].waits(e.Subject)
	}
	return lacking, open
}

// note remembers that consumer i has handled an event.
func (r *Relay) note(i int, seq int64) {
	if len(r.done) > remembered {
		clear(r.done)
	}
	if r.done[seq] == nil {
		r.done[seq] = make([]bool, len(r.consumers))
	}
	r.done[seq][i] = true
}

// finished lists the events of this pass that nobody lacks any more.
func (r *Relay) finished(work [][]item) (seqs []int64) {
	for _, items := range work {
		for _, it := range items {
			if lacking, _ := r.lacking(it.seq, it.event); len(lacking) == 0 {
				seqs = append(seqs, it.seq)
			}
		}
	}
	slices.Sort(seqs)
	return slices.Compact(seqs)
}

// mark notes in the outbox that everybody has handled the events.
func (r *Relay) mark(ctx context.Context, seqs []int64) error {
	r.opts.Failpoint("events.before_mark")
	err := r.db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		for part := range slices.Chunk(seqs, insertChunk) {
			if err := markRelayed(ctx, tx, part); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, seq := range seqs {
		delete(r.done, seq)
	}
	r.opts.Failpoint("events.after_mark")
	return nil
}

// tryAgain lets the subjects whose time has come into the next pass.
func (s *state) tryAgain() {
	for _, b := range s.blocked {
		select {
		case <-b.until.C:
			b.trial = true
		default:
		}
	}
}

// waits says that the subject must not be tried now.
func (s *state) waits(subject string) bool {
	b := s.blocked[subject]
	return b != nil && !b.trial
}

// block has a subject wait, twice as long each time.
func (s *state) block(subject string, err error, least, most time.Duration) {
	b := s.blocked[subject]
	if b == nil {
		b = &block{}
		s.blocked[subject] = b
	}
	pause := most
	if b.failures < 20 { // beyond that the shift would overflow
		pause = min(most, least<<b.failures)
	}
	b.failures++
	b.trial, b.err, b.until = false, err, time.NewTimer(pause)
}
