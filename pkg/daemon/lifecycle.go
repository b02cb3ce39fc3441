package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// stopTimeout bounds each stop, so that one part that hangs does not keep the others from ending well. What drains has that time besides.
const stopTimeout = 10 * time.Second

// lifecycle holds the stops of what was started, and the loops that run until then.
type lifecycle struct {
	log    *slog.Logger
	bound  time.Duration // of each stop
	stops  []stop
	loops  sync.WaitGroup
	failed chan error // the first loop that ended with an error
}

type stop struct {
	name string
	fn   func(context.Context) error
}

func newLifecycle(log *slog.Logger, drain time.Duration) *lifecycle {
	return &lifecycle{log: log, bound: stopTimeout + max(0, drain), failed: make(chan error, 1)}
}

// onStop registers how to stop what was just started. Stops run in reverse order.
func (l *lifecycle) onStop(name string, fn func(context.Context) error) {
	l.stops = append(l.stops, stop{name, fn})
}

// closing registers a Close.
func (l *lifecycle) closing(name string, fn func() error) {
	l.onStop(name, func(context.Context) error { return fn() })
}

// loop runs fn in the background until stop; an error before that ends the process.
func (l *lifecycle) loop(name string, fn func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	l.loops.Go(func() {
		defer close(done)
		if err := fn(ctx); err != nil && ctx.Err() == nil {
			select {
			case l.failed <- fmt.Errorf("%s: %w", name, err):
			default: // one is enough to end
			}
		}
	})
	l.onStop(name, func(ctx context.Context) error {
		cancel()
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return errors.New("did not end in time")
		}
	})
}

// stop stops everything, last started first. It may be called twice.
func (l *lifecycle) stop() error {
	var errs []error
	for _, s := range slices.Backward(l.stops) {
		ctx, cancel := context.WithTimeout(context.Background(), l.bound)
		done := make(chan error, 1)
		go func() { done <- s.fn(ctx) }()
		select {
		case err := <-done:
			if err != nil {
				errs = append(errs, fmt.Errorf("stop %s: %w", s.name, err))
			}
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("stop %s: it took longer than %s", s.name, l.bound))
		}
		cancel()
		l.log.Debug("stopped", slog.String("part", s.name))
	}
	l.stops = nil
	return errors.Join(errs...)
}
