package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// errStopped says that the caller broke off.
var errStopped = errors.New("stopped")

// start says behind which number to begin.
func (f *Feed) start(ctx context.Context, after int64) (from int64, err error) {
	err = f.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		last, err := lastFeed(ctx, tx)
		switch {
		case after < 0:
			from = last
		case after > last: // numbers of a feed that is no more
			from = 0
		default:
			from = after
		}
		return err
	})
	return from, err
}

// page reads what follows after and hands it on, outside of the transaction. full says that there may be more at once.
func (f *Feed) page(ctx context.Context, filter FeedFilter, after int64, yield func(FeedItem, error) bool) (next int64, full bool, err error) {
	scope := database.Platform()
	if filter.Tenant != "" {
		scope = database.Tenant(filter.Tenant)
	}
	var items []FeedItem
	err = f.db.Read(ctx, scope, func(ctx context.Context, tx *database.Tx) (err error) {
		items, err = readFeed(ctx, tx, filter.Tenant, after, feedPage)
		return err
	})
	if err != nil {
		return after, false, err
	}
	for _, it := range items {
		after = it.Seq
		if filter.shown(it.Event.Type) && !yield(it, nil) {
			return after, false, errStopped
		}
	}
	return after, len(items) == feedPage, nil
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
