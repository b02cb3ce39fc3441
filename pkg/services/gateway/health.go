package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

const (
	defaultCheck = 2 * time.Second
	healthFresh  = time.Second // how long the answers of checks are used again
)

// Check is one dependency without which the server is not ready. Func must stop when its context ends; one that does not is
// reported as hanging, and is not called again before it has returned.
type Check struct {
	Name    string
	Func    func(ctx context.Context) error
	Timeout time.Duration // 0 means 2 s
}

// CheckResult is how one check ended.
type CheckResult struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Error  string `json:"error,omitempty"`
	TookMS int64  `json:"took_ms"`
}

// Readiness is the body of /readyz; the checks are there with ?verbose.
type Readiness struct {
	Status string        `json:"status"` // ready, starting, draining or not_ready
	Checks []CheckResult `json:"checks,omitempty"`
}

// health runs the checks, at most once in healthFresh however many ask.
type health struct {
	checks []Check
	busy   []atomic.Bool
	log    *slog.Logger
	now    func() time.Time

	mu      sync.Mutex
	at      time.Time
	results []CheckResult
}

func newHealth(checks []Check, log *slog.Logger, now func() time.Time) *health {
	return &health{checks: checks, busy: make([]atomic.Bool, len(checks)), log: log, now: now}
}

// check gives the results in the order of the checks, and whether all are good.
func (h *health) check(ctx context.Context) ([]CheckResult, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := h.now(); h.results == nil || now.Sub(h.at) >= healthFresh || now.Before(h.at) {
		results := make([]CheckResult, len(h.checks))
		var all sync.WaitGroup
		for i := range h.checks {
			all.Go(func() { results[i] = h.one(context.WithoutCancel(ctx), i) }) // the answer serves others too
		}
		all.Wait()
		h.results, h.at = results, h.now()
	}
	ok := true
	for _, r := range h.results {
		ok = ok && r.OK
	}
	return h.results, ok
}

// one runs a check, and waits no longer than its timeout even if the check does.
func (h *health) one(ctx context.Context, i int) CheckResult {
	c := h.checks[i]
	started := h.now()
	err := errHanging
	if h.busy[i].CompareAndSwap(false, true) {
		timeout := c.Timeout
		if timeout <= 0 {
			timeout = defaultCheck
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		done := make(chan error, 1)
		go func() {
			defer h.busy[i].Store(false)
			done <- contained(ctx, c.Func)
		}()
		select {
		case err = <-done:
		case <-ctx.Done():
		}
	}
	result := CheckResult{Name: c.Name, OK: err == nil, TookMS: h.now().Sub(started).Milliseconds()}
	if err != nil {
		result.Error = public(err)
		h.log.WarnContext(ctx, "a check failed", slog.String("check", c.Name), slog.Any("error", err))
	}
	return result
}

func contained(ctx context.Context, check func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the check panicked: %v", p)
		}
	}()
	return check(ctx)
}

var errHanging = errors.New("does not answer in time")

// public is what anybody may read of an error: nothing that names the inside.
func public(err error) string {
	var e *omni.Error
	switch {
	case errors.Is(err, errHanging), errors.Is(err, context.DeadlineExceeded):
		return errHanging.Error()
	case errors.As(err, &e) && e.Code != omni.CodeInternal && e.Unwrap() == nil:
		return e.Message
	}
	return "does not answer; the log says why"
}

// live answers /livez: the process can answer at all.
func (g *Gateway) live(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) {
		return
	}
	writeJSON(w, r, http.StatusOK, map[string]string{"status": "alive"})
}

// readiness answers /readyz.
func (g *Gateway) readiness(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) {
		return
	}
	results, ok := g.health.check(r.Context())
	body := Readiness{Status: "ready"}
	switch state := g.state.Load(); {
	case state == starting:
		body.Status, ok = "starting", false
	case state == draining:
		body.Status, ok = "draining", false
	case !ok:
		body.Status = "not_ready"
	}
	if r.URL.Query().Has("verbose") {
		body.Checks = results
	}
	status := http.StatusOK
	if !ok {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, r, status, body)
}

func readOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	w.WriteHeader(http.StatusMethodNotAllowed)
	return false
}

func writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_ = json.NewEncoder(w).Encode(v) // the client may be gone
	}
}
