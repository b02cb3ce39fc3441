package events

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// insertChunk bounds the rows of one insert; with six columns each it stays far below either dialect's bound of parameters.
const insertChunk = 200

// lockSubjects takes a lock for each subject until the end of the transaction (PostgreSQL only). The locks are numbered by a hash, and
// taken in the order of their numbers; two subjects that share one only wait a little more.
func lockSubjects(ctx context.Context, tx *database.Tx, subjects []string) error {
	_, err := tx.Exec(ctx, `
		select pg_advisory_xact_lock(hashtext(current_schema() || ' outbox'), n)
		from (select distinct hashtext(s) as n from unnest($1::text[]) as s order by n) as numbers`, subjects)
	return err
}

func insertOutbox(ctx context.Context, tx *database.Tx, rows []row) error {
	args := make([]any, 0, 6*len(rows))
	for _, r := range rows {
		args = append(args, r.event.ID, r.event.Type, r.event.Subject, r.event.Tenant, r.text, database.Time(r.event.Time))
	}
	_, err := tx.Exec(ctx, `insert into outbox (id, type, subject, tenant, event, at) values `+tuples(len(rows), 6), args...)
	return err
}

// tuples gives "($1, $2), ($3, $4)" for two rows of two columns.
func tuples(rows, columns int) string {
	var b strings.Builder
	for r := range rows {
		if r > 0 {
			b.WriteString(", ")
		}
		b.WriteByte('(')
		b.WriteString(places(r*columns+1, columns))
		b.WriteByte(')')
	}
	return b.String()
}

// places gives n placeholders from $first on.
func places(first, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(first + i))
	}
	return b.String()
}

// errEnough ends the reading of rows.
var errEnough = errors.New("enough")

// pendingEvents calls each for the pending events in their order, until it returns false. All are from one snapshot: of each subject
// it sees a beginning without gaps. An event that cannot be read (somebody changed the store) goes to damaged, and stays.
func pendingEvents(ctx context.Context, tx *database.Tx, each func(seq int64, e Event) bool, damaged func(seq int64, err error)) error {
	err := tx.Query(ctx, `select seq, event from outbox where relayed_at is null order by seq`, nil,
		func(scan func(...any) error) error {
			var seq int64
			var text string
			if err := scan(&seq, &text); err != nil {
				return err
			}
			var e Event
			if err := json.Unmarshal([]byte(text), &e); err != nil {
				damaged(seq, err)
				return nil
			}
			if !each(seq, e) {
				return errEnough
			}
			return nil
		})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func markRelayed(ctx context.Context, tx *database.Tx, seqs []int64) error {
	args := []any{database.Time(tx.Now())}
	for _, s := range seqs {
		args = append(args, s)
	}
	_, err := tx.Exec(ctx, `update outbox set relayed_at = $1 where relayed_at is null and seq in (`+places(2, len(seqs))+`)`, args...)
	return err
}

// countPending tells how many events wait, and since when the oldest does (the zero time when none does).
func countPending(ctx context.Context, tx *database.Tx) (pending int64, oldest time.Time, err error) {
	var at database.Time
	if err := tx.QueryRow(ctx, `select count(*), min(at) from outbox where relayed_at is null`, nil, &pending, &at); err != nil {
		return 0, time.Time{}, err
	}
	return pending, at.Std(), nil
}

// relayedBefore lists ids of events that were relayed before a moment, the oldest first, at most limit.
func relayedBefore(ctx context.Context, tx *database.Tx, before time.Time, limit int) (ids []string, err error) {
	err = tx.Query(ctx, `select id from outbox where relayed_at < $1 order by relayed_at limit $2`,
		[]any{database.Time(before), limit}, func(scan func(...any) error) error {
			var id string
			err := scan(&id)
			ids = append(ids, id)
			return err
		})
	return ids, err
}

func deleteOutbox(ctx context.Context, tx *database.Tx, ids []string) error {
	_, err := tx.Exec(ctx, `delete from outbox where relayed_at is not null and id in (`+places(1, len(ids))+`)`, list(ids)...)
	return err
}

func deleteInbox(ctx context.Context, tx *database.Tx, ids []string) error {
	_, err := tx.Exec(ctx, `delete from inbox where event_id in (`+places(1, len(ids))+`)`, list(ids)...)
	return err
}

// firstSeen notes that the consumer handles the events in this transaction, and gives the ids of those that it has not handled
// before.
func firstSeen(ctx context.Context, tx *database.Tx, consumer string, items []item) (map[string]bool, error) {
	args := make([]any, 0, 3*len(items))
	for _, it := range items {
		args = append(args, consumer, it.event.ID, database.Time(tx.Now()))
	}
	first := make(map[string]bool, len(items))
	err := tx.Query(ctx, `insert into inbox (consumer, event_id, at) values `+tuples(len(items), 3)+` on conflict do nothing returning event_id`, args,
		func(scan func(...any) error) error {
			var id string
			err := scan(&id)
			first[id] = true
			return err
		})
	return first, err
}

func list(ids []string) []any {
	out := make([]any, len(ids))
	for i, id := range ids {
		out[i] = id
	}
	return out
}
