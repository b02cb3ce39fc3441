package gateway

import (
	"crypto/sha256"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

// Options are what a gateway is made of. All but Now may be left out.
type Options struct {
	Trusted    []netip.Prefix // proxies whose X-Forwarded-For and Forwarded count
	PerAddress Limit          // of one client address; an IPv6 client is its /64
	PerKey     Limit          // of one API key
	Buckets    int            // how many addresses and how many keys are remembered; 0 means 65536 of each
	Origins    []string       // of CORS: scheme://host[:port], or * for any; none turns it off
	Checks     []Check        // what must answer for /readyz to say ready
	Services   Lister         // tells of the services that run here
	Logger     *slog.Logger
	Now        func() time.Time
}

// Gateway is the front of one server.
type Gateway struct {
	opts      Options
	addresses *limiter[netip.Addr]
	keys      *limiter[[sha256.Size]byte]
	health    *health
	state     atomic.Int32
}

// The states that the server itself is in.
const (
	starting int32 = iota
	ready
	draining
)

const defaultBuckets = 65536

// New makes a gateway that is still starting: /readyz says no until Ready is called.
func New(opts Options) *Gateway {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now //nolint:forbidigo // the default of the injected clock
	}
	if opts.Buckets <= 0 {
		opts.Buckets = defaultBuckets
	}
	return &Gateway{
		opts:      opts,
		addresses: newLimiter[netip.Addr](opts.PerAddress, opts.Buckets),
		keys:      newLimiter[[sha256.Size]byte](opts.PerKey, opts.Buckets),
		health:    newHealth(opts.Checks, opts.Logger, opts.Now),
	}
}

// Ready says that the server has started: from now on the checks decide.
func (g *Gateway) Ready() { g.state.CompareAndSwap(starting, ready) }

// Drain says that the server is about to stop; it is not ready ever after.
func (g *Gateway) Drain() { g.state.Store(draining) }

// Wrap puts the gateway in front of next. Requests reach next with RemoteAddr telling the client's own address (with port 0 when a
// proxy stands between), and with their ids in the context.
func (g *Gateway) Wrap(next http.Handler) http.Handler {
	return rest.Correlate(g.opts.Now, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w, r)
		switch r.URL.Path {
		case "/livez":
			g.live(w, r)
			return
		case "/readyz", "/healthz":
			g.readiness(w, r)
			return
		}
		if !g.cors(w, r) {
			return
		}
		client, forwarded := clientAddress(r, g.opts.Trusted)
		if err := g.limit(w, r, client); err != nil {
			rest.WriteProblem(w, r, err)
			return
		}
		if forwarded {
			r.RemoteAddr = netip.AddrPortFrom(client, 0).String()
		}
		next.ServeHTTP(w, r)
	}))
}

// limit takes a token of the address and one of the key. The key is not checked yet: a made-up one has a bucket of its own, and the
// bucket of the address holds whoever makes many up.
func (g *Gateway) limit(w http.ResponseWriter, r *http.Request, client netip.Addr) error {
	now := g.opts.Now()
	of := "this address"
	wait := g.addresses.take(network(client), now)
	if key := r.Header.Get("Authorization"); wait == 0 && key != "" {
		of = "this API key"
		wait = g.keys.take(sha256.Sum256([]byte(key)), now)
	}
	if wait == 0 {
		return nil
	}
	seconds := int(math.Ceil(wait.Seconds()))
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	return omni.Errorf(omni.CodeLimited, "%s sends more requests than it may", of).
		WithHint("try again in %d s", seconds)
}

// secure sets the headers that every answer has; a handler may set its own Cache-Control.
func secure(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	if r.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// cors answers for the listed origins (Fetch, 3.2), and says whether the request goes on.
func (g *Gateway) cors(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || len(g.opts.Origins) == 0 {
		return true
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	allowed := slices.Contains(g.opts.Origins, origin) || slices.Contains(g.opts.Origins, "*")
	preflight := r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
	if allowed {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", "ETag, Idempotent-Replayed, Retry-After, X-Request-ID")
	}
	if !preflight {
		return true
	}
	if allowed {
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, If-Match, Last-Event-ID, Traceparent, X-Request-ID, X-Correlation-ID")
		h.Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
	return false
}

// Metrics serves what reg has gathered at any path; omnid gives it a listener of its own.
func Metrics(reg prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}
