package events

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// MaxEvent is the largest event in bytes, as JSON: state goes to the store, an event tells of it.
const MaxEvent = 256 << 10

// outboxTopic is what Append signals, and a relay waits for.
const outboxTopic = "outbox"

// Append adds events to the outbox of the transaction's database. They are written just before the commit, in the order of
// the calls. A transaction in the scope of a tenant can append that tenant's events only.
func Append(ctx context.Context, tx *database.Tx, evs ...Event) error {
	if len(evs) == 0 {
		return nil
	}
	req := omni.RequestFrom(ctx)
	box := tx.Attach(outboxKey{}, func() database.Flusher { return &outbox{} }).(*outbox)
	for _, e := range evs {
		if err := check(tx, e); err != nil {
			return err
		}
		if e.ID == "" {
			e.ID = omni.NewID("evt", tx.Now())
		}
		if e.Time.IsZero() {
			e.Time = tx.Now()
		}
		if e.RequestID == "" {
			e.RequestID = req.ID
		}
		if e.TraceParent == "" {
			e.TraceParent = req.TraceParent
		}
		e.Source = "/omnicloud/" + string(tx.Database())
		text, err := json.Marshal(e)
		if err != nil {
			return omni.Errorf(omni.CodeInternal, "event %s about %s: %w", e.Type, e.Subject, err)
		}
		if len(text) > MaxEvent {
			return omni.Errorf(omni.CodeTooLarge, "event %s about %s: %d bytes are more than %d", e.Type, e.Subject, len(text), MaxEvent)
		}
		box.rows = append(box.rows, row{event: e, text: string(text)})
	}
	return nil
}

func check(tx *database.Tx, e Event) error {
	switch {
	case e.failed != nil:
		return omni.Errorf(omni.CodeInternal, "event %s about %s: its data: %w", e.Type, e.Subject, e.failed)
	case e.Type == "" || e.Subject == "":
		return omni.Errorf(omni.CodeInternal, "event %q about %q: type and subject must not be empty", e.Type, e.Subject)
	case tx.Scope() != database.Platform() && tx.Scope() != database.Tenant(e.Tenant):
		return omni.Errorf(omni.CodeForbidden, "event %s about %s: it is of tenant %q, and the transaction works for %q",
			e.Type, e.Subject, e.Tenant, tx.Scope().Value())
	}
	return nil
}

// outboxKey finds what the transaction has gathered.
type outboxKey struct{}

type row struct {
	event Event
	text  string
}

// outbox gathers a transaction's events until it commits: so that the turn that it takes on each subject is short, and two
// transactions never wait for each other's turn.
type outbox struct{ rows []row }

// Flush implements database.Flusher.
func (o *outbox) Flush(ctx context.Context, tx *database.Tx) error {
	rows := o.rows
	o.rows = nil
	if err := takeTurn(ctx, tx, rows); err != nil {
		return err
	}
	for part := range slices.Chunk(rows, insertChunk) {
		if err := insertOutbox(ctx, tx, part); err != nil {
			return err
		}
	}
	tx.Signal(outboxTopic)
	return nil
}

// takeTurn makes transactions about the same subject commit one after the other, so that within a subject the order of
// numbers is that of commits. SQLite has one writer anyway.
func takeTurn(ctx context.Context, tx *database.Tx, rows []row) error {
	if tx.Kind() == database.SQLite {
		return nil
	}
	subjects := make([]string, 0, len(rows))
	for _, r := range rows {
		subjects = append(subjects, r.event.Subject)
	}
	slices.Sort(subjects)
	return lockSubjects(ctx, tx, slices.Compact(subjects))
}
