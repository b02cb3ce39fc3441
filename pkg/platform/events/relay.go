package events

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// Consumer is someone who must know of events. Its Name is its identity in the inbox: it never changes, and is unique on its
// Database.
type Consumer struct {
	Name     string
	Types    []string // whole types, or prefixes that end in a dot, such as "omni.failover."; none means all
	Database *database.DB
	// Handle does its work in a transaction on Database, in the platform's scope, which also notes the event as handled. Several events
	// may share one transaction, and an event may come again when it failed: all effects must be the transaction's. The
	// context carries the request id of the event's cause. A failing event is given again later, and its subject's
	// following events wait.
	Handle func(ctx context.Context, tx *database.Tx, e Event) error
}

// RelayOptions tune a Relay; each zero value is its default.
type RelayOptions struct {
	Interval      time.Duration // between looks for events of other processes; 200 ms
	Batch         int           // events of one pass; 512
	Group         int           // events that a consumer handles in one transaction; 64, at most 200
	Retention     time.Duration // how long relayed events, and the inbox's notes of them, are kept; 24 h
	HandleTimeout time.Duration // of one transaction of a consumer; 30 s
	BackoffMin    time.Duration // before a failed subject is tried again, doubled each time; 200 ms
	BackoffMax    time.Duration // 1 min
	Logger        *slog.Logger  // nil discards
	// Observe is told of each consumer's part of a pass, if set; it must be quick.
	Observe func(consumer string, delivered, failed int)
	// Failpoint is called at named points, if set: events.before_handle, events.after_handle, events.before_mark,
	// events.after_mark. For tests that end the process there.
	Failpoint func(name string)
}

func (o RelayOptions) withDefaults() RelayOptions {
	o.Interval = positive(o.Interval, 200*time.Millisecond)
	o.Batch = positive(o.Batch, 512)
	o.Group = min(positive(o.Group, 64), insertChunk)
	o.Retention = positive(o.Retention, 24*time.Hour)
	o.HandleTimeout = positive(o.HandleTimeout, 30*time.Second)
	o.BackoffMin = positive(o.BackoffMin, 200*time.Millisecond)
	o.BackoffMax = positive(o.BackoffMax, time.Minute)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(string, int, int) {}
	}
	if o.Failpoint == nil {
		o.Failpoint = func(string) {}
	}
	return o
}

func positive[T ~int | ~int64](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

// Relay hands the events of one database to the consumers. Several relays may work on the same database at once, in one
// process or in many: that is safe, and wasteful.
type Relay struct {
	db        *database.DB
	consumers []Consumer
	opts      RelayOptions

	mu     sync.Mutex // one pass at a time
	states []*state   // of the consumers
	done   map[int64][]bool
	parked int // pending events of the last pass that only wait for failed subjects
}

// NewRelay makes the relay of db's events.
func NewRelay(db *database.DB, consumers []Consumer, opts RelayOptions) *Relay {
	r := &Relay{db: db, consumers: consumers, opts: opts.withDefaults(), done: map[int64][]bool{}}
	for range consumers {
		r.states = append(r.states, &state{blocked: map[string]*block{}})
	}
	return r
}

// pruneEvery is how often Run looks for events to forget.
const pruneEvery = time.Minute

// Run relays until ctx ends, and then returns nil. It is woken by appends in this process, and looks every Interval for those
// of others.
func (r *Relay) Run(ctx context.Context) error {
	wake, stop := r.db.Watch(outboxTopic)
	defer stop()
	prune := time.NewTicker(pruneEvery)
	defer prune.Stop()
	for ctx.Err() == nil {
		progress, err := r.pass(ctx)
		if err != nil && ctx.Err() == nil {
			r.opts.Logger.WarnContext(ctx, "events cannot be relayed now", "database", r.db.Name(), "error", err)
		}
		if progress && err == nil {
			continue
		}
		timer := time.NewTimer(r.pause(err))
		select {
		case <-ctx.Done():
		case <-wake:
		case <-timer.C:
		case <-prune.C:
			if _, err := r.Prune(ctx); err != nil && ctx.Err() == nil {
				r.opts.Logger.WarnContext(ctx, "old events cannot be removed now", "database", r.db.Name(), "error", err)
			}
		}
		timer.Stop()
	}
	return nil
}

// pause is how long to wait for the next look: longer when the database does not answer, and when each look has many parked
// events to pass over.
func (r *Relay) pause(err error) time.Duration {
	const most = 5 * time.Second
	if err != nil {
		return max(r.opts.Interval, time.Second)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(r.opts.Interval, min(most, r.opts.Interval*time.Duration(1+r.parked/1000)))
}

// Drain relays until nothing is pending. It waits for failed subjects as Run does; when ctx ends first, it says what is
// still pending and why.
func (r *Relay) Drain(ctx context.Context) error {
	for {
		progress, err := r.pass(ctx)
		if err == nil && !progress {
			pending, _, lagErr := r.Lag(ctx)
			if lagErr == nil && pending == 0 {
				return nil
			}
			err = lagErr
		}
		if err == nil && progress {
			continue
		}
		timer := time.NewTimer(min(r.opts.Interval, r.opts.BackoffMin))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return r.undrained(ctx, err)
		}
	}
}

// undrained is the error of a Drain that ran out of time.
func (r *Relay) undrained(ctx context.Context, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, s := range r.states {
		for subject, b := range s.blocked {
			err = fmt.Errorf("consumer %s cannot handle an event about %s: %w", r.consumers[i].Name, subject, b.err)
		}
	}
	if err == nil {
		err = ctx.Err()
	}
	return omni.Errorf(omni.CodeUnfinished, "events of database %s are still pending: %w", r.db.Name(), err)
}

// Lag tells how many events wait for a consumer, and how long the oldest of them has.
func (r *Relay) Lag(ctx context.Context) (pending int64, oldest time.Duration, err error) {
	err = r.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		n, since, err := countPending(ctx, tx)
		pending = n
		if !since.IsZero() {
			oldest = max(0, tx.Now().Sub(since))
		}
		return err
	})
	return pending, oldest, err
}
