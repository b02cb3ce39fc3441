package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how many times longer things may take than they should: the race detector slows everything, and so do other tests.
func patience(d time.Duration) time.Duration {
	if raceEnabled {
		return 5 * d
	}
	return 2 * d
}

// eventually polls until attempt gives nil, and fails the test with its last error after the limit.
func eventually(t *testing.T, limit time.Duration, what string, attempt func() error) {
	t.Helper()
	begun := time.Now()
	for {
		err := attempt()
		if err == nil {
			return
		}
		if time.Since(begun) > limit {
			t.Fatalf("%s: still not so after %s: %v", what, limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// omnid is one real omnid on free ports of the loopback, whose process may die and be started again.
type omnid struct {
	name  string
	dir   string   // its working directory; the data directory is data below it
	keys  string   // where admin.token is
	flags []string // besides the common ones
	log   string   // of all its processes

	cmd   *exec.Cmd
	done  chan struct{} // closed when the process has ended
	ready chan readyLine
	readyLine
	took time.Duration // from its start to its ready line
}

// newOmnid prepares an omnid in the directory dir; nothing is started yet.
func newOmnid(t *testing.T, name, dir string, flags ...string) *omnid {
	t.Helper()
	o := &omnid{name: name, dir: dir, keys: filepath.Join(dir, "data"), flags: flags, log: filepath.Join(dir, name+".log")}
	t.Cleanup(func() {
		if o.running() {
			_ = o.cmd.Process.Kill() // ends a stopped one too
			<-o.done
		}
		text, _ := os.ReadFile(o.log) // one that was never started has none
		for _, bad := range []string{"DATA RACE", "panic:", "panicked", "fatal error:"} {
			if at := bytes.Index(text, []byte(bad)); at >= 0 {
				t.Errorf("%s says:\n%s", name, text[max(0, at-200):min(len(text), at+4000)])
			}
		}
		if t.Failed() {
			t.Logf("the end of %s's log:\n%s", name, text[max(0, len(text)-6000):])
		}
	})
	return o
}

func (o *omnid) running() bool {
	if o.cmd == nil {
		return false
	}
	select {
	case <-o.done:
		return false
	default:
		return true
	}
}

// launch starts the process, with more variables in its environment, and does not wait.
func (o *omnid) launch(t *testing.T, env ...string) {
	t.Helper()
	log, err := os.OpenFile(o.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the process has its own copy
	cmd := exec.CommandContext(context.Background(), filepath.Join(bin, "omnid"), slices.Concat([]string{
		"--data-dir", "data", "--listen", "127.0.0.1:0", "--dns-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
		"--replica-name", o.name,
	}, o.flags)...)
	cmd.Dir, cmd.Stderr = o.dir, log
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + o.dir}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // no omnid outlives the tests
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o.cmd, o.done, o.ready = cmd, make(chan struct{}), make(chan readyLine, 1)
	done, ready := o.done, o.ready
	go func() {
		defer close(done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var line readyLine
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "ready" {
				o.took = time.Since(begun)
				ready <- line
			}
		}
		_ = cmd.Wait() // how it ended is the test's to judge
	}()
}

// start starts the process and waits until it is ready.
func (o *omnid) start(t *testing.T, env ...string) {
	t.Helper()
	o.launch(t, env...)
	if !o.becomesReady(t) {
		t.Fatalf("%s ended before it was ready: %v", o.name, o.cmd.ProcessState)
	}
}

// becomesReady waits for the ready line; false when the process ends instead.
func (o *omnid) becomesReady(t *testing.T) bool {
	t.Helper()
	select {
	case o.readyLine = <-o.ready:
		return true
	case <-o.done:
		return false
	case <-time.After(patience(30 * time.Second)):
		t.Fatalf("%s was not ready in time", o.name)
	}
	return false
}

// kill ends the process with SIGKILL.
func (o *omnid) kill(t *testing.T) {
	t.Helper()
	if err := o.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	<-o.done
}

func (o *omnid) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := o.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// stop ends the process in good order.
func (o *omnid) stop(t *testing.T) {
	t.Helper()
	o.signal(t, syscall.SIGTERM)
	select {
	case <-o.done:
	case <-time.After(patience(20 * time.Second)):
		t.Fatalf("%s did not end after SIGTERM", o.name)
	}
	if !o.cmd.ProcessState.Success() {
		t.Errorf("%s ended with %v after SIGTERM", o.name, o.cmd.ProcessState)
	}
}

// killedItself says whether the process has ended by a failpoint.
func (o *omnid) killedItself() bool {
	status, ok := o.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// said counts the lines of its log that hold text.
func (o *omnid) said(t *testing.T, text string) int {
	t.Helper()
	log, err := os.ReadFile(o.log)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(log, []byte(text))
}

// problem is an error answer.
type problem struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Detail) }

// client has a bound for each request, since frozen omnids do not answer. Connections are not kept: a killed omnid's would only fail.
var client = sync.OnceValue(func() *http.Client {
	return &http.Client{Timeout: patience(10 * time.Second), Transport: &http.Transport{DisableKeepAlives: true}}
})

// call asks the API. An error answer is a *problem.
func (o *omnid) call(method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+o.Listen+path, body)
	if err != nil {
		return err
	}
	token, err := os.ReadFile(filepath.Join(o.keys, "admin.token"))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	answer, err := client().Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // it was read
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode >= http.StatusBadRequest {
		p := &problem{Status: answer.StatusCode}
		if err := json.Unmarshal(data, p); err != nil {
			p.Detail = string(data)
		}
		return p
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

// verify runs `omnid verify`, which must find nothing, whether omnid runs or not; and has the running one verify its audit logs.
func (o *omnid) verify(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience(30*time.Second))
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "omnid"), append([]string{"verify", "--data-dir", "data"}, o.flags...)...)
	cmd.Dir, cmd.Env = o.dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + o.dir}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("omnid verify (running: %v): %v\n%s", o.running(), err, out)
	}
	if !o.running() {
		return
	}
	var report struct {
		OK   bool `json:"ok"`
		Logs []struct {
			Entries int64 `json:"entries"`
		} `json:"logs"`
	}
	if err := o.call(http.MethodGet, "/api/v1/audit/verify", nil, &report); err != nil {
		t.Error(err)
	} else if !report.OK || len(report.Logs) == 0 {
		t.Errorf("the audit logs do not verify: %+v", report)
	}
}
