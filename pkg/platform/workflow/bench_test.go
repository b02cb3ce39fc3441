package workflow_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/migrations"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/database/migrate"
	"github.com/omnicloud/omnicloud/pkg/platform/database/postgres"
	"github.com/omnicloud/omnicloud/pkg/platform/database/sqlite"
	"github.com/omnicloud/omnicloud/pkg/platform/election/epoch"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
)

// BenchmarkRun drives one run of 1000 resources with four steps each, in three levels, with actions that take no time. SQLite
// syncs each commit. OMNI_BENCH_POSTGRES names a PostgreSQL database that does too; the tests' own server does not.
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
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	if _, err := migrate.Up(b.Context(), db, migrations.FS(database.Infra)); err != nil {
		b.Fatal(err)
	}
	return db
}

func benchmarkRun(b *testing.B, db *database.DB) {
	b.Helper()
	actions := map[string]workflow.Action{}
	for _, name := range []string{"fence", "promote", "verify", "route"} {
		actions[name] = workflow.Action{Do: func(context.Context, workflow.Call) (workflow.Outcome, error) {
			return workflow.Outcome{Message: "done"}, nil
		}}
	}
	e := workflow.NewEngine(db, one(actions), workflow.Options{})
	var n int64
	err := db.Write(b.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) (err error) {
		n, err = epoch.Take(ctx, tx, "bench")
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Lead(ctx, n) }()
	for i := 0; b.Loop(); i++ {
		s := job(fmt.Sprintf("run%d_%d", n, i))
		for r := range 1000 {
			for seq, action := range []string{"fence", "promote", "verify", "route"} {
				st := step(fmt.Sprintf("%d.r%04d.%s", r*3/1000, r, action), fmt.Sprintf("r%04d", r), r*3/1000, seq, action)
				st.Input = json.RawMessage(`{"resource":"orders-db","from":"us-east-1","to":"eu-west-1"}`)
				s.Steps = append(s.Steps, st)
			}
		}
		err := db.Write(b.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error { return workflow.Create(ctx, tx, s) })
		if err != nil {
			b.Fatal(err)
		}
		r, err := e.Wait(b.Context(), database.Platform(), s.ID, nil)
		if err != nil || r.Status != workflow.Succeeded {
			b.Fatalf("%s: %v", r.Status, err)
		}
		b.ReportMetric(r.FinishedAt.Sub(r.StartedAt).Seconds(), "s/run")
	}
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}
