package exec_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/provider"
	"github.com/omnicloud/omnicloud/pkg/provider/exec"
	"github.com/omnicloud/omnicloud/pkg/provider/providertest"
)

// TestMain is also the agent that the contract test has the driver run: "agent QUIRK STATEFILE ACTION".
func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == "agent" {
		os.Exit(agent(providertest.Quirk(os.Args[2]), os.Args[3], os.Args[4]))
	}
	goleak.VerifyTestMain(m)
}

// world is what the agent keeps between its runs.
type world struct {
	Role    string
	Epoch   int64
	Done    map[string]bool
	Effects []string
}

func agent(quirk providertest.Quirk, file, action string) int {
	switch quirk {
	case providertest.Hangs:
		time.Sleep(time.Hour)
	case providertest.Fails:
		fmt.Fprintln(os.Stderr, "mounting")
		fmt.Fprintln(os.Stderr, providertest.Complaint)
		return 1
	case providertest.Floods:
		for range 4096 {
			fmt.Println(strings.Repeat("o", 1024))
			fmt.Fprintln(os.Stderr, strings.Repeat("e", 1024))
		}
		fmt.Fprintln(os.Stderr, providertest.Complaint)
		return 1
	case providertest.Obedient, providertest.Unsupported, providertest.Nonsense:
	}
	w := load(file)
	epoch, err := strconv.ParseInt(os.Getenv("OMNI_EPOCH"), 10, 64)
	key := os.Getenv("OMNI_RUN") + "/" + os.Getenv("OMNI_STEP")
	switch {
	case err != nil:
		return 1
	case action == "check" && quirk == providertest.Nonsense:
		fmt.Println("all is well")
		return 0
	case action == "check":
		fmt.Printf("{%q:%q,%q:true}\n", "role", w.Role, "healthy")
		return 0
	case action == "fence" && quirk == providertest.Unsupported:
		return 3
	case epoch < w.Epoch:
		fmt.Fprintln(os.Stderr, "a newer leader was here")
		return 4
	}
	w.Epoch = epoch
	if !w.Done[key] {
		w.Done[key] = true
		w.Effects = append(w.Effects, fmt.Sprintf("%s %s %d", action, key, epoch))
		if w.Role = provider.RoleAfter(provider.Action(action)); action == "start" {
			w.Role = "standby"
		}
	}
	raw, _ := json.Marshal(w)
	if os.WriteFile(file, raw, 0o600) != nil {
		return 1
	}
	return 0
}

func load(file string) world {
	w := world{Role: "standby", Done: map[string]bool{}}
	if raw, err := os.ReadFile(file); err == nil {
		_ = json.Unmarshal(raw, &w)
	}
	return w
}

func TestContract(t *testing.T) {
	providertest.Run(t, func(*testing.T) providertest.Subject {
		return providertest.Subject{
			Driver: exec.New(exec.Options{Path: os.Getenv("PATH"), Parallel: 8}),
			Target: func(t *testing.T, q providertest.Quirk) (provider.Target, bool) {
				t.Helper()
				config := map[string]any{"command": []any{os.Args[0], "agent", string(q), filepath.Join(t.TempDir(), "state")}}
				config["env"] = map[string]any{"GORACE": "atexit_sleep_ms=0"} // the agent is this test program
				if q == providertest.Hangs {
					config["timeout"] = providertest.HangTimeout.String()
				}
				return provider.Target{Tenant: "acme", Resource: "db", Region: "east", Config: config}, true
			},
			Effects: func(_ *testing.T, target provider.Target) []string {
				argv, _ := target.Config["command"].([]any)
				return load(fmt.Sprint(argv[3])).Effects
			},
			BadConfigs: map[string]map[string]any{
				"command":    {"command": []any{}},
				"command[1]": {"command": []any{"x", map[string]any{}}},
				"timeout":    {"command": "x", "timeout": 30},
				"env":        {"command": "x", "env": map[string]any{"A=B": "c"}},
				"env.OMNI_X": {"command": "x", "env": map[string]any{"OMNI_X": "y"}},
			},
		}
	})
}

// script makes a call of a shell script; $DIR is the test's directory.
func script(t *testing.T, text string, more map[string]any) provider.Call {
	t.Helper()
	file := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	config := map[string]any{"command": file, "env": map[string]any{"DIR": filepath.Dir(file)}}
	maps.Copy(config, more)
	return provider.Call{
		Target: provider.Target{Tenant: "acme", Resource: "orders-db", Type: "database", Region: "eu-west-1", Address: "10.0.0.1:5432", Config: config},
		Action: provider.Promote, Role: "active", Run: "run_7", Step: "db/promote", Epoch: 42,
	}
}

func driver() *exec.Driver { return exec.New(exec.Options{Path: os.Getenv("PATH")}) }

func readFile(t *testing.T, c provider.Call, name string) string {
	t.Helper()
	env, _ := c.Target.Config["env"].(map[string]any)
	raw, err := os.ReadFile(filepath.Join(fmt.Sprint(env["DIR"]), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestTheEnvironmentIsWhatIsPromisedAndNothingElse(t *testing.T) {
	t.Setenv("OMNID_SECRET", "must not be seen")
	c := script(t, `echo "$@" > "$DIR/args"; tr '\0' '\n' < /proc/self/environ > "$DIR/env"`, nil)
	if err := driver().Do(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	env, _ := c.Target.Config["env"].(map[string]any)
	want := []string{
		"DIR=" + fmt.Sprint(env["DIR"]), "OMNI_ADDRESS=10.0.0.1:5432", "OMNI_EPOCH=42", "OMNI_REGION=eu-west-1", "OMNI_RESOURCE=orders-db", "OMNI_ROLE=active",
		"OMNI_RUN=run_7", "OMNI_STEP=db/promote", "OMNI_TENANT=acme", "OMNI_TYPE=database", "PATH=" + os.Getenv("PATH"),
	}
	var got []string
	for line := range strings.Lines(readFile(t, c, "env")) {
		if !strings.HasPrefix(line, "PWD=") && !strings.HasPrefix(line, "_=") && !strings.HasPrefix(line, "SHLVL=") { // the shell's own
			got = append(got, strings.TrimSpace(line))
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("environment:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if args := readFile(t, c, "args"); args != "promote\n" {
		t.Errorf("arguments %q, want the action alone", args)
	}
}

func TestExitCodes(t *testing.T) {
	for code, want := range map[int]string{
		0: "", 3: provider.ErrNotSupported.Error(), 4: provider.ErrStaleEpoch.Error(), 1: "promote failed with exit code 1", 127: "exit code 127",
	} {
		err := driver().Do(t.Context(), script(t, fmt.Sprintf("echo ignored; echo first >&2; echo second >&2; exit %d", code), nil))
		if (want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("exit %d: %v, want %q", code, err, want)
		}
		if err != nil && !strings.HasSuffix(err.Error(), ": first\nsecond") {
			t.Errorf("exit %d: %v, want the last lines of stderr", code, err)
		}
	}
	err := driver().Do(t.Context(), script(t, "kill -SEGV $$", nil))
	if !omni.Is(err, omni.CodeUnavailable) || !strings.Contains(err.Error(), "signal") {
		t.Errorf("a crash: %v, want the signal named", err)
	}
	err = driver().Do(t.Context(), script(t, "echo only stdout; exit 9", nil))
	if err == nil || !strings.Contains(err.Error(), "only stdout") {
		t.Errorf("%v, want what was said on stdout when stderr is empty", err)
	}
}

func TestWhatCannotBeStarted(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("exit 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := script(t, "exit 0", nil)
	for command, hint := range map[string]string{"/no/such/agent": "full path", "no-such-agent --flag": "as a list", plain: "executable"} {
		c.Target.Config["command"] = command
		err := driver().Do(t.Context(), c)
		known, ok := err.(*omni.Error) //nolint:errorlint // the very error is meant
		if !ok || known.Code != omni.CodeUnavailable || !strings.Contains(known.Hint, hint) {
			t.Errorf("%s: %#v, want CodeUnavailable with a hint of %q", command, err, hint)
		}
	}
}

func TestCheckReadsOneLineOfJSON(t *testing.T) {
	state, err := driver().Check(t.Context(), script(t, `echo noise >&2; echo '{"role":"standby","healthy":true,"lag_seconds":0.2,"lag_bytes":12}'`, nil))
	if err != nil || state.Role != "standby" || !state.Healthy || state.LagSeconds == nil || *state.LagSeconds != 0.2 || *state.LagBytes != 12 {
		t.Errorf("%+v (%v)", state, err)
	}
	for text, want := range map[string]string{
		`true`:                                "it is empty",
		`echo yes`:                            "not a JSON object",
		`echo '{"role":"king"}'`:              "role is",
		`echo '{"role":"active"'`:             "unexpected end",
		`echo '{}'; echo '{}'`:                "2 lines",
		`head -c 3000000 /dev/zero`:           "longer than",
		`yes '{"healthy":true}' | head -9000`: "longer than",
	} {
		if _, err := driver().Check(t.Context(), script(t, text, nil)); !omni.Is(err, omni.CodeInternal) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// gone waits until a process has ended (or is a zombie that only its parent can remove).
func gone(t *testing.T, pid int) bool {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return true
		}
	}
	return false
}

func TestTheTimeoutKillsTheWholeGroup(t *testing.T) {
	c := script(t, `sh -c 'trap "" TERM INT; echo $$ > "$DIR/pid"; sleep 300' & wait`, map[string]any{"timeout": "700ms"})
	start := time.Now()
	err := driver().Do(t.Context(), c)
	if !omni.Is(err, omni.CodeUnavailable) || !strings.Contains(err.Error(), "within 700ms") {
		t.Errorf("%v, want the timeout named", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(readFile(t, c, "pid")))
	if err != nil {
		t.Fatal(err)
	}
	if !gone(t, pid) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		t.Errorf("the grandchild %d still runs", pid)
	}
}

func TestWhatOutlivesTheActionDoesNotHoldItUp(t *testing.T) {
	started := script(t, `sleep 20 & echo $! > "$DIR/pid"; exit 0`, nil)
	start := time.Now()
	if err := driver().Do(t.Context(), started); err != nil {
		t.Errorf("an action that leaves a server behind: %v", err)
	}
	escaped := script(t, `setsid sleep 20 & echo $! > "$DIR/pid"; wait`, map[string]any{"timeout": "300ms"})
	if err := driver().Do(t.Context(), escaped); !omni.Is(err, omni.CodeUnavailable) {
		t.Errorf("a hanging action whose child left the group: %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	for _, c := range []provider.Call{started, escaped} {
		pid, err := strconv.Atoi(strings.TrimSpace(readFile(t, c, "pid")))
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGKILL) // also shows that it had been left alive
		}
		if err != nil {
			t.Errorf("what the action left behind: %v", err)
		}
	}
}

func TestProcessesAreBounded(t *testing.T) {
	d := exec.New(exec.Options{Path: os.Getenv("PATH"), Parallel: 3})
	dir := t.TempDir()
	results := make(chan error)
	const calls = 12
	for range calls {
		c := script(t, `f=$(mktemp "$SHARED/run.XXXXXX"); ls "$SHARED" | grep -c run > "$DIR/n"; sleep 0.05; rm "$f"; [ "$(cat "$DIR/n")" -le 3 ]`,
			map[string]any{"timeout": "20s"})
		env, _ := c.Target.Config["env"].(map[string]any)
		env["SHARED"] = dir
		go func() { results <- d.Do(t.Context(), c) }()
	}
	for range calls {
		if err := <-results; err != nil {
			t.Errorf("more than 3 ran at once: %v", err)
		}
	}
}
