package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdShows: shows [-SECONDS] PATTERN PROGRAM ARG… runs a program again and again until its stdout matches PATTERN (with !: does not), for
// at most 30 s. Its exit code does not count.
func cmdShows(ts *testscript.TestScript, neg bool, args []string) {
	limit := 30 * time.Second
	if len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		seconds, err := strconv.Atoi(args[0][1:])
		ts.Check(err)
		limit, args = time.Duration(seconds)*time.Second, args[1:]
	}
	if len(args) < 2 {
		ts.Fatalf("usage: shows [-SECONDS] PATTERN PROGRAM ARG…")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	deadline := time.Now().Add(limit)
	for {
		err := ts.Exec(args[1], args[2:]...)
		if pattern.MatchString(ts.ReadFile("stdout")) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("still not so after %s: %v (%v)", limit, args, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// cmdInterrupt: interrupt PATTERN PROGRAM ARG… starts a program, presses Ctrl-C (SIGINT) once its stderr matches PATTERN, and expects it to
// end with 130. What it wrote to stderr is then in $WORK/interrupted.
func cmdInterrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: interrupt PATTERN PROGRAM ARG…")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	errs := &signalBuffer{pattern: pattern, seen: make(chan struct{})}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, args[1]), args[2:]...)
	cmd.Dir, cmd.Stderr = ts.MkAbs("."), errs
	for _, name := range []string{"PATH", "HOME", "XDG_CONFIG_HOME", "OMNI_SERVER", "OMNI_TOKEN_FILE", "OMNI_DNS"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	ts.Check(cmd.Start())
	select {
	case <-errs.seen:
		ts.Check(cmd.Process.Signal(syscall.SIGINT))
	case <-ctx.Done(): // killed, which Wait tells
	}
	err = cmd.Wait()
	text := errs.text()
	ts.Check(os.WriteFile(ts.MkAbs("interrupted"), text, 0o600))
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 130 {
		ts.Fatalf("it ended with %v, want exit code 130:\n%s", err, text)
	}
}

// signalBuffer closes seen when what was written matches pattern.
type signalBuffer struct {
	mu      sync.Mutex
	data    bytes.Buffer
	pattern *regexp.Regexp
	seen    chan struct{}
	done    bool
}

func (b *signalBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.data.Write(p)
	if !b.done && b.pattern.Match(b.data.Bytes()) {
		b.done = true
		close(b.seen)
	}
	return n, err
}

func (b *signalBuffer) text() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.data.Bytes())
}

// cmdHas: has FILE FIELD… says that a file holds a JSON object with all of these fields, none of them null.
func cmdHas(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: has FILE FIELD…")
	}
	var object map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &object))
	for _, name := range args[1:] {
		if object[name] == nil {
			ts.Fatalf("%s has no field %s", args[0], name)
		}
	}
}

// cmdPatch: patch FILE OLD NEW replaces the first OLD in a file by NEW, of the same length, byte by byte: what somebody with an editor for
// binary files would do.
func cmdPatch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 || len(args[1]) != len(args[2]) {
		ts.Fatalf("usage: patch FILE OLD NEW, with OLD and NEW of the same length")
	}
	file := ts.MkAbs(args[0])
	data, err := os.ReadFile(file)
	ts.Check(err)
	at := bytes.Index(data, []byte(args[1]))
	if at < 0 {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	copy(data[at:], args[2])
	ts.Check(os.WriteFile(file, data, 0o600))
}

// cmdTmpfs: tmpfs DIR SIZE makes a directory on a file system of its own, of SIZE bytes (such as 64m), until the script ends.
func cmdTmpfs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tmpfs DIR SIZE")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	ts.Check(syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+args[1]))
	ts.Defer(func() { ts.Check(syscall.Unmount(dir, syscall.MNT_DETACH)) })
}
