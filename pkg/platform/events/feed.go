package events

import (
	"context"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// feedTopic is signalled when the feed has grown.
const feedTopic = "event_feed"

// FeedOptions tune a Feed; each zero value is its default.
type FeedOptions struct {
	Interval  time.Duration // between looks for what other processes have added; 1 s
	Retention time.Duration // of events; 24 h
	MaxItems  int64         // kept at most; 100,000
	Logger    *slog.Logger  // nil discards
}

// Feed is a bounded history of all events, in one growing sequence, for those who watch (server-sent events).
type Feed struct {
	db   *database.DB
	opts FeedOptions

	mu    sync.Mutex
	added int // since the last look for what to remove
}

// NewFeed makes the feed, which lives in the infra database.
func NewFeed(infra *database.DB, opts FeedOptions) *Feed {
	opts.Interval = positive(opts.Interval, time.Second)
	opts.Retention = positive(opts.Retention, 24*time.Hour)
	opts.MaxItems = positive(opts.MaxItems, 100_000)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Feed{db: infra, opts: opts}
}

// FeedFilter says whose and which events to show.
type FeedFilter struct {
	Tenant string   // "" shows all, the platform's own included
	Topics []string // what stands behind "omni." in the type, from its beginning: failover, audit, region.verdict; none means all
}

// FeedItem is an event and its place in the feed. Seq grows, with gaps.
type FeedItem struct {
	Seq   int64
	Event Event
}

// pruneAfter is how many events are added before old ones are looked for.
const pruneAfter = 1000

// Consumer adds every event to the feed.
func (f *Feed) Consumer() Consumer {
	return Consumer{Name: "feed", Database: f.db, Handle: f.add}
}

// add gathers the events of a delivery, which go into the feed at its end.
func (f *Feed) add(_ context.Context, tx *database.Tx, e Event) error {
	batch := tx.Attach(feedKey{}, func() database.Flusher { return &feedBatch{feed: f} }).(*feedBatch)
	batch.events = append(batch.events, e)
	return nil
}

type feedKey struct{}

type feedBatch struct {
	feed   *Feed
	events []Event
}

// Flush implements database.Flusher.
func (b *feedBatch) Flush(ctx context.Context, tx *database.Tx) error {
	if err := lockFeed(ctx, tx); err != nil {
		return err
	}
	for part := range slices.Chunk(b.events, insertChunk) {
		if err := insertFeed(ctx, tx, part); err != nil {
			return err
		}
	}
	tx.Signal(feedTopic)
	if !b.feed.due(len(b.events)) {
		return nil
	}
	return pruneFeed(ctx, tx, tx.Now().Add(-b.feed.opts.Retention), b.feed.opts.MaxItems)
}

// due counts what is added, and says when it is time to look for what to remove.
func (f *Feed) due(added int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.added += added; f.added < pruneAfter {
		return false
	}
	f.added = 0
	return true
}

// feedPage is how many events are read at once.
const feedPage = 200

// Subscribe gives the events behind after, the oldest first, and then each new one as it comes, until ctx ends or the
// caller breaks off. A negative after starts with the next new event. When what follows after has been removed already, it
// starts with the oldest that is left; so it does when after lies ahead of the feed, as after a restore. A database that
// does not answer is waited for; any other error is given and ends it.
func (f *Feed) Subscribe(ctx context.Context, filter FeedFilter, after int64) iter.Seq2[FeedItem, error] {
	return func(yield func(FeedItem, error) bool) {
		wake, stop := f.db.Watch(feedTopic)
		defer stop()
		r := &reading{feed: f, filter: filter, after: after, yield: yield}
		for ctx.Err() == nil {
			more, err := r.next(ctx)
			switch {
			case r.stopped:
				return
			case err != nil && !f.bearable(ctx, err):
				if ctx.Err() == nil {
					yield(FeedItem{}, err)
				}
				return
			case !more:
				f.wait(ctx, wake)
			}
		}
	}
}

func (f *Feed) wait(ctx context.Context, wake <-chan struct{}) {
	timer := time.NewTimer(f.opts.Interval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-wake:
	case <-timer.C:
	}
}

// shown says whether the filter lets a type through.
func (f FeedFilter) shown(typ string) bool {
	if len(f.Topics) == 0 {
		return true
	}
	rest, ours := strings.CutPrefix(typ, "omni.")
	for _, topic := range f.Topics {
		if ours && (rest == topic || strings.HasPrefix(rest, topic+".")) {
			return true
		}
	}
	return false
}
