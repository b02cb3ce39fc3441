package failover_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/migrations"
	"github.com/omnicloud/omnicloud/pkg/failover"
	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/database/migrate"
	"github.com/omnicloud/omnicloud/pkg/platform/database/postgres"
	"github.com/omnicloud/omnicloud/pkg/platform/database/sqlite"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
)

// BenchmarkRun moves a tenant of 1000 resources in three levels, 5005 steps, by the sim driver without latency. SQLite syncs each
// commit. OMNI_BENCH_POSTGRES names a PostgreSQL database that does too; the tests' own server does not.
func BenchmarkRun(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) {
		db, err := sqlite.Open(b.Context(), database.Infra, filepath.Join(b.TempDir(), "infra.db"), time.Now, sqlite.Options{})
		benchmarkRun(b, migrated(b, db, err))
	})
	b.Run("postgres", func(b *testing.B) {
		url := os.Getenv("OMNI_BENCH_POSTGRES")
		if url == "" {
			benchmarkRun(b, databasetest.Postgres(b, database.Infra))
			return
		}
		db, err := postgres.Open(b.Context(), database.Infra, url, time.Now, postgres.Options{})
		benchmarkRun(b, migrated(b, db, err))
	})
}

func migrated(b *testing.B, db *database.DB, err error) *database.DB {
	b.Helper()
	must(b, err)
	b.Cleanup(func() { _ = db.Close() })
	_, err = migrate.Up(b.Context(), db, migrations.FS(database.Infra))
	must(b, err)
	return db
}

func benchmarkRun(b *testing.B, db *database.DB) {
	b.Helper()
	w := newWorld(b, db, func(o *failover.Options) {
		o.Workflow = workflow.Options{}
		o.Tick = 0
	})
	w.write(func(ctx context.Context, tx *database.Tx) error {
		for _, r := range thousand() {
			spec := infra.ResourceSpec{Type: r.Type, DependsOn: r.DependsOn, Placements: []infra.PlacementSpec{
				placement("east", infra.Active, nil), placement("west", infra.Standby, nil),
			}}
			if _, err := w.store.ApplyResource(ctx, tx, omni.Metadata{Name: r.Name, Tenant: "acme"}, spec); err != nil {
				return err
			}
		}
		return nil
	})
	w.lead()
	from, to := "east", "west"
	for b.Loop() {
		begin := time.Now()
		run, err := w.trigger(func(r *failover.TriggerRequest) { r.From, r.To = from, to })
		must(b, err)
		b.ReportMetric(time.Since(begin).Seconds(), "s/trigger")
		done, err := w.s.Wait(w.ctx, run.ID, nil)
		must(b, err)
		if done.Status != failover.Succeeded {
			b.Fatal(done.Status, done.Error)
		}
		b.ReportMetric(float64(*done.DurationMS)/1000, "s/run")
		from, to = to, from
	}
}
