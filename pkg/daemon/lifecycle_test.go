package daemon

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatDrainsHasItsTime(t *testing.T) {
	for took, good := range map[time.Duration]bool{35 * time.Second: true, time.Hour: false} {
		synctest.Test(t, func(t *testing.T) {
			l := newLifecycle(slog.New(slog.DiscardHandler), 30*time.Second)
			l.loop("gateway", func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(took)
				return nil
			})
			begun := time.Now()
			if err := l.stop(); (err == nil) != good || time.Since(begun) > time.Minute {
				t.Errorf("draining for %s, stop took %s: %v", took, time.Since(begun), err)
			}
			l.loops.Wait()
		})
	}
}
