package daemon

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// FailpointFrom reads OMNID_FAILPOINT, by which the fault tests kill omnid at a chosen instant: "NAME" or "NAME@N" sends SIGKILL to the
// own process the N-th time (default: first) that the point NAME is reached. Empty means never, and costs nothing.
func FailpointFrom(text string) func(name string) {
	if text == "" {
		return nil
	}
	wanted, count, _ := strings.Cut(text, "@")
	left := new(atomic.Int64)
	left.Store(1)
	if n, err := strconv.ParseInt(count, 10, 64); err == nil && n > 0 {
		left.Store(n)
	}
	return func(name string) {
		if name == wanted && left.Add(-1) == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // there is no after
			select {}
		}
	}
}
