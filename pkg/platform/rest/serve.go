package rest

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Bounds of a connection. Bodies and streams have their own; ReadTimeout and WriteTimeout are what is left when those fail.
const (
	readHeaderTimeout = 5 * time.Second
	connReadTimeout   = 90 * time.Second
	connWriteTimeout  = 90 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 32 << 10
	defaultDrain      = 10 * time.Second
)

// ServeOptions say how a server runs and stops.
type ServeOptions struct {
	Drain   time.Duration // how long requests may go on after ctx has ended; 0 means 10 s
	Settle  time.Duration // between Unready and the end of the listener, for balancers to notice; 0 is none
	Unready func()        // called first when ctx ends
	TLS     *tls.Config   // nil serves in the clear
	Logger  *slog.Logger
}

type drainKey struct{}

// draining gives what is closed when the server of a request begins to drain; nil, which never is, without one.
func draining(ctx context.Context) <-chan struct{} {
	ch, _ := ctx.Value(drainKey{}).(chan struct{})
	return ch
}

// Serve serves until ctx ends: then it says unready, takes no new connections, ends the streams, lets requests finish within
// Drain, and cuts what is left. It returns nil when all ended in time, context.DeadlineExceeded when some were cut, and the
// listener's error when that failed by itself. It closes the listener.
func Serve(ctx context.Context, l net.Listener, handler http.Handler, opts ServeOptions) error {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	drain := make(chan struct{})
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       connReadTimeout,
		WriteTimeout:      connWriteTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		TLSConfig:         opts.TLS,
		ErrorLog:          slog.NewLogLogger(opts.Logger.Handler(), slog.LevelDebug), // broken handshakes and the like
		BaseContext: func(net.Listener) context.Context { // requests outlive ctx: they are drained
			return context.WithValue(context.WithoutCancel(ctx), drainKey{}, drain)
		},
	}
	failed := make(chan error, 1)
	go func() {
		if opts.TLS != nil {
			failed <- server.ServeTLS(l, "", "")
			return
		}
		failed <- server.Serve(l)
	}()
	select {
	case err := <-failed:
		close(drain)
		return errors.Join(err, server.Close())
	case <-ctx.Done():
	}
	if opts.Unready != nil {
		opts.Unready()
	}
	settle(opts.Settle)
	close(drain)
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), orDefault(opts.Drain, defaultDrain))
	defer cancel()
	err := server.Shutdown(bounded)
	if err != nil {
		err = errors.Join(err, server.Close())
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

func settle(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}
