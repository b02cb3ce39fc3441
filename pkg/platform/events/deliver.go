package events

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// result is what became of a consumer's part of a pass.
type result struct {
	handled []int64 // numbers of the events
	failed  int
}

// patience is how many events in a row may fail before a consumer is left alone for the rest of a pass: its database is
// probably away.
const patience = 3

// deliver hands events to consumer i, in order. It tries them in groups, one transaction each; when a group fails, one by one,
// so that only the subject that fails is held back.
func (r *Relay) deliver(ctx context.Context, i int, items []item) (res result) {
	s := r.states[i]
	row := 0 // failures in a row
	for part := range slices.Chunk(items, r.opts.Group) {
		// A subject that has failed is tried alone, so that it does not take a group down with it.
		calm := !slices.ContainsFunc(part, func(it item) bool { return s.blocked[it.event.Subject] != nil })
		if calm && r.handle(ctx, i, part) == nil {
			res.handled = append(res.handled, numbers(part)...)
			continue
		}
		for _, it := range part {
			if s.waits(it.event.Subject) {
				continue
			}
			if err := r.handle(ctx, i, []item{it}); err != nil {
				if ctx.Err() != nil {
					return res
				}
				r.failed(ctx, i, it, err)
				res.failed++
				if row++; row >= patience {
					return res
				}
				continue
			}
			row = 0
			delete(s.blocked, it.event.Subject)
			res.handled = append(res.handled, it.seq)
		}
	}
	return res
}

// failed holds a subject back.
func (r *Relay) failed(ctx context.Context, i int, it item, err error) {
	s := r.states[i]
	s.block(it.event.Subject, err, r.opts.BackoffMin, r.opts.BackoffMax)
	r.opts.Logger.WarnContext(ctx, "a consumer cannot handle an event; its subject waits",
		"consumer", r.consumers[i].Name, "event", it.event.ID, "type", it.event.Type, "subject", it.event.Subject,
		"request_id", it.event.RequestID, "failures", s.blocked[it.event.Subject].failures, "error", err)
}

// handle has consumer i handle events in one transaction; those that it has handled before are passed over.
func (r *Relay) handle(ctx context.Context, i int, items []item) error {
	c := r.consumers[i]
	ctx, cancel := context.WithTimeout(ctx, r.opts.HandleTimeout)
	defer cancel()
	r.opts.Failpoint("events.before_handle")
	err := c.Database.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		first, err := firstSeen(ctx, tx, c.Name, items)
		if err != nil {
			return err
		}
		for _, it := range items {
			if !first[it.event.ID] {
				continue
			}
			if err := call(ctx, tx, c, it.event); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		r.opts.Failpoint("events.after_handle")
	}
	return err
}

// call calls the consumer, and turns a panic into an error: one event that it cannot bear must not end the program.
func call(ctx context.Context, tx *database.Tx, c Consumer, e Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the consumer panicked: %v\n%s", p, debug.Stack())
		}
	}()
	ctx = omni.WithRequest(ctx, omni.Request{Identity: omni.System(c.Name), ID: e.RequestID, TraceParent: e.TraceParent})
	return c.Handle(ctx, tx, e)
}

func numbers(items []item) []int64 {
	out := make([]int64, len(items))
	for i, it := range items {
		out[i] = it.seq
	}
	return out
}
