package election

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// lease is what this replica knows of its lease: it lives at least until the time to live after the last renewal that was answered
// has passed, counted from when the renewal was sent.
type lease struct {
	client *clientv3.Client
	id     clientv3.LeaseID
	ttl    time.Duration
	now    func() time.Time

	mu       sync.Mutex
	deadline time.Time // when to stop: a margin before the lease can end
	gone     bool
}

// margin is how long before its lease can end a leader stops: time for what is under way to notice.
func (l *lease) margin() time.Duration { return l.ttl / 4 }

// step is the time between two renewals, and the longest that one may take.
func (l *lease) step() time.Duration { return l.ttl / 6 }

func (e *Elector) grant(ctx context.Context) (*lease, error) {
	ctx, cancel := context.WithTimeout(ctx, e.opts.TTL)
	defer cancel()
	sent := e.opts.Now()
	got, err := e.client.Grant(ctx, int64((e.opts.TTL+time.Second-1)/time.Second))
	if err != nil {
		return nil, omni.Errorf(omni.CodeUnavailable, "etcd grants no lease: %w", err)
	}
	l := &lease{client: e.client, id: got.ID, ttl: time.Duration(got.TTL) * time.Second, now: e.opts.Now}
	l.deadline = sent.Add(l.ttl - l.margin())
	return l, nil
}

// renew renews once. Whoever was frozen past the deadline has lost, even if etcd would still renew: somebody may have
// acted on its absence.
func (l *lease) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.step())
	defer cancel()
	sent := l.now()
	got, err := l.client.KeepAliveOnce(ctx, l.id)
	if err != nil {
		return fmt.Errorf("renewing the lease: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return errLost()
	}
	l.deadline = sent.Add(time.Duration(got.TTL)*time.Second - l.margin())
	return nil
}

func errLost() error {
	return omni.Errorf(omni.CodeStale, "the lease could not be renewed in time: leadership has ended")
}

// left is the time until the deadline; once it has passed the lease is lost for good.
func (l *lease) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.deadline.Sub(l.now())
	if d <= 0 {
		l.gone = true
	}
	if l.gone {
		return 0
	}
	return d
}

func (l *lease) lost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gone
}

// lose marks the lease as lost.
func (l *lease) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
}

// hold renews until ctx ends, and ends it when the deadline passes or etcd says that the lease has ended.
func (l *lease) hold(ctx context.Context, ended <-chan struct{}, cancel context.CancelCauseFunc) {
	// Renewals wait for etcd; the deadline must not wait for them.
	renewals := make(chan struct{})
	go func() {
		defer close(renewals)
		ticker := time.NewTicker(l.step())
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if l.left() > 0 {
					_ = l.renew(ctx) // the next may go well; the deadline decides
				}
			}
		}
	}()
	defer func() { <-renewals }()
	for {
		left := l.left()
		if left == 0 {
			cancel(errLost())
			return
		}
		timer := time.NewTimer(left)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-ended:
			timer.Stop()
			l.lose()
			cancel(omni.Errorf(omni.CodeStale, "etcd has ended the lease: leadership has ended"))
			return
		case <-timer.C:
		}
	}
}
