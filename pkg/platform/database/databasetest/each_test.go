package databasetest_test

import (
	"context"
	"testing"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

func TestEach(t *testing.T) {
	for _, name := range database.Names() {
		t.Run(string(name), func(t *testing.T) {
			databasetest.Each(t, name, func(t *testing.T, db *database.DB) {
				if db.Name() != name {
					t.Errorf("the database is %s", db.Name())
				}
				err := db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
					var n int64
					if err := tx.QueryRow(ctx, `select count(*) from outbox`, nil, &n); err != nil {
						return err
					}
					if n != 0 {
						t.Errorf("a new database has %d events", n)
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}
