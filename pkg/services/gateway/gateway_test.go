package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
	"github.com/omnicloud/omnicloud/pkg/services/gateway"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a time that stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func echo() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RemoteAddr)
	})
}

type answer struct {
	status int
	header http.Header
	body   string
}

func ask(t *testing.T, h http.Handler, method, target, peer string, headers ...string) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	r.RemoteAddr = peer
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Code, w.Result().Header, w.Body.String()}
}

func TestRateLimit(t *testing.T) {
	const peer = "192.0.2.1:1234"
	limited := func(c *clock, o gateway.Options) http.Handler {
		o.Now = c.now
		return gateway.New(o).Wrap(echo())
	}
	t.Run("the burst passes, then exactly the rate", func(t *testing.T) {
		c := newClock()
		h := limited(c, gateway.Options{PerAddress: gateway.Limit{PerSecond: 10, Burst: 5}})
		passed := 0
		for range 50 {
			if ask(t, h, "GET", "/", peer).status == 200 {
				passed++
			}
		}
		if passed != 5 {
			t.Errorf("%d of a burst of 5 passed", passed)
		}
		for i := range 100 {
			c.add(99 * time.Millisecond)
			early := ask(t, h, "GET", "/", peer).status
			c.add(time.Millisecond)
			if onTime := ask(t, h, "GET", "/", peer).status; early != 429 || onTime != 200 {
				t.Fatalf("token %d: %d a millisecond early, %d on time", i, early, onTime)
			}
		}
	})
	t.Run("no second has more than burst and rate", func(t *testing.T) {
		c := newClock()
		h := limited(c, gateway.Options{PerAddress: gateway.Limit{PerSecond: 7, Burst: 3}})
		passed := 0
		for range 10_000 { // ten seconds
			c.add(time.Millisecond)
			if ask(t, h, "GET", "/", peer).status == 200 {
				passed++
			}
		}
		if passed > 3+70 || passed < 70 {
			t.Errorf("%d passed in ten seconds", passed)
		}
	})
	t.Run("a long rest fills the bucket, and no more", func(t *testing.T) {
		c := newClock()
		h := limited(c, gateway.Options{PerAddress: gateway.Limit{PerSecond: 10, Burst: 5}})
		ask(t, h, "GET", "/", peer)
		c.add(time.Hour)
		passed := 0
		for range 20 {
			if ask(t, h, "GET", "/", peer).status == 200 {
				passed++
			}
		}
		if passed != 5 {
			t.Errorf("%d passed", passed)
		}
	})
	t.Run("a refusal is a problem that says when", func(t *testing.T) {
		c := newClock()
		h := limited(c, gateway.Options{PerAddress: gateway.Limit{PerSecond: 1, Burst: 1}})
		ask(t, h, "GET", "/", peer)
		a := ask(t, h, "GET", "/", peer)
		var p rest.Problem
		if err := json.Unmarshal([]byte(a.body), &p); err != nil || p.Code != omni.CodeLimited || p.RequestID == "" || p.RequestID != a.header.Get("X-Request-ID") {
			t.Errorf("got %s, %v", a.body, err)
		}
		if a.status != 429 || a.header.Get("Retry-After") != "1" {
			t.Errorf("got %d, Retry-After %q", a.status, a.header.Get("Retry-After"))
		}
	})
	t.Run("addresses do not share, a network of IPv6 does", func(t *testing.T) {
		c := newClock()
		h := limited(c, gateway.Options{PerAddress: gateway.Limit{PerSecond: 1, Burst: 1}})
		for peer, want := range map[string]int{"192.0.2.1:1": 200, "192.0.2.2:1": 200, "[2001:db8::1]:1": 200} {
			if got := ask(t, h, "GET", "/", peer).status; got != want {
				t.Errorf("%s: %d", peer, got)
			}
		}
		for peer, want := range map[string]int{"192.0.2.1:99": 429, "[2001:db8::ffff]:1": 429, "[2001:db8:0:1::1]:1": 200, "[::ffff:192.0.2.2]:7": 429} {
			if got := ask(t, h, "GET", "/", peer).status; got != want {
				t.Errorf("%s: %d, want %d", peer, got, want)
			}
		}
	})
	t.Run("a key has one bucket wherever it comes from", func(t *testing.T) {
		c := newClock()
		h := limited(c, gateway.Options{PerKey: gateway.Limit{PerSecond: 1, Burst: 2}})
		for i, want := range []int{200, 200, 429} {
			if got := ask(t, h, "GET", "/", fmt.Sprintf("192.0.2.%d:1", i), "Authorization", "Bearer one").status; got != want {
				t.Errorf("request %d: %d", i, got)
			}
		}
		if got := ask(t, h, "GET", "/", peer, "Authorization", "Bearer two").status; got != 200 {
			t.Errorf("another key: %d", got)
		}
	})
	t.Run("a made-up header of a client does not evade the limit", func(t *testing.T) {
		c := newClock()
		h := limited(c, gateway.Options{PerAddress: gateway.Limit{PerSecond: 1, Burst: 1}, Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
		passed := 0
		for i := range 10 {
			address := fmt.Sprintf("203.0.113.%d", i)
			passed += 1 - ask(t, h, "GET", "/", peer, "X-Forwarded-For", address, "Forwarded", "for="+address).status/429
		}
		for i := range 10 { // through a proxy that appends to the one header, and passes the other on
			address := fmt.Sprintf("203.0.113.%d", i)
			passed += 1 - ask(t, h, "GET", "/", "10.0.0.1:1", "X-Forwarded-For", address+", 198.51.100.7", "Forwarded", "for="+address).status/429
		}
		if passed != 2 {
			t.Errorf("%d passed, want one from each peer", passed)
		}
	})
	t.Run("memory is bounded, and the last used are kept", func(t *testing.T) {
		c := newClock()
		h := limited(c, gateway.Options{PerAddress: gateway.Limit{PerSecond: 1, Burst: 1}, Buckets: 2})
		for _, step := range []struct {
			peer string
			want int
		}{{"192.0.2.1:1", 200}, {"192.0.2.2:1", 200}, {"192.0.2.1:1", 429}, {"192.0.2.3:1", 200}, {"192.0.2.1:1", 429}, {"192.0.2.2:1", 200}} {
			if got := ask(t, h, "GET", "/", step.peer).status; got != step.want {
				t.Errorf("%s: %d, want %d", step.peer, got, step.want)
			}
		}
	})
	t.Run("health is never limited", func(t *testing.T) {
		h := limited(newClock(), gateway.Options{PerAddress: gateway.Limit{PerSecond: 1, Burst: 1}})
		for range 5 {
			if got := ask(t, h, "GET", "/livez", peer).status; got != 200 {
				t.Errorf("got %d", got)
			}
		}
	})
	t.Run("many at once take no more than there is", func(t *testing.T) {
		c := newClock()
		h := limited(c, gateway.Options{PerAddress: gateway.Limit{PerSecond: 100, Burst: 20}})
		var passed atomic.Int64
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() {
				if ask(t, h, "GET", "/", peer).status == 200 {
					passed.Add(1)
				}
			})
		}
		all.Wait()
		if passed.Load() != 20 {
			t.Errorf("%d passed", passed.Load())
		}
	})
}

func TestClientAddress(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	cases := []struct {
		name, peer string
		headers    []string
		want       string
	}{
		{"no proxy", "192.0.2.1:99", nil, "192.0.2.1:99"},
		{"a peer that is not trusted", "192.0.2.1:99", []string{"X-Forwarded-For", "203.0.113.9"}, "192.0.2.1:99"},
		{"one proxy", "10.0.0.1:99", []string{"X-Forwarded-For", "203.0.113.9"}, "203.0.113.9:0"},
		{"what the client wrote stays out", "10.0.0.1:99", []string{"X-Forwarded-For", "1.1.1.1, 203.0.113.9"}, "203.0.113.9:0"},
		{"two proxies", "10.0.0.1:99", []string{"X-Forwarded-For", "1.1.1.1, 203.0.113.9, 10.0.0.2"}, "203.0.113.9:0"},
		{"several lines", "10.0.0.1:99", []string{"X-Forwarded-For", "1.1.1.1", "X-Forwarded-For", "203.0.113.9"}, "203.0.113.9:0"},
		{"all trusted", "10.0.0.1:99", []string{"X-Forwarded-For", "10.0.0.3, 10.0.0.2"}, "10.0.0.3:0"},
		{"nonsense ends the chain", "10.0.0.1:99", []string{"X-Forwarded-For", "203.0.113.9, what, 10.0.0.2"}, "10.0.0.2:0"},
		{"only nonsense", "10.0.0.1:99", []string{"X-Forwarded-For", "what"}, "10.0.0.1:99"},
		{"with a port", "10.0.0.1:99", []string{"X-Forwarded-For", "203.0.113.9:4711"}, "203.0.113.9:0"},
		{"IPv6", "[fd00::1]:99", []string{"X-Forwarded-For", "2001:db8::9"}, "[2001:db8::9]:0"},
		{"IPv4 within IPv6", "[::ffff:10.0.0.1]:99", []string{"X-Forwarded-For", "::ffff:203.0.113.9"}, "203.0.113.9:0"},
		{"Forwarded", "10.0.0.1:99", []string{"Forwarded", `for=1.1.1.1;proto=http, For="[2001:db8::9]:4711";by=10.0.0.1`}, "[2001:db8::9]:0"},
		{"Forwarded, hidden", "10.0.0.1:99", []string{"Forwarded", `for=203.0.113.9, for=_hidden`}, "10.0.0.1:99"},
		{"Forwarded, broken", "10.0.0.1:99", []string{"Forwarded", `for=203.0.113.9, for="1.1.1.1`}, "10.0.0.1:99"},
		{"Forwarded, for twice", "10.0.0.1:99", []string{"Forwarded", `for=203.0.113.9;for=1.1.1.1`}, "10.0.0.1:99"},
		{"both agree", "10.0.0.1:99", []string{"Forwarded", "for=203.0.113.9", "X-Forwarded-For", "203.0.113.9"}, "203.0.113.9:0"},
		{"both disagree", "10.0.0.1:99", []string{"Forwarded", "for=1.1.1.1", "X-Forwarded-For", "203.0.113.9"}, "10.0.0.1:99"},
		{"a chain without end", "10.0.0.1:99", []string{"X-Forwarded-For", "203.0.113.9" + strings.Repeat(", 10.0.0.2", 5000)}, "10.0.0.2:0"},
	}
	h := gateway.New(gateway.Options{Trusted: trusted}).Wrap(echo())
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := ask(t, h, "GET", "/", c.peer, c.headers...).body; got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	read := func(t *testing.T, a answer) gateway.Readiness {
		t.Helper()
		var body gateway.Readiness
		if err := json.Unmarshal([]byte(a.body), &body); err != nil {
			t.Fatalf("%v in %s", err, a.body)
		}
		return body
	}
	t.Run("starting, ready, draining", func(t *testing.T) {
		g := gateway.New(gateway.Options{})
		h := g.Wrap(echo())
		expect := func(status int, word string) {
			t.Helper()
			for _, path := range []string{"/readyz", "/healthz"} {
				if a := ask(t, h, "GET", path, "192.0.2.1:1"); a.status != status || read(t, a).Status != word {
					t.Errorf("%s: got %d %s, want %d %s", path, a.status, a.body, status, word)
				}
			}
			if a := ask(t, h, "GET", "/livez", "192.0.2.1:1"); a.status != 200 {
				t.Errorf("alive: %d", a.status)
			}
		}
		expect(503, "starting")
		g.Ready()
		expect(200, "ready")
		g.Drain()
		g.Ready() // too late
		expect(503, "draining")
	})
	t.Run("each check is named, and tells nothing of the inside", func(t *testing.T) {
		c := newClock()
		var fails atomic.Bool
		fails.Store(true)
		g := gateway.New(gateway.Options{Now: c.now, Checks: []gateway.Check{
			{Name: "database infra", Func: func(context.Context) error { return nil }},
			{Name: "etcd", Func: func(context.Context) error {
				if fails.Load() {
					return errors.New("dial 10.1.2.3: refused")
				}
				return nil
			}},
			{Name: "relay", Func: func(context.Context) error {
				if fails.Load() {
					return omni.Errorf(omni.CodeUnavailable, "12 events wait")
				}
				return nil
			}},
			{Name: "vault", Func: func(context.Context) error {
				if fails.Load() {
					panic("oh")
				}
				return nil
			}},
		}})
		g.Ready()
		h := g.Wrap(echo())
		a := ask(t, h, "GET", "/readyz?verbose", "192.0.2.1:1")
		got := read(t, a)
		if a.status != 503 || got.Status != "not_ready" || len(got.Checks) != 4 || strings.Contains(a.body, "10.1.2.3") {
			t.Fatalf("got %d %s", a.status, a.body)
		}
		for i, want := range []bool{true, false, false, false} {
			if got.Checks[i].OK != want {
				t.Errorf("%s: %+v", got.Checks[i].Name, got.Checks[i])
			}
		}
		if got.Checks[2].Error != "12 events wait" {
			t.Errorf("relay: %q", got.Checks[2].Error)
		}
		if a := ask(t, h, "GET", "/readyz", "192.0.2.1:1"); read(t, a).Checks != nil {
			t.Errorf("without verbose: %s", a.body)
		}
		fails.Store(false)
		if a := ask(t, h, "GET", "/readyz", "192.0.2.1:1"); a.status != 503 {
			t.Errorf("an answer is good for a second: %d", a.status)
		}
		c.add(time.Second)
		if a := ask(t, h, "GET", "/readyz", "192.0.2.1:1"); a.status != 200 {
			t.Errorf("after a second: %d %s", a.status, a.body)
		}
	})
	t.Run("a check that hangs is cut off, and not called again while it does", func(t *testing.T) {
		c := newClock()
		leave, left := make(chan struct{}), make(chan struct{})
		var calls atomic.Int64
		g := gateway.New(gateway.Options{Now: c.now, Checks: []gateway.Check{{
			Name: "etcd", Timeout: 20 * time.Millisecond,
			Func: func(context.Context) error {
				defer close(left)
				calls.Add(1)
				<-leave
				return nil
			},
		}}})
		g.Ready()
		h := g.Wrap(echo())
		for range 3 {
			if a := ask(t, h, "GET", "/readyz?verbose", "192.0.2.1:1"); a.status != 503 || !strings.Contains(a.body, "does not answer in time") {
				t.Errorf("got %d %s", a.status, a.body)
			}
			c.add(time.Minute)
		}
		if calls.Load() != 1 {
			t.Errorf("called %d times", calls.Load())
		}
		close(leave)
		<-left
	})
	t.Run("only read", func(t *testing.T) {
		h := gateway.New(gateway.Options{}).Wrap(echo())
		if a := ask(t, h, "POST", "/livez", "192.0.2.1:1"); a.status != 405 || a.header.Get("Allow") == "" {
			t.Errorf("got %d", a.status)
		}
	})
}

func TestHeaders(t *testing.T) {
	const peer = "192.0.2.1:1"
	t.Run("every answer is guarded", func(t *testing.T) {
		h := gateway.New(gateway.Options{}).Wrap(echo())
		a := ask(t, h, "GET", "/", peer)
		for _, name := range []string{"X-Content-Type-Options", "X-Frame-Options", "Content-Security-Policy", "Referrer-Policy", "Cache-Control", "X-Request-ID"} {
			if a.header.Get(name) == "" {
				t.Errorf("%s is missing", name)
			}
		}
	})
	t.Run("CORS is off", func(t *testing.T) {
		h := gateway.New(gateway.Options{}).Wrap(echo())
		if a := ask(t, h, "GET", "/", peer, "Origin", "https://a.test"); a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("got %v", a.header)
		}
	})
	t.Run("CORS answers listed origins only", func(t *testing.T) {
		h := gateway.New(gateway.Options{Origins: []string{"https://a.test"}}).Wrap(echo())
		for origin, want := range map[string]string{"https://a.test": "https://a.test", "https://b.test": "", "null": "", "https://a.test.evil.test": ""} {
			a := ask(t, h, "GET", "/", peer, "Origin", origin)
			if got := a.header.Get("Access-Control-Allow-Origin"); got != want || a.header.Get("Vary") != "Origin" {
				t.Errorf("%s: %q, Vary %q", origin, got, a.header.Get("Vary"))
			}
			p := ask(t, h, "OPTIONS", "/", peer, "Origin", origin, "Access-Control-Request-Method", "POST")
			if got := p.header.Get("Access-Control-Allow-Methods") != ""; p.status != 204 || got != (want != "") {
				t.Errorf("preflight from %s: %d %v", origin, p.status, p.header)
			}
		}
	})
}

type anyKey struct{}

func (anyKey) Authenticate(context.Context, string) (omni.Identity, error) {
	return omni.Identity{Actor: "key:root", Permissions: []string{"services.read"}}, nil
}

func TestServices(t *testing.T) {
	g := gateway.New(gateway.Options{Services: func(context.Context) ([]gateway.Service, error) {
		return []gateway.Service{{Name: "dns", Status: gateway.StatusOK, Leader: "a", Version: "1", UptimeSeconds: 2.5}, {Name: "unheard"}}, nil
	}})
	api := rest.New(rest.Options{Authenticator: anyKey{}})
	g.Routes(api)
	if err := api.Check(); err != nil {
		t.Fatal(err)
	}
	a := ask(t, g.Wrap(api.Handler()), "GET", "/api/v1/services", "192.0.2.1:1", "Authorization", "Bearer x")
	var page omni.Page[gateway.Service]
	if err := json.Unmarshal([]byte(a.body), &page); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	if len(page.Items) != 15 {
		t.Errorf("%d services", len(page.Items))
	}
	for _, s := range page.Items {
		want := gateway.StatusAbsent
		if s.Name == "dns" {
			want = gateway.StatusOK
		}
		if s.Status != want {
			t.Errorf("%s is %s", s.Name, s.Status)
		}
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "things_total"})
	reg.MustRegister(c)
	if a := ask(t, gateway.Metrics(reg), "GET", "/metrics", "192.0.2.1:1"); a.status != 200 || !strings.Contains(a.body, "things_total 0") {
		t.Errorf("got %d %s", a.status, a.body)
	}
}
