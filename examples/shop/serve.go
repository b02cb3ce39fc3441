package shop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"syscall"
	"time"
)

// Bounds of the servers.
const (
	maxHeader   = 16 << 10
	maxRequests = 256 // at once, on a serving port; more are answered 503
	orderWait   = 5 * time.Second
)

// runMember runs the process name of a region until it is told to end, or until its owner has gone.
func runMember(dir, region, name string, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	config, err := Load(dir)
	if err != nil {
		return err
	}
	r, err := config.region(region)
	if err != nil {
		return err
	}
	m := &member{config: config, region: r, name: name, home: config.home(region, name)}
	m.log = slog.New(slog.NewJSONHandler(stderr, nil)).With("region", region, "name", name)
	// An agent that fences a dead process holds the lock for a moment.
	lock, err := m.home.lock(ctx, 500*time.Millisecond)
	if err != nil {
		if p, alive, _ := m.home.running(); alive {
			return fmt.Errorf("%s of %s runs already, as process %d: %w", name, region, p.PID, err)
		}
		return err
	}
	defer func() { _ = lock.Close() }()
	if m.state, err = m.home.readState(r.Role); err != nil {
		return err
	}
	if err := m.home.announce(); err != nil {
		return err
	}
	go endWithOwner(ctx, config.Owner, stop)
	return m.run(ctx)
}

// endWithOwner stops the process once its owner has ended.
func endWithOwner(ctx context.Context, owner *Process, stop func()) {
	if owner == nil {
		return
	}
	for pause(ctx, time.Second) == nil {
		if !owner.Alive() {
			stop()
			return
		}
	}
}

// run serves until ctx ends.
func (m *member) run(ctx context.Context) error {
	var serving http.Handler
	control := m.control()
	end := func() error { return nil }
	switch m.name {
	case DB:
		db, err := newDatabase(ctx, m)
		if err != nil {
			return err
		}
		m.service, serving, end = db, db.handler(), db.close
		control = db.withReplication(control)
	case App:
		f := newForwarder(m, []string{m.region.serve(DB)}, m.region.control(DB))
		m.service, serving = f, f.handler()
	default:
		f := newForwarder(m, []string{m.region.serve(App)}, m.region.control(App))
		m.service, serving = f, f.handler()
	}
	if err := m.service.settle(ctx, m.now()); err != nil {
		return errors.Join(err, end())
	}
	m.log.InfoContext(ctx, "started", "role", m.now().Role, "epoch", m.now().Epoch)
	err := serveBoth(ctx, m.region.serve(m.name), bounded(serving), m.region.control(m.name), guarded(m.config.Secret, control), m.failed())
	return errors.Join(err, end())
}

// failed gives a channel that tells when the service cannot go on; nil for one that always can.
func (m *member) failed() <-chan error {
	if db, ok := m.service.(*database); ok {
		return db.broken
	}
	return nil
}

// serveBoth serves on two addresses until ctx ends or something fails, then lets requests end, for a second at most.
func serveBoth(ctx context.Context, serve string, serving http.Handler, control string, controlling http.Handler, failed <-chan error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var servers []*http.Server
	ended := make(chan error, 2)
	for address, handler := range map[string]http.Handler{serve: serving, control: controlling} {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			closeAll(servers)
			return fmt.Errorf("listening on %s: %w", address, err)
		}
		s := &http.Server{
			Handler: handler, ReadHeaderTimeout: 2 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 2 * orderWait,
			IdleTimeout: time.Minute, MaxHeaderBytes: maxHeader, BaseContext: func(net.Listener) context.Context { return ctx },
		}
		servers = append(servers, s)
		go func() { ended <- s.Serve(l) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
	case err = <-failed:
	}
	cancel()
	closeAll(servers)
	return err
}

// closeAll lets requests end, for a second at most.
func closeAll(servers []*http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, s := range servers {
		if s.Shutdown(ctx) != nil {
			_ = s.Close()
		}
	}
}

// bounded lets in so many requests at once.
func bounded(next http.Handler) http.Handler {
	places := make(chan struct{}, maxRequests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			next.ServeHTTP(w, r)
		default:
			refuse(w, http.StatusServiceUnavailable, "busy", errors.New("too many requests at once: try again"))
		}
	})
}
