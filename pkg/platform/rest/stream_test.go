package rest_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

// feed sends the numbers behind the last event up to 5, and follows until its context ends.
func feed(ended chan<- struct{}) func(context.Context, *rest.StreamInput, func(string, string, any) error) error {
	return func(ctx context.Context, in *rest.StreamInput, send func(string, string, any) error) error {
		defer close(ended)
		after, err := in.After()
		if err != nil {
			return err
		}
		for seq := after + 1; seq <= 5; seq++ {
			if err := send(strconv.FormatInt(seq, 10), "number", map[string]any{"seq": seq, "topics": in.Topics}); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return ctx.Err()
	}
}

func streaming(keys *keys, heartbeat time.Duration, h func(context.Context, *rest.StreamInput, func(string, string, any) error) error) http.Handler {
	api := rest.New(rest.Options{Authenticator: keys, Heartbeat: heartbeat, Logger: discard()})
	rest.Stream(api, rest.Route{Method: http.MethodGet, Path: "/api/v1/events", ID: "events", Permission: "events.read"}, h)
	return api.Handler()
}

// open begins to read a stream; lines gives what arrives, and is closed at its end.
func open(t *testing.T, url string, headers ...string) (resp *http.Response, lines <-chan string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer root")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err = client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	out := make(chan string, 1000)
	go func() {
		defer close(out)
		for s := bufio.NewScanner(resp.Body); s.Scan(); {
			out <- s.Text()
		}
	}()
	return resp, out
}

// until gives the lines up to the one that has the text.
func until(t *testing.T, lines <-chan string, text string) []string {
	t.Helper()
	var got []string
	deadline := time.After(10 * time.Second)
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("the stream ended before %q: %q", text, got)
			}
			got = append(got, line)
			if strings.Contains(line, text) {
				return got
			}
		case <-deadline:
			t.Fatalf("no %q within 10 s: %q", text, got)
		}
	}
}

func closed(t *testing.T, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s did not happen within 10 s", what)
	}
}

// drained waits for the end of a stream.
func drained(t *testing.T, lines <-chan string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case _, ok := <-lines:
			if !ok {
				return
			}
		case <-deadline:
			t.Fatal("the stream did not end within 10 s")
		}
	}
}

func TestStream(t *testing.T) {
	t.Run("replays what came after the last event, then keeps the connection alive", func(t *testing.T) {
		ended := make(chan struct{})
		server := httptest.NewServer(streaming(someKeys(), 20*time.Millisecond, feed(ended)))
		defer server.Close()
		resp, lines := open(t, server.URL+"/api/v1/events?topics=failover,audit", "Last-Event-ID", "3")
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("got %d %v", resp.StatusCode, resp.Header)
		}
		got := strings.Join(until(t, lines, ": heartbeat"), "\n")
		want := "retry: 1000\n\nid: 4\nevent: number\ndata: {\"seq\":4,\"topics\":[\"failover\",\"audit\"]}\n\nid: 5\n"
		if !strings.HasPrefix(got, want) || strings.Contains(got, "id: 3") {
			t.Errorf("got %q", got)
		}
		_ = resp.Body.Close()
		closed(t, "the end of the handler after its reader left", ended)
	})
	t.Run("an error before the first event has its own status", func(t *testing.T) {
		h := streaming(someKeys(), time.Minute, feed(make(chan struct{})))
		if p := do(t, h, "GET", "/api/v1/events", "", "Last-Event-ID", "x").problem(t); p.Status != 422 {
			t.Errorf("got %+v", p)
		}
	})
	t.Run("a later error is the last event", func(t *testing.T) {
		h := streaming(someKeys(), time.Minute, func(_ context.Context, _ *rest.StreamInput, send func(string, string, any) error) error {
			for i := range 3 {
				if err := send(fmt.Sprint(i), "", i); err != nil {
					return err
				}
			}
			return omni.Errorf(omni.CodeUnavailable, "the feed is gone")
		})
		server := httptest.NewServer(h)
		defer server.Close()
		_, lines := open(t, server.URL+"/api/v1/events")
		got := until(t, lines, `"code":"unavailable"`)
		if n := len(got); n < 2 || got[n-2] != "event: error" {
			t.Errorf("got %q", got)
		}
		drained(t, lines)
	})
	t.Run("a panic ends only the stream", func(t *testing.T) {
		h := streaming(someKeys(), time.Minute, func(context.Context, *rest.StreamInput, func(string, string, any) error) error { panic("oh") })
		if p := do(t, h, "GET", "/api/v1/events", "").problem(t); p.Status != 500 {
			t.Errorf("got %+v", p)
		}
	})
	t.Run("a name cannot break out of its line", func(t *testing.T) {
		h := streaming(someKeys(), time.Minute, func(_ context.Context, _ *rest.StreamInput, send func(string, string, any) error) error {
			return send("1\ndata: forged", "x", nil)
		})
		if a := do(t, h, "GET", "/api/v1/events", ""); a.status != 500 || strings.Contains(a.body, "forged") {
			t.Errorf("got %d %s", a.status, a.body)
		}
	})
	t.Run("the revocation of its key ends it within two seconds", func(t *testing.T) {
		keys, ended := someKeys(), make(chan struct{})
		server := httptest.NewServer(streaming(keys, time.Minute, feed(ended)))
		defer server.Close()
		_, lines := open(t, server.URL+"/api/v1/events")
		until(t, lines, "id: 5")
		keys.revoke("root")
		closed(t, "the end of the handler", ended)
		drained(t, lines)
	})
	t.Run("a key that may not read events gets none", func(t *testing.T) {
		h := streaming(someKeys(), time.Minute, feed(make(chan struct{})))
		if a := do(t, h, "GET", "/api/v1/events", "", "Authorization", "Bearer reader"); a.status != 403 {
			t.Errorf("got %d", a.status)
		}
	})
	t.Run("a handler is held back by a full buffer, and ends with its reader", func(t *testing.T) {
		sent, ended := make(chan int, 1), make(chan struct{})
		h := streaming(someKeys(), time.Minute, func(ctx context.Context, _ *rest.StreamInput, send func(string, string, any) error) error {
			defer close(ended)
			n := 0
			for send("", "", strings.Repeat("x", 100_000)) == nil {
				n++
			}
			sent <- n
			return ctx.Err()
		})
		server := httptest.NewServer(h)
		defer server.Close()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/v1/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer root")
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		select { // nobody reads
		case n := <-sent:
			t.Fatalf("%d events were taken from a stream that nobody reads", n)
		case <-time.After(300 * time.Millisecond):
		}
		_ = resp.Body.Close()
		closed(t, "the end of the handler", ended)
		if n := <-sent; n > 1000 {
			t.Errorf("%d events of 100 kB were buffered", n)
		}
	})
}
