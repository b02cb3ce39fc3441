package provider

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// grace is how long output is still read after a process has ended or was killed: something that it left running may hold
// the pipes open for ever.
const grace = 500 * time.Millisecond

// Runner runs programs, a bounded number at a time, each in a process group of its own that is killed as one. It is safe
// for concurrent use.
type Runner struct{ slots chan struct{} }

// NewRunner makes a Runner for at most parallel processes at a time.
func NewRunner(parallel int) *Runner { return &Runner{slots: make(chan struct{}, parallel)} }

// Program is what to run.
type Program struct {
	Argv    []string      // the program, looked up in omnid's PATH when it has no slash, and its arguments
	Env     []string      // the whole environment
	Timeout time.Duration // counted from the start of the process, not from its wait for a slot
}

// Exit is how a process ended.
type Exit struct {
	Code     int            // its exit code; -1 when it was killed
	Signal   syscall.Signal // what killed it, 0 when it ended by itself
	TimedOut bool           // it was killed at its timeout
	Stdout   []byte         // the beginning, at most MaxState+1 bytes
	Text     string         // the last lines of stderr, or of stdout if there was nothing on stderr
}

// Run waits for a slot, runs the program, and returns how it ended. Errors are CodeUnavailable: it could not be started, or ctx ended
// (also then its process group is killed before Run returns).
func (r *Runner) Run(ctx context.Context, p Program) (Exit, error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return Exit{}, omni.Errorf(omni.CodeUnavailable, "gave up waiting for one of %d places to run %s: %w", cap(r.slots), p.Argv[0], ctx.Err()).
			WithHint("other programs run for too long, or too many run at once")
	}
	return run(ctx, p)
}

func run(ctx context.Context, p Program) (Exit, error) {
	timed, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	var out head
	var stdoutTail, stderr Tail
	cmd := exec.CommandContext(timed, p.Argv[0], p.Argv[1:]...) //nolint:gosec // running what the manifest names is the driver's purpose
	cmd.Env = p.Env
	cmd.Stdout = both{&out, &stdoutTail}
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
		return nil
	}
	cmd.WaitDelay = grace
	if err := cmd.Start(); err != nil {
		if ctx.Err() != nil {
			return Exit{}, interrupted(p, ctx.Err())
		}
		return Exit{}, notStarted(p, err)
	}
	err := cmd.Wait()
	res := Exit{Code: cmd.ProcessState.ExitCode(), Stdout: out.Bytes(), Text: stderr.String()}
	if res.Text == "" {
		res.Text = stdoutTail.String()
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		res.Signal = status.Signal()
	}
	if cmd.ProcessState.Success() && (err == nil || errors.Is(err, exec.ErrWaitDelay)) {
		return res, nil // it ended by itself, even if something that it started still holds its output
	}
	if ctx.Err() != nil {
		return res, interrupted(p, ctx.Err())
	}
	res.TimedOut = timed.Err() != nil && res.Signal == syscall.SIGKILL
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) && !res.TimedOut {
		return res, omni.Errorf(omni.CodeUnavailable, "%s could not be followed to its end: %w", p.Argv[0], err)
	}
	return res, nil
}

func interrupted(p Program, cause error) error {
	return omni.Errorf(omni.CodeUnavailable, "%s was interrupted before it had ended: %w", p.Argv[0], cause)
}

func notStarted(p Program, cause error) error {
	e := omni.Errorf(omni.CodeUnavailable, "%s could not be started: %w", Shorten(p.Argv[0], 256), cause)
	switch {
	case errors.Is(cause, exec.ErrNotFound), errors.Is(cause, os.ErrNotExist):
		return e.WithHint("give the program's full path; to give it arguments write command as a list, [program, argument, …]")
	case errors.Is(cause, os.ErrPermission):
		return e.WithHint("make the file executable for the user that omnid runs as")
	case errors.Is(cause, syscall.ENOEXEC):
		return e.WithHint("a script needs a first line such as #!/bin/sh")
	}
	return e
}

// head keeps the beginning of what is written, and takes any amount.
type head struct{ bytes.Buffer }

func (h *head) Write(text []byte) (int, error) {
	if room := MaxState + 1 - h.Len(); room > 0 {
		h.Buffer.Write(text[:min(room, len(text))])
	}
	return len(text), nil
}

// both gives what is written to both of its parts, which take everything.
type both struct {
	first *head
	last  *Tail
}

func (b both) Write(text []byte) (int, error) {
	if _, err := b.first.Write(text); err != nil {
		return 0, err
	}
	return b.last.Write(text)
}
