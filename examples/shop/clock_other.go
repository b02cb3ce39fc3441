//go:build !linux

package shop

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// monotonic falls back to the wall clock, which all processes share.
func monotonic() (nanoseconds int64, boot string) { return time.Now().UnixNano(), "" }

// processStarted asks ps when a process started, and whether it runs.
func processStarted(pid int) (string, bool) {
	if pid <= 0 {
		return "", false
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ps", "-o", "stat=,lstart=", "-p", strconv.Itoa(pid)).Output() //nolint:gosec // a number
	stat, started, found := strings.Cut(strings.TrimSpace(string(out)), " ")
	if err != nil || !found || strings.HasPrefix(stat, "Z") {
		return "", false
	}
	return strings.TrimSpace(started), true
}
