package events

import (
	"context"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// Bounds of one Prune, so that it never holds the writer for long.
const (
	pruneChunk  = 500
	pruneChunks = 100
)

// Prune forgets events that were relayed longer than the retention ago, at most 50,000 at a time, and tells how many. What the
// consumers' inboxes know of an event goes first: as long as the event is there, nobody handles it twice.
func (r *Relay) Prune(ctx context.Context) (pruned int, err error) {
	for range pruneChunks {
		var ids []string
		err := r.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) (err error) {
			ids, err = relayedBefore(ctx, tx, tx.Now().Add(-r.opts.Retention), pruneChunk)
			return err
		})
		if err != nil || len(ids) == 0 {
			return pruned, err
		}
		for _, db := range r.inboxes() {
			err := db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
				return deleteInbox(ctx, tx, ids)
			})
			if err != nil {
				return pruned, err
			}
		}
		err = r.db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			return deleteOutbox(ctx, tx, ids)
		})
		if err != nil {
			return pruned, err
		}
		pruned += len(ids)
	}
	return pruned, nil
}

// inboxes lists the consumers' databases, each once.
func (r *Relay) inboxes() (dbs []*database.DB) {
	seen := map[*database.DB]bool{}
	for _, c := range r.consumers {
		if !seen[c.Database] {
			seen[c.Database] = true
			dbs = append(dbs, c.Database)
		}
	}
	return dbs
}
