package daemon

import (
	"context"
	"testing"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/postgres"
)

// Tamper changes a database behind omnid's back.
func Tamper(t *testing.T, c Config, name, statement string) {
	t.Helper()
	db, err := openDatabase(t.Context(), c, database.Name(name), postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	err = db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		_, err := tx.Exec(ctx, statement)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
