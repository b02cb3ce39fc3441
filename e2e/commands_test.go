package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"
)

// commands are the words that scripts have besides testscript's own.
func commands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"start": cmdStart,
		"halt":  cmdHalt,
		"dies":  cmdDies,
		"until": cmdUntil,
		"dig":   cmdDig,
		"field": cmdField,
		"exits": cmdExits,
		"certs": cmdCerts,
		// secure points omnictl at the https address of the omnid that was started last.
		"secure": func(ts *testscript.TestScript, _ bool, _ []string) {
			ts.Setenv("OMNI_SERVER", strings.Replace(ts.Getenv("OMNI_SERVER"), "http://", "https://", 1))
		},

		"shows":     cmdShows,
		"interrupt": cmdInterrupt,
		"has":       cmdHas,
		"patch":     cmdPatch,
		"tmpfs":     cmdTmpfs,
	}
}

type daemonsKey struct{}

// daemons are the omnids that a script has started, by name.
type daemons struct {
	mu      sync.Mutex
	running map[string]*daemon
}

type daemon struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// readyLine is what omnid prints once it serves.
type readyLine struct {
	Msg     string `json:"msg"`
	Listen  string `json:"listen"`
	DNS     string `json:"dns"`
	Metrics string `json:"metrics"`
	DataDir string `json:"data_dir"`
}

// cmdStart: start NAME [ENV=VALUE…] [flags of omnid…] starts an omnid on free ports with the data directory $WORK/NAME, waits until it
// is ready and points omnictl at it. Its log is $WORK/NAME.log.
func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: start NAME [ENV=VALUE…] [flags…]")
	}
	name, dir := args[0], ts.MkAbs(args[0])
	d, ready := launch(ts, name, args[1:])
	all := ts.Value(daemonsKey{}).(*daemons)
	all.mu.Lock()
	all.running[name] = d
	all.mu.Unlock()
	select {
	case line := <-ready:
		ts.Setenv("OMNI_SERVER", "http://"+line.Listen)
		ts.Setenv("LISTEN", line.Listen)
		ts.Setenv("OMNI_TOKEN_FILE", filepath.Join(dir, "admin.token"))
		ts.Setenv("OMNI_DNS", line.DNS)
		ts.Setenv("OMNI_METRICS", line.Metrics)
	case <-d.done:
		text, _ := os.ReadFile(dir + ".log") // for the message only
		ts.Fatalf("omnid ended before it was ready:\n%s", text)
	case <-time.After(30 * time.Second):
		ts.Fatalf("omnid was not ready after 30 s")
	}
}

// launch starts an omnid; ready gets its ready line.
func launch(ts *testscript.TestScript, name string, args []string) (d *daemon, ready chan readyLine) {
	env := append(os.Environ(), "HOME="+ts.Getenv("HOME"))
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") && strings.Contains(args[0], "=") {
		env, args = append(env, args[0]), args[1:]
	}
	dir := ts.MkAbs(name)
	log, err := os.OpenFile(dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	cmd := exec.CommandContext(context.Background(), filepath.Join(bin, "omnid"), slices.Concat([]string{
		"--data-dir", dir, "--listen", "127.0.0.1:0", "--dns-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
	}, args)...)
	cmd.Dir, cmd.Env, cmd.Stderr = ts.MkAbs("."), env, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // no omnid outlives the tests
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	err = cmd.Start()
	_ = log.Close() // the process has its own handle
	ts.Check(err)
	d = &daemon{cmd: cmd, done: make(chan struct{})}
	ready = make(chan readyLine, 1)
	go func() {
		defer close(d.done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var line readyLine
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "ready" {
				ready <- line
			}
		}
		_ = cmd.Wait() // how it ended is the script's to judge
	}()
	return d, ready
}

// cmdHalt: halt NAME [-kill|-stop|-cont] ends an omnid in good order, or with SIGKILL; or only sends it SIGSTOP or SIGCONT.
func cmdHalt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: halt NAME [-kill|-stop|-cont]")
	}
	all := ts.Value(daemonsKey{}).(*daemons)
	all.mu.Lock()
	d := all.running[args[0]]
	all.mu.Unlock()
	if d == nil {
		ts.Fatalf("no omnid is called %s", args[0])
	}
	sig := syscall.SIGTERM
	if len(args) > 1 {
		sig = map[string]syscall.Signal{"-kill": syscall.SIGKILL, "-stop": syscall.SIGSTOP, "-cont": syscall.SIGCONT}[args[1]]
	}
	ts.Check(d.cmd.Process.Signal(sig))
	if sig == syscall.SIGSTOP || sig == syscall.SIGCONT {
		return
	}
	select {
	case <-d.done:
	case <-time.After(30 * time.Second):
		ts.Fatalf("omnid did not end within 30 s of signal %v", sig)
	}
	if sig == syscall.SIGTERM && !d.cmd.ProcessState.Success() {
		ts.Fatalf("omnid ended with %v", d.cmd.ProcessState)
	}
	all.mu.Lock()
	delete(all.running, args[0])
	all.mu.Unlock()
}

// cmdDies: dies NAME [ENV=VALUE…] [flags of omnid…] starts an omnid that must end by itself, within 60 s, and not in good order.
func cmdDies(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: dies NAME [ENV=VALUE…] [flags…]")
	}
	d, _ := launch(ts, args[0], args[1:])
	select {
	case <-d.done:
	case <-time.After(time.Minute):
		_ = d.cmd.Process.Kill() // the script fails anyway
		<-d.done
		ts.Fatalf("omnid was alive after a minute")
	}
	if d.cmd.ProcessState.Success() {
		ts.Fatalf("omnid ended in good order")
	}
}

func (d *daemons) stopAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range d.running {
		_ = one.cmd.Process.Signal(syscall.SIGCONT) // it may have been stopped
		_ = one.cmd.Process.Kill()                  // it may have ended by itself
		<-one.done
	}
}

// cmdUntil: until [-SECONDS] PROGRAM ARG… runs a program again and again until it succeeds (with !: fails), for at most 30 s.
func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	limit := 30 * time.Second
	if len(args) > 0 && strings.HasPrefix(args[0], "-") {
		seconds, err := strconv.Atoi(args[0][1:])
		ts.Check(err)
		limit, args = time.Duration(seconds)*time.Second, args[1:]
	}
	deadline := time.Now().Add(limit)
	for {
		err := ts.Exec(args[0], args[1:]...)
		if (err == nil) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("still not so after %s: %v (%v)", limit, args, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// cmdExits: exits CODE PROGRAM ARG… runs a program that must end with CODE.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ended := errors.AsType[*exec.ExitError](err); ended {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// cmdDig: dig NAME TYPE VALUE… asks omnid's DNS over the wire until it answers exactly these values (none: no such name), for 10 s.
func cmdDig(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: dig NAME TYPE VALUE…")
	}
	want := slices.Sorted(slices.Values(args[2:]))
	deadline := time.Now().Add(10 * time.Second)
	for {
		got, err := ask(ts.Getenv("OMNI_DNS"), args[0], args[1])
		if err == nil && slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s %s: the server answers %v (%v), want %v", args[0], args[1], got, err, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func ask(server, name, typ string) ([]string, error) {
	question := new(dns.Msg)
	question.SetQuestion(dns.Fqdn(name), dns.StringToType[typ])
	answer, _, err := new(dns.Client).Exchange(question, server)
	if err != nil {
		return nil, err
	}
	values := []string{}
	for _, rr := range answer.Answer {
		values = append(values, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	slices.Sort(values)
	return values, nil
}

// cmdField: field ENV JSON-FIELD sets ENV to a field of the JSON object that the last program wrote to stdout.
func cmdField(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: field ENV FIELD")
	}
	var object map[string]any
	if err := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout"))).Decode(&object); err != nil && !errors.Is(err, io.EOF) {
		ts.Fatalf("stdout is no JSON object: %v", err)
	}
	value, ok := object[args[1]]
	if !ok {
		ts.Fatalf("stdout has no field %q", args[1])
	}
	ts.Setenv(args[0], fmt.Sprint(value))
}
