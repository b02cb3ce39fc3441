package rest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

// served runs h until the test ends or stop is called; result gives what Serve returned.
func served(t *testing.T, h http.Handler, opts rest.ServeOptions) (address string, stop func(), result <-chan error) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	out := make(chan error, 1)
	go func() { out <- rest.Serve(ctx, l, h, opts) }()
	return l.Addr().String(), cancel, out
}

func wait(t *testing.T, result <-chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the server did not stop within 20 s")
		return nil
	}
}

func fetch(t *testing.T, url string) (int, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func TestServeDrains(t *testing.T) {
	entered, leave, unready := make(chan struct{}), make(chan struct{}), make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		_, _ = io.WriteString(w, "done")
	})
	address, stop, result := served(t, h, rest.ServeOptions{Drain: 10 * time.Second, Unready: func() { close(unready) }})
	type got struct {
		status int
		body   string
		err    error
	}
	slow := make(chan got, 1)
	go func() {
		status, body, err := fetch(t, "http://"+address)
		slow <- got{status, body, err}
	}()
	closed(t, "the request", entered)
	stop()
	closed(t, "the word unready", unready)
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			break
		}
		_ = conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("new connections are still taken")
		}
	}
	close(leave)
	if g := <-slow; g.err != nil || g.status != 200 || g.body != "done" {
		t.Errorf("the request that was under way got %+v", g)
	}
	if err := wait(t, result); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestServeEndsStreams(t *testing.T) {
	ended := make(chan struct{})
	address, stop, result := served(t, streaming(someKeys(), time.Minute, feed(ended)), rest.ServeOptions{Drain: 10 * time.Second})
	_, lines := open(t, "http://"+address+"/api/v1/events")
	until(t, lines, "id: 5")
	started := time.Now()
	stop()
	drained(t, lines)
	closed(t, "the end of the handler", ended)
	if err := wait(t, result); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("an open stream held the server up for %s", took)
	}
}

func TestServeCutsWhatDoesNotEnd(t *testing.T) {
	entered := make(chan struct{})
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})
	address, stop, result := served(t, h, rest.ServeOptions{Drain: 50 * time.Millisecond})
	go func() { _, _, _ = fetch(t, "http://"+address) }() // it is cut
	closed(t, "the request", entered)
	stop()
	if err := wait(t, result); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Serve: %v", err)
	}
}

func TestServeTellsOfABrokenListener(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := rest.Serve(t.Context(), l, http.NotFoundHandler(), rest.ServeOptions{}); err == nil {
		t.Error("no error")
	}
}

func TestSlowClients(t *testing.T) {
	address, stop, result := served(t, things(rest.Options{BodyTimeout: 200 * time.Millisecond}).Handler(), rest.ServeOptions{})
	send := func(t *testing.T, text string) string {
		t.Helper()
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(bufio.NewReader(conn)) // until the server cuts it
		if err != nil {
			t.Fatalf("the server has not cut the connection: %v", err)
		}
		return string(all)
	}
	head := "POST /api/v1/things HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer root\r\n"
	t.Run("a body that does not come", func(t *testing.T) {
		got := send(t, head+"Content-Length: 100\r\n\r\n{")
		if !strings.HasPrefix(got, "HTTP/1.1 408") || !strings.Contains(got, "application/problem+json") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("a head that does not come", func(t *testing.T) {
		if got := send(t, "POST /api/v1/things HTTP/1.1\r\nHo"); strings.Contains(got, "200") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("a body that says it is huge", func(t *testing.T) {
		if got := send(t, head+"Content-Length: 99999999999\r\n\r\n{"); !strings.HasPrefix(got, "HTTP/1.1 413") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("a body that is huge without saying so", func(t *testing.T) {
		chunk := strings.Repeat("a", 64<<10)
		var b strings.Builder
		b.WriteString(head + "Transfer-Encoding: chunked\r\n\r\n")
		for range 17 {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(chunk), chunk)
		}
		b.WriteString("0\r\n\r\n")
		if got := send(t, b.String()); !strings.HasPrefix(got, "HTTP/1.1 413") {
			t.Errorf("got %.200q", got)
		}
	})
	t.Run("headers beyond the bound", func(t *testing.T) {
		if got := send(t, head+"X-Long: "+strings.Repeat("a", 60<<10)+"\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 431") {
			t.Errorf("got %.200q", got)
		}
	})
	stop()
	if err := wait(t, result); err != nil {
		t.Error(err)
	}
}

// TestSlowHandlersKeepTheirContext holds the deadlines of reading away from the handler: its context ends only by its own.
func TestSlowHandlersKeepTheirContext(t *testing.T) {
	api := rest.New(rest.Options{Authenticator: someKeys(), BodyTimeout: 100 * time.Millisecond, Timeout: time.Minute})
	rest.Handle(api, rest.Route{Method: http.MethodPost, Path: "/api/v1/things", ID: "create", Permission: "things.write"},
		func(ctx context.Context, in *createThing) (*rest.ItemOutput[thing], error) {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(400 * time.Millisecond):
				return rest.Item(in.Body), nil
			}
		})
	address, _, _ := served(t, api.Handler(), rest.ServeOptions{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/api/v1/things", strings.NewReader(createBody))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer root")
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != 200 {
		body, _ := io.ReadAll(resp.Body)
		t.Errorf("got %d: %s", resp.StatusCode, body)
	}
}
