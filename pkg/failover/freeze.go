package failover

import (
	"context"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// EventAutomation is the type of the event that automation was frozen or unfrozen; data: Freeze.
const EventAutomation = "omni.failover.automation"

// Automation says whether automation is frozen, and which runs it would have started that something keeps back.
func (s *Service) Automation(ctx context.Context) (Freeze, error) {
	var f Freeze
	err := s.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) (err error) {
		if f, err = readFreeze(ctx, tx); err != nil {
			return err
		}
		f.Blocked, err = queryBlocked(ctx, tx)
		return err
	})
	return f, err
}

// SetFrozen freezes all automation, or lets it go again: while it is frozen no run starts by itself. Runs that are alive go on, and people may
// start others. Doing so again only replaces the reason.
func (s *Service) SetFrozen(ctx context.Context, frozen bool, reason string) (Freeze, error) {
	if len(reason) > maxReason {
		return Freeze{}, invalid("reason", "must be at most %d bytes, not %d", maxReason, len(reason))
	}
	err := s.db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		before, err := readFreeze(ctx, tx)
		if err != nil || (before.Frozen == frozen && before.Reason == reason) {
			return err
		}
		actor := omni.RequestFrom(ctx).Identity.Actor
		if _, err := tx.Exec(ctx, upsertFreeze, frozen, reason, actor, database.Time(tx.Now())); err != nil {
			return err
		}
		now, err := readFreeze(ctx, tx)
		if err != nil {
			return err
		}
		verb := "unfreeze"
		if frozen {
			verb = "freeze"
		}
		err = events.Audit(ctx, tx, omni.AuditRecord{
			Action: "automation." + verb, Object: "automation/failover", Reason: reason,
			Before: events.Digest(before), After: events.Digest(now),
		})
		if err != nil {
			return err
		}
		return events.Append(ctx, tx, events.New(EventAutomation, "automation/failover", "", now))
	})
	if err != nil {
		return Freeze{}, err
	}
	return s.Automation(ctx)
}

func readFreeze(ctx context.Context, tx *database.Tx) (Freeze, error) {
	f := Freeze{Blocked: []Blocked{}}
	err := tx.Query(ctx, selectFreeze, nil, func(scan func(...any) error) error {
		var since database.Time
		err := scan(&f.Frozen, &f.Reason, &f.By, &since)
		f.Since = moment(since.Std())
		return err
	})
	return f, err
}

func queryBlocked(ctx context.Context, tx *database.Tx) ([]Blocked, error) {
	list := []Blocked{}
	err := tx.Query(ctx, selectBlocked, nil, func(scan func(...any) error) error {
		var b Blocked
		var since database.Time
		err := scan(&b.Tenant, &b.Kind, &b.From, &b.Cause, &b.Reason, &since)
		b.Since = since.Std()
		list = append(list, b)
		return err
	})
	return list, err
}

// RegionHealth judges a region now, by the default trigger, with the votes. Since is what the leader has stored while it agrees.
func (s *Service) RegionHealth(ctx context.Context, name string) (Verdict, error) {
	var v Verdict
	err := s.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		region, err := s.infra.Region(ctx, tx, name)
		if err != nil {
			return err
		}
		stored, err := queryVerdicts(ctx, tx, selectVerdict, name)
		if err != nil {
			return err
		}
		v = s.judge(region, Trigger{}, tx.Now())
		for _, before := range stored {
			v = v.Following(before)
		}
		return nil
	})
	return v, err
}
