package shop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// forwarder is an app server or a load balancer: when active it sends orders on to what stands behind it, in turn; when
// not, it refuses them.
type forwarder struct {
	member *member
	caller *caller
	client *http.Client
	behind string // the control port of what it needs
	role   atomic.Value
	mu     sync.Mutex
	turn   int
	pool   []*backend
}

// backend is one process that takes requests. One that has just failed is passed over for a moment when there is another.
type backend struct {
	address string
	until   time.Time
}

const restAfterFailure = 500 * time.Millisecond

func newForwarder(m *member, addresses []string, behind string) *forwarder {
	f := &forwarder{member: m, behind: behind, caller: newCaller(m.config.Secret), client: &http.Client{Transport: newTransport(false)}}
	for _, a := range addresses {
		f.pool = append(f.pool, &backend{address: a})
	}
	f.role.Store(Standby)
	return f
}

func (f *forwarder) prepare(context.Context, request, *state) error { return nil }

func (f *forwarder) settle(_ context.Context, s state) error {
	f.role.Store(s.Role)
	return nil
}

// describe says that an active one is healthy when what it needs is active and healthy.
func (f *forwarder) describe(ctx context.Context, s *Status) {
	if s.Role != Active {
		return
	}
	s.Accepts = true
	behind, err := f.caller.state(ctx, 300*time.Millisecond, f.behind)
	switch {
	case err != nil:
		s.Healthy, s.Message = false, "what it needs does not answer: "+err.Error()
	case behind.Role != Active || !behind.Healthy:
		s.Healthy, s.Message = false, fmt.Sprintf("what it needs, %s, is %s and healthy: %t", behind.Name, behind.Role, behind.Healthy)
	}
}

func (f *forwarder) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { health(w, f.member) })
	mux.HandleFunc("POST /orders", f.forward)
	mux.HandleFunc("GET /orders/{id}", f.forward)
	return mux
}

// health says that the process lives, whatever its role: it is what a zone's probe asks.
func health(w http.ResponseWriter, m *member) {
	answer(w, http.StatusOK, map[string]string{"region": m.region.Name, "name": m.name, "role": string(m.now().Role)})
}

func (f *forwarder) forward(w http.ResponseWriter, r *http.Request) {
	if role := f.role.Load(); role != Active {
		refuse(w, http.StatusServiceUnavailable, fmt.Sprint(role), fmt.Errorf("%s of %s is %s", f.member.name, f.member.region.Name, role))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxOrder))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, codeInvalid, fmt.Errorf("the body may have at most %d bytes", maxOrder))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), orderWait+time.Second)
	defer cancel()
	b := f.next(time.Now())
	status, data, err := f.send(ctx, b.address, r, body)
	if err != nil {
		f.rest(b)
		refuse(w, http.StatusBadGateway, "behind", fmt.Errorf("%s does not answer: %w", b.address, err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(data) //nolint:gosec // JSON of our own database, declared as such
}

// send passes a request on. It is not tried elsewhere when it fails: whether it had its effect is not known, and the client
// knows the order's id and may safely ask again.
func (f *forwarder) send(ctx context.Context, address string, r *http.Request, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, "http://"+address+r.URL.EscapedPath(), bytes.NewReader(body)) //nolint:gosec // the address is of the shop's own configuration
	if err != nil {
		return 0, nil, err
	}
	resp, err := f.client.Do(req) //nolint:gosec // the address is of the shop's own configuration
	if err != nil {
		return 0, nil, errors.Unwrap(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, data, err
}

// next takes the backends in turn, those that have just failed last.
func (f *forwarder) next(now time.Time) *backend {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range f.pool {
		f.turn = (f.turn + 1) % len(f.pool)
		if b := f.pool[f.turn]; b.until.Before(now) {
			return b
		}
	}
	f.turn = (f.turn + 1) % len(f.pool)
	return f.pool[f.turn]
}

func (f *forwarder) rest(b *backend) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b.until = time.Now().Add(restAfterFailure)
}
