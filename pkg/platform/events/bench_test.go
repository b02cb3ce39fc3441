package events_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// BenchmarkRelay measures how many events reach two consumers, one of them the feed. Run it with OMNI_TEST_DURABLE=1 for commits that
// reach the disk.
func BenchmarkRelay(b *testing.B) {
	for kind, open := range map[string]func(testing.TB, database.Name) *database.DB{"sqlite": databasetest.Open, "postgres": databasetest.Postgres} {
		b.Run(kind, func(b *testing.B) {
			db := open(b, database.Infra)
			other := open(b, database.Audit)
			relay := events.NewRelay(db, []events.Consumer{
				events.NewFeed(db, events.FeedOptions{}).Consumer(),
				{Name: "audit", Database: other, Handle: func(context.Context, *database.Tx, events.Event) error { return nil }},
			}, events.RelayOptions{})
			for i := 0; i < b.N; i += 100 {
				var evs []events.Event
				for j := i; j < min(i+100, b.N); j++ {
					evs = append(evs, events.New("omni.a", fmt.Sprintf("s%d", j%50), "", map[string]int{"n": j}))
				}
				appendTo(b, db, evs...)
			}
			b.ResetTimer()
			drain(b, relay)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkAppend measures transactions that append one event.
func BenchmarkAppend(b *testing.B) {
	for kind, open := range map[string]func(testing.TB, database.Name) *database.DB{"sqlite": databasetest.Open, "postgres": databasetest.Postgres} {
		b.Run(kind, func(b *testing.B) {
			db := open(b, database.Infra)
			e := events.New("omni.a", "s", "", map[string]int{"n": 1})
			for b.Loop() {
				appendTo(b, db, e)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
		})
	}
}
