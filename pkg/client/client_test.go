package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/failover"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// server answers with handle, and notes what it was asked.
type server struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*http.Request
}

func serve(t *testing.T, handle func(n int, w http.ResponseWriter, r *http.Request)) (*server, *client.Client) {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen = append(s.seen, r)
		n := len(s.seen)
		s.mu.Unlock()
		handle(n, w, r)
	}))
	t.Cleanup(s.Close)
	c, err := client.New(client.Options{Server: s.URL, Token: "omni_secret", UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func TestWhatIsSafeIsTriedAgain(t *testing.T) {
	s, c := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n < 3 {
			w.Header().Set("Retry-After", "0")
			answer(w, http.StatusServiceUnavailable, `{"code":"unavailable","detail":"later"}`)
			return
		}
		answer(w, http.StatusOK, `{"id":"run_1","status":"running"}`)
	})
	run, err := c.Trigger(t.Context(), failover.TriggerRequest{Tenant: "acme"})
	if err != nil || run.ID != "run_1" {
		t.Fatalf("got %+v, %v", run, err)
	}
	keys := map[string]bool{}
	for _, r := range s.seen {
		keys[r.Header.Get("Idempotency-Key")] = true
		if r.Header.Get("Authorization") != "Bearer omni_secret" {
			t.Error("a try came without the key")
		}
	}
	if len(s.seen) != 3 || len(keys) != 1 || keys[""] {
		t.Errorf("%d tries under the keys %v, want 3 under one", len(s.seen), keys)
	}
}

func TestWhatOnlyAsksIsRepeatedWithoutAKeyToStore(t *testing.T) {
	s, c := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n < 3 {
			answer(w, http.StatusServiceUnavailable, `{"code":"unavailable","detail":"later"}`)
			return
		}
		answer(w, http.StatusOK, `{"hash":"1a"}`)
	})
	if plan, err := c.Plan(t.Context(), failover.TriggerRequest{Tenant: "acme"}); err != nil || plan.Hash != "1a" {
		t.Fatalf("got %+v, %v", plan, err)
	}
	for _, r := range s.seen {
		if r.Header.Get("Idempotency-Key") != "" {
			t.Error("a question came with a key, which a full disk could not store")
		}
	}
}

func TestWhatIsNotIdempotentIsTriedOnce(t *testing.T) {
	s, c := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusServiceUnavailable, `{"code":"unavailable","detail":"later"}`)
	})
	if err := c.RevokeKey(t.Context(), "key_1"); !omni.Is(err, omni.CodeUnavailable) {
		t.Errorf("got %v", err)
	}
	if s.count() != 1 {
		t.Errorf("%d tries", s.count())
	}
}

func TestWhatWaitingDoesNotMendIsTriedOnce(t *testing.T) {
	for status, code := range map[int]omni.Code{
		http.StatusNotFound: omni.CodeNotFound, http.StatusConflict: omni.CodeRefused, http.StatusPreconditionFailed: omni.CodeStale,
		http.StatusInternalServerError: omni.CodeInternal, http.StatusInsufficientStorage: omni.CodeFull,
	} {
		s, c := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			answer(w, status, fmt.Sprintf(`{"code":%q,"detail":"why","hint":"do that","request_id":"req_1","errors":[{"path":"spec.x","message":"wrong","line":3}]}`, code))
		})
		_, err := c.Regions(t.Context())
		var problem *client.Problem
		if !errors.As(err, &problem) || problem.RequestID != "req_1" || problem.Status != status {
			t.Fatalf("%d: got %#v", status, err)
		}
		var e *omni.Error
		if !errors.As(err, &e) || e.Code != code || e.Hint != "do that" || len(e.Fields) != 1 || e.Fields[0].Line != 3 {
			t.Errorf("%d: got %+v", status, e)
		}
		if s.count() != 1 {
			t.Errorf("%d: %d tries", status, s.count())
		}
	}
}

func TestAListIsReadToItsEnd(t *testing.T) {
	s, c := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			answer(w, http.StatusOK, `{"items":[{"name":"a"},{"name":"b"}],"next":"b"}`)
			return
		}
		if r.URL.Query().Get("after") != "b" {
			t.Errorf("the second page was asked with %s", r.URL.RawQuery)
		}
		answer(w, http.StatusOK, `{"items":[{"name":"c"}]}`)
	})
	regions, err := c.Regions(t.Context())
	if err != nil || len(regions) != 3 || regions[2].Name != "c" || s.count() != 2 {
		t.Errorf("got %v, %v after %d requests", regions, err, s.count())
	}
}

func TestNamesAreEscaped(t *testing.T) {
	s, c := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, `{}`) })
	if _, err := c.Resource(t.Context(), "a&b", "../tenants/x?y"); err != nil {
		t.Fatal(err)
	}
	if got := s.seen[0].RequestURI; got != "/api/v1/resources/..%2Ftenants%2Fx%3Fy?tenant=a%26b" {
		t.Errorf("asked %s", got)
	}
}

func TestAForeignServerIsTold(t *testing.T) {
	_, c := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "<html>") })
	if _, err := c.Regions(t.Context()); !omni.Is(err, omni.CodeInternal) {
		t.Errorf("got %v", err)
	}
	for _, address := range []string{"", "127.0.0.1:8000", "ftp://x", "http://"} {
		if _, err := client.New(client.Options{Server: address}); !omni.Is(err, omni.CodeInvalid) {
			t.Errorf("%q: got %v", address, err)
		}
	}
}

func TestADeadlineIsUnfinishedAndCtrlCIsCancelled(t *testing.T) {
	released := make(chan struct{})
	_, c := serve(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-released:
		}
	})
	defer close(released)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Regions(ctx); !omni.Is(err, omni.CodeUnfinished) {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := c.Regions(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// event writes one event of a stream.
func event(w io.Writer, seq int) {
	e := events.New("omni.region.verdict", "region/a", "", map[string]int{"n": seq})
	e.ID, e.Source, e.Time = fmt.Sprint("evt_", seq), "infra", time.Unix(0, 0)
	data, err := json.Marshal(e)
	if err == nil {
		_, _ = fmt.Fprintf(w, "id: %d\nevent: omni.region.verdict\ndata: %s\n\n", seq, data)
	}
}

func TestABrokenStreamIsTakenUpBehindTheLastEvent(t *testing.T) {
	s, c := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, ": a comment\n\nretry: 1000\n\n")
		event(w, 2*n-1)
		event(w, 2*n)
	})
	var ids []string
	enough := errors.New("enough")
	err := c.Stream(t.Context(), client.StreamRequest{Topics: []string{"region", "failover"}, After: "0"}, func(id string, e events.Event) error {
		if ids = append(ids, id); len(ids) == 4 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || !slices.Equal(ids, []string{"1", "2", "3", "4"}) {
		t.Errorf("got %v, %v", ids, err)
	}
	if first, second := s.seen[0].Header.Get("Last-Event-ID"), s.seen[1].Header.Get("Last-Event-ID"); first != "0" || second != "2" {
		t.Errorf("it asked behind %q, then behind %q", first, second)
	}
	if got := s.seen[0].URL.Query().Get("topics"); got != "region,failover" {
		t.Errorf("it asked for the topics %q", got)
	}
}

func TestARefusedStreamEnds(t *testing.T) {
	s, c := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusForbidden, `{"code":"forbidden","detail":"no"}`)
	})
	err := c.Stream(t.Context(), client.StreamRequest{}, func(string, events.Event) error { return nil })
	if !omni.Is(err, omni.CodeForbidden) || s.count() != 1 {
		t.Errorf("got %v after %d requests", err, s.count())
	}
}

func TestAWrongSchemeAndAnUnknownCAAreTold(t *testing.T) {
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for server, want := range map[string]string{
		secure.URL: "SSL_CERT_FILE", "http://" + secure.Listener.Addr().String(): "write https://", "https://" + plain.Listener.Addr().String(): "write http://",
	} {
		c, err := client.New(client.Options{Server: server})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Regions(t.Context())
		e, ok := errors.AsType[*omni.Error](err)
		if !ok || !strings.Contains(e.Hint, want) {
			t.Errorf("%s: %v, want %q", server, err, want)
		}
	}
}

func TestAStreamThatFailsIsTold(t *testing.T) {
	_, c := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "event: error\ndata: {\"code\":\"internal\",\"detail\":\"broken\",\"request_id\":\"req_1\"}\n\n")
	})
	err := c.Stream(t.Context(), client.StreamRequest{}, func(_ string, e events.Event) error {
		t.Errorf("an error was taken for an event: %+v", e)
		return errors.New("enough")
	})
	var p *client.Problem
	if !errors.As(err, &p) || p.RequestID != "req_1" || !omni.Is(err, omni.CodeInternal) {
		t.Errorf("got %v", err)
	}
}
