package monitor_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
	"github.com/omnicloud/omnicloud/pkg/services/monitor"
)

// world is what a service is told to watch.
type world struct {
	mu     sync.Mutex
	probes []infra.Probe
}

func (w *world) set(probes ...infra.Probe) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.probes = probes
}

func (w *world) regions(context.Context) ([]infra.Region, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return []infra.Region{{Name: "east", Spec: infra.RegionSpec{Zones: []infra.Zone{{Name: "a", Probes: slices.Clone(w.probes)}}}}}, nil
}

func run(t *testing.T, db *database.DB, observer string, w *world) *monitor.Service {
	t.Helper()
	s := monitor.New(monitor.Options{DB: db, Observer: observer, Path: os.Getenv("PATH"), Now: time.Now})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, w.regions) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 15s: %s", what)
}

func status(s *monitor.Service, probe string) monitor.State {
	for _, state := range s.ProbeStates() {
		if state.Probe == probe {
			return state
		}
	}
	return monitor.State{}
}

const fast = omni.Duration(100 * time.Millisecond)

func TestProbesOfEachType(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/teapot", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/drip", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/flood", func(w http.ResponseWriter, _ *http.Request) {
		for range 1 << 12 {
			if _, err := w.Write(make([]byte, 1<<12)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/secret", func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "hunter2" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	closed, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	address := server.Listener.Addr().String()

	type want struct {
		probe  infra.Probe
		status monitor.Status
		says   string
	}
	web := func(path string, status int) infra.Probe {
		return infra.Probe{Type: infra.ProbeHTTP, Target: server.URL + path, Status: status}
	}
	command := func(argv ...string) infra.Probe { return infra.Probe{Type: infra.ProbeExec, Command: argv} }
	cases := []want{
		{web("/ok", 0), monitor.Up, ""},
		{web("/teapot", 418), monitor.Up, ""},
		{web("/ok", 418), monitor.Down, "status 200"},
		{web("/moved", 0), monitor.Down, "status 302"},
		{web("/slow", 0), monitor.Down, "no answer within"},
		{web("/drip", 0), monitor.Up, ""},
		{web("/flood", 0), monitor.Up, ""},
		{infra.Probe{Type: infra.ProbeHTTP, Target: "http://u:hunter2@" + address + "/secret"}, monitor.Up, ""},
		{infra.Probe{Type: infra.ProbeHTTP, Target: "http://" + closed.Addr().String()}, monitor.Down, "refused"},
		{infra.Probe{Type: infra.ProbeTCP, Target: address}, monitor.Up, ""},
		{infra.Probe{Type: infra.ProbeTCP, Target: closed.Addr().String()}, monitor.Down, "refused"},
		{command("sh", "-c", `[ "$OMNI_REGION/$OMNI_ZONE" = east/a ] && [ -z "$HOME" ]`), monitor.Up, ""},
		{command("sh", "-c", "echo no space >&2; exit 2"), monitor.Down, "exit code 2: no space"},
		{command("sleep", "60"), monitor.Down, "no answer within"},
		{command("/no/such/program"), monitor.Down, "no such file"},
		{command(), monitor.Down, "no command"},
		{infra.Probe{Type: "carrier pigeon"}, monitor.Down, "not known"},
		{infra.Probe{Type: infra.ProbeHTTP, Target: ":"}, monitor.Down, "not a URL"},
	}
	w := &world{}
	for i := range cases {
		cases[i].probe.Name = "p" + string(rune('a'+i))
		cases[i].probe.Interval, cases[i].probe.Timeout = omni.Duration(400*time.Millisecond), omni.Duration(300*time.Millisecond)
		w.probes = append(w.probes, cases[i].probe)
	}
	s := run(t, nil, "r1", w)
	for _, c := range cases {
		var state monitor.State
		eventually(t, c.probe.Target+strings.Join(c.probe.Command, " ")+" is "+string(c.status), func() bool {
			state = status(s, c.probe.Name)
			return state.Status == c.status && strings.Contains(state.Error, c.says)
		})
		if strings.Contains(state.Target, "hunter2") {
			t.Errorf("the password is shown: %s", state.Target)
		}
	}
}

func rows(t *testing.T, db *database.DB) (list []string) {
	t.Helper()
	err := db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		list = nil
		return tx.Query(ctx, "select probe || ' ' || observer || ' ' || status from probe_states", nil, func(scan func(dest ...any) error) error {
			var row string
			err := scan(&row)
			list = append(list, row)
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

func TestStatusChangesAreStored(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		t.Helper()
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		t.Cleanup(server.Close)
		probe := func(name, target string) infra.Probe {
			return infra.Probe{Name: name, Type: infra.ProbeHTTP, Target: target, Interval: fast, Timeout: fast}
		}
		one, two := &world{}, &world{}
		one.set(probe("web", server.URL), probe("gone", "http://127.0.0.1:1"))
		two.set(probe("web", server.URL), probe("gone", "http://127.0.0.1:1"))
		s := run(t, db, "r1", one)
		run(t, db, "r2", two)
		eventually(t, "both replicas have stored both", func() bool {
			return slices.Equal(rows(t, db), []string{"gone r1 down", "gone r2 down", "web r1 up", "web r2 up"})
		})
		page, err := s.Probes(t.Context(), "east", omni.PageRequest{Limit: 3})
		if err != nil || len(page.Items) != 3 || page.Next == "" {
			t.Fatalf("first page: %+v (%v)", page, err)
		}
		if got := page.Items[1]; got.Observer != "r2" || got.Probe != "gone" || got.Status != monitor.Down || got.Type != infra.ProbeHTTP || got.Error == "" {
			t.Errorf("the other replica's view: %+v", got)
		}
		rest, err := s.Probes(t.Context(), "", omni.PageRequest{After: page.Next})
		if err != nil || len(rest.Items) != 1 || rest.Items[0].Observer != "r2" || rest.Next != "" {
			t.Errorf("second page: %+v (%v)", rest, err)
		}
		if _, err := s.Probes(t.Context(), "", omni.PageRequest{After: "nonsense"}); !omni.Is(err, omni.CodeInvalid) {
			t.Errorf("a wrong cursor: %v", err)
		}

		server.Close()
		eventually(t, "the change is stored", func() bool { return slices.Contains(rows(t, db), "web r1 down") })
		one.set(probe("web", server.URL))
		two.set(probe("web", server.URL))
		eventually(t, "a removed probe leaves nothing behind", func() bool {
			return slices.Equal(rows(t, db), []string{"web r1 down", "web r2 down"})
		})
	})
}

func TestARestartBeginsAsUnknown(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		t.Helper()
		err := db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			for _, observer := range []string{"r1", "r2"} {
				_, err := tx.Exec(ctx, `insert into probe_states (region, zone, probe, observer, status, since, error, latency_us, updated_at)
					values ('east', 'a', 'agent', $1, 'up', $2, '', 0, $2)`, observer, database.Time(tx.Now()))
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{}
		w.set(infra.Probe{Name: "agent", Type: infra.ProbeHeartbeat, Interval: omni.Duration(time.Hour)})
		s := run(t, db, "r1", w)
		eventually(t, "its own row of an earlier life is gone", func() bool { return slices.Equal(rows(t, db), []string{"agent r2 up"}) })
		if got := status(s, "agent").Status; got != monitor.Unknown {
			t.Errorf("status %s, want unknown", got)
		}
	})
}

func TestAHeartbeatCountsOnEveryReplica(t *testing.T) {
	db := databasetest.Postgres(t, database.Infra)
	w := &world{}
	w.set(infra.Probe{Name: "agent", Type: infra.ProbeHeartbeat, Interval: omni.Duration(time.Minute)})
	one, two := run(t, db, "r1", w), run(t, db, "r2", w)
	eventually(t, "both know the probe", func() bool {
		return status(one, "agent").Status == monitor.Unknown && status(two, "agent").Status == monitor.Unknown
	})
	eventually(t, "a beat given to one is heard by the other", func() bool {
		if err := one.Heartbeat(t.Context(), "east", "a", "agent"); err != nil {
			t.Fatal(err)
		}
		return status(two, "agent").Status == monitor.Up
	})
}

// keyring takes every token for that of an operator.
type keyring struct{}

func (keyring) Authenticate(context.Context, string) (omni.Identity, error) {
	return omni.Identity{Actor: "key:ops", Permissions: []string{"probes.read", "probes.report"}}, nil
}

func TestRoutes(t *testing.T) {
	w := &world{}
	w.set(infra.Probe{Name: "agent", Type: infra.ProbeHeartbeat, Interval: omni.Duration(time.Minute)})
	s := run(t, databasetest.Open(t, database.Infra), "r1", w)
	eventually(t, "the probe is known", func() bool { return len(s.ProbeStates()) == 1 })
	api := rest.New(rest.Options{Title: "test", Version: "1", Authenticator: keyring{}, Now: time.Now})
	s.Routes(api)
	call := func(method, path string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		req := httptest.NewRequestWithContext(t.Context(), method, path, nil)
		req.Header.Set("Authorization", "Bearer x")
		api.Handler().ServeHTTP(rec, req)
		return rec
	}
	if rec := call(http.MethodPost, "/api/v1/probes/east/a/agent/heartbeat"); rec.Code != http.StatusNoContent {
		t.Errorf("heartbeat: %d %s", rec.Code, rec.Body)
	}
	if rec := call(http.MethodPost, "/api/v1/probes/east/b/agent/heartbeat"); rec.Code != http.StatusNotFound {
		t.Errorf("heartbeat of an unknown probe: %d %s", rec.Code, rec.Body)
	}
	rec := call(http.MethodGet, "/api/v1/probes?region=east")
	var page omni.Page[monitor.State]
	if err := json.Unmarshal(rec.Body.Bytes(), &page); err != nil || rec.Code != http.StatusOK || len(page.Items) != 1 || page.Items[0].Status != monitor.Up {
		t.Errorf("list: %d %s (%v)", rec.Code, rec.Body, err)
	}
	if rec := call(http.MethodGet, "/api/v1/probes?region=west"); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), `"items":[]`) {
		t.Errorf("another region: %d %s", rec.Code, rec.Body)
	}
}
