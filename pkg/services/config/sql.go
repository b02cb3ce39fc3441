package config

import (
	"context"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// lockApplies lets one apply at a time change a database, on all replicas, until the transaction ends. SQLite has one writer
// anyway.
func lockApplies(ctx context.Context, tx *database.Tx) error {
	if tx.Kind() != database.Postgres {
		return nil
	}
	_, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtext('omnicloud apply ' || current_schema()))`)
	return err
}
