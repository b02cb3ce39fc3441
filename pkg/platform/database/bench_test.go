package database_test

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
)

// BenchmarkWrite measures small transactions: one row read, one written. Run it with OMNI_TEST_DURABLE=1 for commits that
// reach the disk.
func BenchmarkWrite(b *testing.B) {
	for kind, open := range map[string]func(testing.TB, database.Name) *database.DB{"sqlite": databasetest.Open, "postgres": databasetest.Postgres} {
		for _, writers := range []int{1, 8} {
			b.Run(kind+"/writers="+strconv.Itoa(writers), func(b *testing.B) {
				db := open(b, database.Infra)
				var next atomic.Int64
				b.ResetTimer()
				var wg sync.WaitGroup
				for range writers {
					wg.Go(func() {
						for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
							if err := db.Write(b.Context(), database.Platform(), small(i)); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
			})
		}
	}
}

func small(i int64) work {
	return func(ctx context.Context, tx *database.Tx) error {
		var is string
		err := tx.QueryRow(ctx, `select consumer from inbox where consumer = $1 and event_id = $2`, []any{"bench", strconv.FormatInt(i-1, 10)}, &is)
		if err != nil && !omni.Is(err, omni.CodeNotFound) {
			return err
		}
		_, err = tx.Exec(ctx, `insert into inbox (consumer, event_id, at) values ($1, $2, $3)`, "bench", strconv.FormatInt(i, 10), database.Time(tx.Now()))
		return err
	}
}

func BenchmarkRead(b *testing.B) {
	for kind, open := range map[string]func(testing.TB, database.Name) *database.DB{"sqlite": databasetest.Open, "postgres": databasetest.Postgres} {
		b.Run(kind, func(b *testing.B) {
			db := open(b, database.Infra)
			for b.Loop() {
				err := db.Read(b.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
					var n int64
					return tx.QueryRow(ctx, `select count(*) from inbox where consumer = $1`, []any{"none"}, &n)
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
