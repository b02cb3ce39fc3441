package daemon_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/daemon"
	"github.com/omnicloud/omnicloud/pkg/failover"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/services/config"
)

func hintOf(err error) string {
	if e, ok := errors.AsType[*omni.Error](err); ok {
		return e.Hint
	}
	return ""
}

// ready is the line that omnid prints.
type ready struct {
	Msg     string `json:"msg"`
	Listen  string `json:"listen"`
	DNS     string `json:"dns"`
	Metrics string `json:"metrics"`
	DataDir string `json:"data_dir"`
	Version string `json:"version"`
}

// start runs an omnid in this process until the test ends, or stop is called.
func start(t *testing.T, dir string, args ...string) (line ready, stop func() error) {
	t.Helper()
	c, _, err := load(t, "", nil, append([]string{
		"--data-dir", dir, "--listen", "127.0.0.1:0", "--dns-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
		"--sqlite-synchronous", "normal",
	}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := daemon.Run(ctx, daemon.Options{Config: c, Version: "test", Out: in, Err: io.Discard, Level: new(slog.LevelVar)})
		_ = in.CloseWithError(io.ErrUnexpectedEOF)
		done <- err
	}()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() { _ = stop() })
	if err := json.NewDecoder(out).Decode(&line); err != nil {
		t.Fatalf("no ready line: %v (%v)", err, stop())
	}
	return line, stop
}

func get(t *testing.T, url, token string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func post(t *testing.T, url, token string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
}

func TestOmnidServesStopsAndServesAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	var tokens []string
	for range 2 {
		line, stop := start(t, dir)
		if line.Msg != "ready" || line.DataDir != dir || line.Version != "test" {
			t.Errorf("the ready line is %+v", line)
		}
		if status, body := get(t, "http://"+line.Listen+"/readyz?verbose", ""); status != http.StatusOK {
			t.Errorf("readyz: %d %s", status, body)
		}
		if status, _ := get(t, "http://"+line.Listen+"/api/v1/regions", ""); status != http.StatusUnauthorized {
			t.Errorf("without a key: %d", status)
		}
		token, err := os.ReadFile(filepath.Join(dir, "admin.token"))
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, string(token))
		if status, body := get(t, "http://"+line.Listen+"/api/v1/services", strings.TrimSpace(string(token))); status != http.StatusOK || strings.Count(body, `"name"`) != 15 {
			t.Errorf("services: %d %s", status, body)
		}
		for _, metric := range []string{
			"omnicloud_leader 1", `omnicloud_transaction_duration_seconds_count{database="infra"`, `omnicloud_relay_pending{database="infra"}`,
		} {
			deadline := time.Now().Add(10 * time.Second) // the leader measures a moment after it has begun to lead
			for {
				status, body := get(t, "http://"+line.Metrics+"/metrics", "")
				if status == http.StatusOK && strings.Contains(body, metric) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("the metrics (status %d) do not have %s", status, metric)
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
		info, err := os.Stat(filepath.Join(dir, "admin.token"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("admin.token has the mode %v (%v)", info.Mode(), err)
		}
		if err := stop(); err != nil {
			t.Errorf("it did not stop well: %v", err)
		}
	}
	if tokens[0] != tokens[1] {
		t.Error("the second start changed the first key")
	}
}

func TestAnEventThatNobodyCanTakeDoesNotKeepOmnidFromStarting(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	_, stop := start(t, dir)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	c, _, err := load(t, "", nil, "--data-dir", dir)
	if err != nil {
		t.Fatal(err)
	}
	daemon.Tamper(t, c, "infra", `insert into outbox (id, type, subject, tenant, event, at) values ('evt_x', 'omni.audit.record', 'audit/', '',
		'{"specversion":"1.0","id":"evt_x","source":"/x","type":"omni.audit.record","subject":"audit/","data":"no record"}', '2026-01-01T00:00:00.000000Z')`)
	line, _ := start(t, dir)
	if status, body := get(t, "http://"+line.Listen+"/readyz?verbose", ""); status != http.StatusServiceUnavailable || !strings.Contains(body, "relay lag") {
		t.Errorf("readyz does not say that an event waits: %d %s", status, body)
	}
}

func TestNobodyElseMayReadWhatOmnidStores(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil { // an operator made it
		t.Fatal(err)
	}
	for range 2 {
		_, stop := start(t, dir)
		err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			info, err := entry.Info()
			switch {
			case errors.Is(err, os.ErrNotExist): // etcd renames its files
				return nil
			case err == nil && info.Mode().Perm()&0o077 != 0:
				t.Errorf("%s has the mode %v", path, info.Mode())
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, "infra.db"), 0o644); err != nil { // as an older omnid left it
			t.Fatal(err)
		}
	}
}

func TestASecondOmnidOnTheSameDirectoryIsTold(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	start(t, dir)
	c, _, err := load(t, "", nil, "--data-dir", dir, "--listen", "127.0.0.1:0", "--dns-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	err = daemon.Run(t.Context(), daemon.Options{Config: c, Out: io.Discard, Err: io.Discard, Level: new(slog.LevelVar)})
	if err == nil || !strings.Contains(err.Error(), "in use by another omnid") {
		t.Errorf("got %v", err)
	}
}

func TestATakenPortIsTold(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, _, err := load(t, "", nil, "--data-dir", filepath.Join(t.TempDir(), "data"), "--listen", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	err = daemon.Run(t.Context(), daemon.Options{Config: c, Out: io.Discard, Err: io.Discard, Level: new(slog.LevelVar)})
	if err == nil || !strings.Contains(err.Error(), "listen: cannot listen on "+l.Addr().String()) {
		t.Errorf("got %v", err)
	}
}

func TestTheConfigurationIsReloaded(t *testing.T) {
	c, _, err := load(t, "", nil, "--data-dir", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0", "--dns-listen", "127.0.0.1:0",
		"--metrics-listen", "127.0.0.1:0", "--sqlite-synchronous", "normal")
	if err != nil {
		t.Fatal(err)
	}
	level := new(slog.LevelVar)
	hangup := make(chan os.Signal)
	answers := make(chan func() (daemon.Config, error), 2)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var out bytes.Buffer
	go func() {
		done <- daemon.Run(ctx, daemon.Options{
			Config: c, Out: &out, Err: io.Discard, Level: level, Reload: hangup,
			Reread: func() (daemon.Config, error) { return (<-answers)() },
		})
	}()
	next := c
	next.LogLevel = "debug"
	answers <- func() (daemon.Config, error) { return daemon.Config{}, errors.New("not valid") }
	answers <- func() (daemon.Config, error) { return next, nil }
	for range 2 {
		select {
		case hangup <- os.Interrupt:
		case err := <-done:
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); level.Level() != slog.LevelDebug; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the level has not changed")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestVerifyFindsWhatWasBroken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	line, stop := start(t, dir)
	token, err := os.ReadFile(filepath.Join(dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	// The first record, of the first key, comes to the log a moment after omnid is ready.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, body := get(t, "http://"+line.Listen+"/api/v1/audit", strings.TrimSpace(string(token))); strings.Contains(body, "key.create") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the log stays empty")
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	c, _, err := load(t, "", nil, "--data-dir", dir)
	if err != nil {
		t.Fatal(err)
	}
	v, err := daemon.Verify(t.Context(), c)
	if err != nil || !v.OK {
		t.Fatalf("a fresh store: %+v, %v", v, err)
	}
	daemon.Tamper(t, c, "audit", `update audit_entries set record = x'7b7d' where idx = 0`)
	v, err = daemon.Verify(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if v.OK {
		t.Error("it does not see that a record was changed")
	}
}

func TestTheStateOfMigrationsIsToldWhileOmnidRuns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	c, _, err := load(t, "", nil, "--data-dir", dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := daemon.Migrate(t.Context(), c, true); !omni.Is(err, omni.CodeNotFound) {
		t.Errorf("of nothing: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("asking made the directory (%v)", err)
	}
	start(t, dir)
	list, err := daemon.Migrate(t.Context(), c, true)
	if err != nil || len(list) == 0 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, m := range list {
		if m.AppliedAt.IsZero() {
			t.Errorf("%s", m)
		}
	}
	if _, err := daemon.Migrate(t.Context(), c, false); !omni.Is(err, omni.CodeConflict) {
		t.Errorf("migrating beside a running omnid: %v", err)
	}
}

func TestVerifyOfNothingIsTold(t *testing.T) {
	c, _, err := load(t, "", nil, "--data-dir", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := daemon.Verify(t.Context(), c); !omni.Is(err, omni.CodeNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestATenantThatIsDeletedTakesItsRunAlong(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	line, _ := start(t, dir)
	api := operate(t, line, dir)
	broken := strings.Replace(simulated, "config: {role: standby}", "config: {role: standby, failActions: [promote]}", 1)
	if _, err := api.Apply(t.Context(), []config.File{{Name: "all.yaml", Content: broken}}, false); err != nil {
		t.Fatal(err)
	}
	beat(t, api, line, dir)
	run, err := api.Trigger(t.Context(), failover.TriggerRequest{Tenant: "acme", From: "east", To: "west", Confirm: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	err = client.Poll(t.Context(), 20*time.Millisecond, func(ctx context.Context) (bool, error) {
		run, err = api.Failover(ctx, run.ID)
		return run.Status == failover.Paused, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.Apply(t.Context(), []config.File{{Name: "all.yaml", Content: broken}}, false); err != nil {
		t.Errorf("what is there already cannot be applied under the run: %v", err)
	}
	_, err = api.Apply(t.Context(), []config.File{{Name: "all.yaml", Content: simulated}}, false)
	if !omni.Is(err, omni.CodeConflict) || !strings.Contains(err.Error(), run.ID) {
		t.Errorf("a placement may change under the run %s: %v", run.ID, err)
	}
	if err := api.DeleteTenant(t.Context(), "acme", true); err != nil {
		t.Fatal(err)
	}
	if run, err = api.Failover(t.Context(), run.ID); err != nil || run.Status != failover.Aborted {
		t.Errorf("the run of the tenant that is no more is %s (%v)", run.Status, err)
	}
}
