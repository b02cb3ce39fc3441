package httpdriver_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/provider"
	httpdriver "github.com/omnicloud/omnicloud/pkg/provider/http"
	"github.com/omnicloud/omnicloud/pkg/provider/providertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agent is a target that keeps its state as docs/drivers.md asks agents to.
type agent struct {
	mu      sync.Mutex
	quirk   providertest.Quirk
	role    string
	epoch   int64
	done    map[string]bool
	effects []string
}

func (a *agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch a.quirk {
	case providertest.Hangs:
		_, _ = w.Write(nil) // reads nothing: the connection's end shows in the context only once the body is read
		_ = json.NewDecoder(r.Body).Decode(new(any))
		<-r.Context().Done()
		return
	case providertest.Fails:
		http.Error(w, providertest.Complaint, http.StatusInternalServerError)
		return
	case providertest.Floods:
		w.WriteHeader(http.StatusBadGateway)
		_, _ = fmt.Fprintln(w, providertest.Complaint)
		for range 4096 {
			_, _ = w.Write([]byte(strings.Repeat("x", 1024)))
		}
		return
	case providertest.Obedient, providertest.Unsupported, providertest.Nonsense:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	action := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	if action == "check" {
		a.check(w, r)
		return
	}
	a.act(w, r, action)
}

func (a *agent) check(w http.ResponseWriter, r *http.Request) {
	if a.quirk == providertest.Nonsense {
		_, _ = fmt.Fprint(w, "<html>It works!</html>")
		return
	}
	if r.Method != http.MethodGet {
		http.Error(w, "check wants GET", http.StatusMethodNotAllowed)
		return
	}
	_, _ = fmt.Fprintf(w, "{\n  %q: %q,\n  %q: true\n}\n", "role", a.role, "healthy")
}

func (a *agent) act(w http.ResponseWriter, r *http.Request, action string) {
	var call struct {
		Tenant, Resource, Type, Region, Address, Role, Run, Step string
		Epoch                                                    int64
	}
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&call); err != nil || r.Method != http.MethodPost || call.Tenant != "acme" {
		http.Error(w, fmt.Sprintf("a bad request: %v", err), http.StatusBadRequest)
		return
	}
	key := r.Header.Get("Idempotency-Key")
	switch {
	case key != call.Run+"/"+call.Step:
		http.Error(w, "a bad key", http.StatusBadRequest)
	case action == "fence" && a.quirk == providertest.Unsupported:
		w.WriteHeader(http.StatusNotImplemented)
	case call.Epoch < a.epoch:
		http.Error(w, "a newer leader was here", http.StatusPreconditionFailed)
	default:
		a.epoch = call.Epoch
		if !a.done[key+action] {
			a.done[key+action] = true
			a.effects = append(a.effects, fmt.Sprintf("%s %s %d", action, key, call.Epoch))
			a.role = provider.RoleAfter(provider.Action(action))
			if action == "start" {
				a.role = "standby"
			}
		}
	}
}

func TestContract(t *testing.T) {
	driver := httpdriver.New(httpdriver.Options{})
	t.Cleanup(driver.Close)
	agents := map[string]*agent{}
	providertest.Run(t, func(*testing.T) providertest.Subject {
		return providertest.Subject{
			Driver: driver,
			Target: func(t *testing.T, q providertest.Quirk) (provider.Target, bool) {
				t.Helper()
				a := &agent{quirk: q, role: "standby", done: map[string]bool{}}
				server := httptest.NewServer(a)
				t.Cleanup(server.Close)
				agents[server.URL] = a
				return provider.Target{Tenant: "acme", Resource: "db", Region: "east", Config: map[string]any{
					"url": server.URL + "/agent/", "timeout": providertest.HangTimeout.String(),
				}}, true
			},
			Effects: func(_ *testing.T, target provider.Target) []string {
				a := agents[strings.TrimSuffix(fmt.Sprint(target.Config["url"]), "/agent/")]
				a.mu.Lock()
				defer a.mu.Unlock()
				return slices.Clone(a.effects)
			},
			BadConfigs: map[string]map[string]any{
				"url":                     {"url": "ftp://example"},
				"timeout":                 {"url": "http://a", "timeout": "0s"},
				"headers.Idempotency-Key": {"url": "http://a", "headers": map[string]any{"Idempotency-Key": "x"}},
				"headers.X-A":             {"url": "http://a", "headers": map[string]any{"X-A": "a\r\nHost: b"}},
			},
		}
	})
}

func target(url string, more ...any) provider.Target {
	config := map[string]any{"url": url}
	for i := 0; i < len(more); i += 2 {
		config[fmt.Sprint(more[i])] = more[i+1]
	}
	return provider.Target{Tenant: "acme", Resource: "db", Type: "database", Region: "east", Address: "h:1", Config: config}
}

func TestWhatAnAgentIsTold(t *testing.T) {
	var got *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r }))
	t.Cleanup(server.Close)
	driver := httpdriver.New(httpdriver.Options{})
	t.Cleanup(driver.Close)
	ctx := omni.WithRequest(t.Context(), omni.Request{ID: "req_1", TraceParent: "00-1-2-01"})
	call := provider.Call{Target: target(server.URL+"/a?site=1", "headers", map[string]any{"Authorization": "Bearer x", "Host": "agent.internal"}), Action: provider.Promote, Run: "r", Step: "s", Epoch: 4}
	if err := driver.Do(ctx, call); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer x", "Idempotency-Key": "r/s", "X-Request-Id": "req_1", "Traceparent": "00-1-2-01", "Content-Type": "application/json",
	} {
		if got.Header.Get(name) != want {
			t.Errorf("%s = %q, want %q", name, got.Header.Get(name), want)
		}
	}
	if got.URL.String() != "/a/promote?site=1" || got.Host != "agent.internal" {
		t.Errorf("called %s on %s", got.URL, got.Host)
	}
	_, err := driver.Check(ctx, call)
	if !omni.Is(err, omni.CodeInternal) {
		t.Errorf("an empty answer to check: %v, want CodeInternal", err)
	}
	if q := got.URL.Query(); got.URL.Path != "/a/check" || q.Get("resource") != "db" || q.Get("epoch") != "4" || q.Get("site") != "1" {
		t.Errorf("check called %s", got.URL)
	}
}

func TestRedirects(t *testing.T) {
	reached := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	t.Cleanup(other.Close)
	var body string
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("/away/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/found/", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/here", http.StatusFound) })
	mux.HandleFunc("/round/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/round/x", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/near/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/here", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/here", func(_ http.ResponseWriter, r *http.Request) {
		var call struct{ Resource string }
		_ = json.NewDecoder(r.Body).Decode(&call)
		body = r.Method + " " + call.Resource
	})
	driver := httpdriver.New(httpdriver.Options{})
	t.Cleanup(driver.Close)
	for _, path := range []string{"/away", "/found", "/round"} {
		err := driver.Do(t.Context(), provider.Call{Target: target(server.URL + path), Action: provider.Fence})
		if !omni.Is(err, omni.CodeUnavailable) || !strings.Contains(err.Error(), "redirects") {
			t.Errorf("%s: %v, want it refused", path, err)
		}
	}
	if reached {
		t.Error("another host was called")
	}
	if err := driver.Do(t.Context(), provider.Call{Target: target(server.URL + "/near"), Action: provider.Fence}); err != nil || body != "POST db" {
		t.Errorf("a 307 on the same host: %v, %q arrived", err, body)
	}
}

func TestStatuses(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	t.Cleanup(server.Close)
	driver := httpdriver.New(httpdriver.Options{})
	t.Cleanup(driver.Close)
	for code, want := range map[int]string{
		200: "", 204: "", 501: provider.ErrNotSupported.Error(), 409: provider.ErrStaleEpoch.Error(), 412: provider.ErrStaleEpoch.Error(),
		202: "status 202", 404: "status 404", 500: "status 500",
	} {
		status = code
		err := driver.Do(t.Context(), provider.Call{Target: target(server.URL), Action: provider.Stop})
		if (want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("status %d: %v, want %q", code, err, want)
		}
	}
	server.Close()
	err := driver.Do(t.Context(), provider.Call{Target: target(server.URL), Action: provider.Stop})
	if !omni.Is(err, omni.CodeUnavailable) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody listens: %v", err)
	}
	secret := strings.Replace(server.URL, "http://", "http://user:hunter2@", 1)
	err = driver.Do(t.Context(), provider.Call{Target: target(secret), Action: provider.Stop})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v, want an error without the password", err)
	}
}
