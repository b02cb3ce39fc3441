package events

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// reading is one subscription.
type reading struct {
	feed    *Feed
	filter  FeedFilter
	after   int64
	yield   func(FeedItem, error) bool
	started bool // after is a number of this feed
	stopped bool // the caller broke off
}

// next reads what follows and hands it on, outside of the transaction. more says that there may be more at once.
func (r *reading) next(ctx context.Context) (more bool, err error) {
	scope := database.Platform()
	if r.filter.Tenant != "" {
		scope = database.Tenant(r.filter.Tenant)
	}
	if !r.started {
		if err := r.start(ctx); err != nil {
			return false, err
		}
	}
	var items []FeedItem
	err = r.feed.db.Read(ctx, scope, func(ctx context.Context, tx *database.Tx) (err error) {
		items, err = readFeed(ctx, tx, r.filter.Tenant, r.after, feedPage)
		return err
	})
	if err != nil {
		return false, err
	}
	for _, it := range items {
		r.after = it.Seq
		if r.filter.shown(it.Event.Type) && !r.yield(it, nil) {
			r.stopped = true
			return false, nil
		}
	}
	return len(items) == feedPage, nil
}

// start finds behind which number to begin.
func (r *reading) start(ctx context.Context) error {
	return r.feed.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		last, err := lastFeed(ctx, tx)
		if err != nil {
			return err
		}
		switch {
		case r.after < 0:
			r.after = last
		case r.after > last: // a number of a feed that is no more
			r.after = 0
		}
		r.started = true
		return nil
	})
}

// bearable says that an error passes by itself.
func (f *Feed) bearable(ctx context.Context, err error) bool {
	if ctx.Err() != nil || !omni.Is(err, omni.CodeUnavailable) {
		return false
	}
	f.opts.Logger.WarnContext(ctx, "the event feed cannot be read now", "error", err)
	return true
}

// lockFeed makes those who add to the feed take turns until they commit (PostgreSQL only; SQLite has one writer): so numbers
// become visible in their order, and a reader's cursor passes over none.
func lockFeed(ctx context.Context, tx *database.Tx) error {
	if tx.Kind() == database.SQLite {
		return nil
	}
	_, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtext(current_schema() || ' feed'), 0)`)
	return err
}

func insertFeed(ctx context.Context, tx *database.Tx, evs []Event) error {
	args := make([]any, 0, 4*len(evs))
	for _, e := range evs {
		text, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("event %s: %w", e.ID, err)
		}
		args = append(args, e.Type, e.Tenant, string(text), database.Time(tx.Now()))
	}
	_, err := tx.Exec(ctx, `insert into event_feed (type, tenant, event, at) values `+tuples(len(evs), 4), args...)
	return err
}

func lastFeed(ctx context.Context, tx *database.Tx) (seq int64, err error) {
	err = tx.QueryRow(ctx, `select coalesce(max(seq), 0) from event_feed`, nil, &seq)
	return seq, err
}

func readFeed(ctx context.Context, tx *database.Tx, tenant string, after int64, limit int) (items []FeedItem, err error) {
	query, args := `select seq, event from event_feed where seq > $1 order by seq limit $2`, []any{after, limit}
	if tenant != "" {
		query = `select seq, event from event_feed where tenant = $3 and seq > $1 order by seq limit $2`
		args = append(args, tenant)
	}
	err = tx.Query(ctx, query, args, func(scan func(...any) error) error {
		var it FeedItem
		var text string
		if err := scan(&it.Seq, &text); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(text), &it.Event); err != nil {
			return fmt.Errorf("event %d of the feed cannot be read: %w", it.Seq, err)
		}
		items = append(items, it)
		return nil
	})
	return items, err
}

// pruneFeed removes what is older than before, and all but the last most.
func pruneFeed(ctx context.Context, tx *database.Tx, before time.Time, most int64) error {
	last, err := lastFeed(ctx, tx)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `delete from event_feed where seq <= $1 or at < $2`, last-most, database.Time(before))
	return err
}
