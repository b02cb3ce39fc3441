package epoch

import (
	"context"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// Leadership is the newest takeover. Epoch is 0 and Holder "" when nobody has led yet.
type Leadership struct {
	Epoch   int64
	Holder  string
	TakenAt time.Time
}

// Take records that holder leads from now on, and returns its epoch: one more than the highest ever taken. Every
// transaction of an earlier leader that has not yet passed its fence fails from here on.
func Take(ctx context.Context, tx *database.Tx, holder string) (int64, error) {
	var epoch int64
	err := tx.QueryRow(ctx, takeSQL, []any{holder, database.Time(tx.Now())}, &epoch)
	return epoch, err
}

// Fence fails with omni.CodeStale when leadership has moved on from epoch; call it first in each transaction that
// only the leader may make.
func Fence(ctx context.Context, tx *database.Tx, epoch int64) error {
	query := fenceSQLite
	if tx.Kind() == database.Postgres {
		query = fencePostgres
	}
	var current int64
	err := tx.QueryRow(ctx, query, nil, &current)
	if err != nil && !omni.Is(err, omni.CodeNotFound) {
		return err
	}
	if current != epoch {
		return omni.Errorf(omni.CodeStale, "leadership has moved on: this is epoch %d, the current one is %d", epoch, current).
			WithHint("nothing was changed; the new leader carries on with the work")
	}
	return nil
}

// Current gives the newest takeover.
func Current(ctx context.Context, tx *database.Tx) (Leadership, error) {
	var (
		l  Leadership
		at database.Time
	)
	err := tx.QueryRow(ctx, currentSQL, nil, &l.Epoch, &l.Holder, &at)
	if omni.Is(err, omni.CodeNotFound) {
		return Leadership{}, nil
	}
	l.TakenAt = at.Std()
	return l, err
}
