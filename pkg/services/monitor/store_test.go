package monitor

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
)

// What cannot be written waits for the next second, and one second writes a bounded number of rows.
func TestABatchThatFailsIsWrittenLater(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		t.Helper()
		st := newStore(db, "r1")
		all := func(*probe) bool { return true }
		for i := range batch + 10 {
			p := newProbe(key{"east", "a", fmt.Sprintf("p%d", i)}, infra.Probe{}, time.Now())
			p.record(answer{at: time.Now(), err: "refused"})
			st.changed(p)
		}
		unwatched := newProbe(key{"east", "a", "old"}, infra.Probe{}, time.Now())
		unwatched.record(answer{at: time.Now(), ok: true})
		st.changed(unwatched)

		broken, cancel := context.WithCancel(t.Context())
		cancel()
		if err := st.flush(broken, all); err == nil {
			t.Fatal("a write with an ended context succeeded")
		}
		for i, want := range []int{batch, batch + 10} {
			if err := st.flush(t.Context(), func(p *probe) bool { return p != unwatched }); err != nil {
				t.Fatal(err)
			}
			var n int
			err := db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
				return tx.QueryRow(ctx, "select count(*) from probe_states where observer = 'r1' and status = 'down'", nil, &n)
			})
			if err != nil || n != want && n != want-1 { // the one that is no longer watched may have taken a place in the first batch
				t.Errorf("after %d batches: %d rows (%v), want %d", i+1, n, err, want)
			}
			if i == 1 && n != want {
				t.Errorf("%d rows at the end, want %d", n, want)
			}
		}
	})
}
