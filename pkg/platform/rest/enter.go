package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Handler serves the routes that were added.
func (a *API) Handler() http.Handler {
	return Correlate(a.opts.Now, http.HandlerFunc(a.outermost))
}

// outermost counts, logs, and catches panics: whatever happens below, a request is answered.
func (a *API) outermost(w http.ResponseWriter, r *http.Request) {
	started := a.opts.Now()
	sw := &statusWriter{ResponseWriter: w}
	end := func(string, string, int, time.Duration) {}
	if a.opts.Metrics != nil {
		end = a.opts.Metrics.Begin()
	}
	defer func() {
		p := recover()
		if p != nil {
			a.panicked(sw, r, p)
		}
		took := a.opts.Now().Sub(started)
		route := routeOf(r)
		end(r.Method, route, sw.code(), took)
		a.logRequest(r, route, sw.code(), took)
		if p == http.ErrAbortHandler { //nolint:errorlint // a sentinel that net/http compares so
			panic(p) // net/http cuts the connection without a word, as the handler asked for
		}
	}()
	a.mux.ServeHTTP(sw, r)
}

// routeOf gives the pattern without its method: bounded, unlike the path.
func routeOf(r *http.Request) string {
	_, route, ok := strings.Cut(r.Pattern, " ")
	if !ok || route == "" {
		return "unmatched"
	}
	return route
}

func (a *API) panicked(w *statusWriter, r *http.Request, p any) {
	if p == http.ErrAbortHandler { //nolint:errorlint // see above
		return
	}
	a.opts.Logger.ErrorContext(r.Context(), "a handler panicked",
		slog.String("route", routeOf(r)), slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
	if w.status == 0 {
		WriteProblem(w, r, omni.Errorf(omni.CodeInternal, "a handler panicked"))
	}
}

func (a *API) logRequest(r *http.Request, route string, status int, took time.Duration) {
	level := slog.LevelDebug
	if status >= http.StatusBadRequest || r.Method != http.MethodGet && r.Method != http.MethodHead {
		level = slog.LevelInfo
	}
	a.opts.Logger.LogAttrs(r.Context(), level, "request",
		slog.String("method", shorten(r.Method, 20)), slog.String("route", route), slog.Int("status", status),
		slog.Duration("took", took), slog.String("client", r.RemoteAddr))
}

// enter puts a route's checks before its handler.
func (a *API) enter(rt *registered, inner http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if !rt.stream {
			var cancel context.CancelFunc
			timeout := orDefault(rt.Timeout, a.opts.Timeout)
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
			if timeout > DefaultTimeout { // the server would cut the connection before
				_ = http.NewResponseController(w).SetWriteDeadline(a.opts.Now().Add(timeout + writeTimeout)) // not every writer has one
			}
		}
		req := omni.RequestFrom(ctx)
		if a.opts.Tracer != nil {
			var end func(error)
			ctx, req.TraceParent, end = a.opts.Tracer.Start(ctx, rt.Method+" "+rt.Path, req.TraceParent)
			defer func() { end(failure(w)) }()
		}
		identity, err := a.authorize(ctx, rt, r)
		req.Identity = identity
		r = r.WithContext(omni.WithRequest(ctx, req))
		if err != nil {
			WriteProblem(w, r, a.problem(r.Context(), err))
			return
		}
		body, err := a.readBody(rt, w, r)
		if err != nil {
			WriteProblem(w, r, a.problem(r.Context(), err))
			return
		}
		key := r.Header.Get(idempotencyHeader)
		if key == "" || a.idem == nil || r.Method != http.MethodPost || rt.Permission == Public || rt.stream {
			inner(w, r)
			return
		}
		if err := a.idem.serve(w, r, inner, call{key: key, body: body, secret: rt.Secret, lease: 2 * orDefault(rt.Timeout, a.opts.Timeout)}); err != nil {
			WriteProblem(w, r, a.problem(r.Context(), err))
		}
	}
}

// failure says what a span is told about the answer.
func failure(w http.ResponseWriter) error {
	if sw, ok := w.(*statusWriter); ok && sw.status >= http.StatusInternalServerError {
		return errors.New(http.StatusText(sw.status))
	}
	return nil
}

// authorize finds who asks, and whether they may.
func (a *API) authorize(ctx context.Context, rt *registered, r *http.Request) (omni.Identity, error) {
	if rt.Permission == Public {
		return omni.Identity{}, nil
	}
	identity, err := a.authenticate(ctx, r)
	if err != nil {
		return omni.Identity{}, err
	}
	if Allowed(identity, rt.Permission) {
		return identity, nil
	}
	return identity, omni.Errorf(omni.CodeForbidden, "the key %s may not do this: it lacks the permission %s", identity.KeyID, rt.Permission).
		WithHint("use a key with a role that grants %s", rt.Permission)
}

func (a *API) authenticate(ctx context.Context, r *http.Request) (omni.Identity, error) {
	token, err := bearer(r)
	if err != nil {
		return omni.Identity{}, err
	}
	if a.opts.Authenticator == nil {
		return omni.Identity{}, omni.Errorf(omni.CodeUnavailable, "no key can be checked")
	}
	return a.opts.Authenticator.Authenticate(ctx, token)
}

// maxToken bounds a key in bytes; those of auth are shorter.
const maxToken = 512

// bearer reads the key of a request (RFC 6750, 2.1; never from the query, which ends up in logs).
func bearer(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "", omni.Errorf(omni.CodeUnauthorized, "the request carries no API key").
			WithHint("send the header Authorization: Bearer KEY; omnictl reads the key from --token-file")
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	token = strings.Trim(token, " ")
	if len(values) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken || strings.ContainsAny(token, " \t") {
		return "", omni.Errorf(omni.CodeUnauthorized, "the Authorization header is not one bearer key").
			WithHint("send it once, as Authorization: Bearer KEY")
	}
	return token, nil
}
