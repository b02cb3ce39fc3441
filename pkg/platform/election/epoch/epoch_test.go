package epoch_test

import (
	"context"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/election/epoch"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

func TestEpoch(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		write := func(fn func(ctx context.Context, tx *database.Tx) error) error {
			return db.Write(t.Context(), database.Platform(), fn)
		}
		take := func(holder string) (n int64) {
			err := write(func(ctx context.Context, tx *database.Tx) (err error) {
				n, err = epoch.Take(ctx, tx, holder)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		fence := func(n int64) error {
			return write(func(ctx context.Context, tx *database.Tx) error { return epoch.Fence(ctx, tx, n) })
		}
		current := func() (l epoch.Leadership) {
			err := db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) (err error) { l, err = epoch.Current(ctx, tx); return err })
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		if l := current(); l != (epoch.Leadership{}) {
			t.Errorf("before anybody led: %+v", l)
		}
		if err := fence(1); !omni.Is(err, omni.CodeStale) {
			t.Errorf("before anybody led the fence says %v", err)
		}
		if n := take("a"); n != 1 {
			t.Errorf("the first epoch is %d", n)
		}
		if err := fence(1); err != nil {
			t.Error(err)
		}
		if n := take("b"); n != 2 {
			t.Errorf("the second epoch is %d", n)
		}
		if l := current(); l.Epoch != 2 || l.Holder != "b" || time.Since(l.TakenAt) > time.Minute {
			t.Errorf("now it is %+v", l)
		}
		for _, n := range []int64{0, 1, 3} {
			if err := fence(n); !omni.Is(err, omni.CodeStale) {
				t.Errorf("the fence lets epoch %d pass: %v", n, err)
			}
		}

		t.Run("a takeover waits for a fenced transaction, and never overtakes it", func(t *testing.T) {
			inside, proceed, taken := make(chan struct{}), make(chan struct{}), make(chan int64)
			ended := make(chan error, 1)
			go func() {
				ended <- write(func(ctx context.Context, tx *database.Tx) error {
					if err := epoch.Fence(ctx, tx, 2); err != nil {
						return err
					}
					close(inside)
					<-proceed
					return nil
				})
			}()
			<-inside
			go func() { taken <- take("c") }()
			select {
			case n := <-taken:
				t.Errorf("epoch %d was taken inside a fenced transaction", n)
			case <-time.After(200 * time.Millisecond): // long enough for an unhindered takeover
			}
			close(proceed)
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if n := <-taken; n != 3 {
				t.Errorf("epoch %d", n)
			}
		})
	})
}
