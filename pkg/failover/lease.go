package failover

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/election/epoch"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
)

// contact is when a placement that could not be fenced was last spoken to, by the clock of the leader of that epoch. It is stored, so that
// nobody speaks to the placement again, which could renew the lease.
type contact struct {
	at    time.Time
	epoch int64
}

// looks remembers when this process, leading in one epoch, began to wait for each lease. It is what the wait is measured from, on the
// clock that no adjustment moves: a stored time is of another clock perhaps, and one that is behind would let two take writes.
type looks struct {
	mu    sync.Mutex
	epoch int64
	since map[look]time.Time
}

type look struct{ run, step string }

// first gives since when the step has waited in this epoch: from now, when it is asked for the first time.
func (l *looks) first(c workflow.Call, now time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since == nil || l.epoch != c.Epoch {
		l.epoch, l.since = c.Epoch, map[look]time.Time{}
	}
	k := look{c.Run.ID, c.Step.ID}
	if _, known := l.since[k]; !known {
		l.since[k] = now
	}
	return l.since[k]
}

// spoken forgets since when the step has waited: the placement was spoken to again.
func (l *looks) spoken(c workflow.Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.since, look{c.Run.ID, c.Step.ID})
}

// drop forgets a run that is over.
func (l *looks) drop(run string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range l.since {
		if k.run == run {
			delete(l.since, k)
		}
	}
}

// contact gives when the placement was last spoken to, if an earlier attempt has recorded it.
func (s *Service) contact(ctx context.Context, c workflow.Call) (last contact, found bool, err error) {
	err = s.db.Read(ctx, database.Tenant(c.Run.Tenant), func(ctx context.Context, tx *database.Tx) error {
		return tx.Query(ctx, selectLease, []any{c.Run.Tenant, c.Run.ID, c.Step.ID}, func(scan func(...any) error) error {
			var at database.Time
			err := scan(&at, &last.epoch)
			last.at, found = at.Std(), true
			return err
		})
	})
	return last, found, err
}

// recordContact stores that the placement was spoken to just now.
func (s *Service) recordContact(ctx context.Context, c workflow.Call) (last contact, err error) {
	s.looks.spoken(c)
	s.looks.first(c, s.now())
	err = s.db.Write(ctx, database.Tenant(c.Run.Tenant), func(ctx context.Context, tx *database.Tx) error {
		if err := epoch.Fence(ctx, tx, c.Epoch); err != nil {
			return err
		}
		last = contact{tx.Now(), c.Epoch}
		_, err := tx.Exec(ctx, upsertLease, c.Run.Tenant, c.Run.ID, c.Step.ID, database.Time(last.at), last.epoch)
		return err
	})
	return last, err
}

// waitOut waits until the lease has ended: since the placement was spoken to, for the leader that did, and for another since it began to
// wait itself. So a leader that takes over waits longer than it must, and never less.
func (s *Service) waitOut(ctx context.Context, c workflow.Call, lease time.Duration, last contact, err error) (workflow.Outcome, error) {
	if err != nil {
		return workflow.Outcome{}, err
	}
	now := s.now()
	left := lease - now.Sub(s.looks.first(c, now))
	timer := time.NewTimer(max(0, min(left, lease)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return workflow.Outcome{}, ctx.Err()
	case <-timer.C:
	}
	message := fmt.Sprintf("it could not be fenced; its lease of %s was waited out since it was last spoken to, at %s",
		omni.Duration(lease), last.at.UTC().Format(time.RFC3339))
	if last.epoch != c.Epoch {
		message += "; a new leader has waited all of it anew, since clocks may differ"
	}
	return workflow.Outcome{Message: message}, nil
}
