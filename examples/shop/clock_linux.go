package shop

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// monotonic is nanoseconds on a clock that all processes of this machine share and that nobody sets; it starts anew with each
// boot, which boot names.
func monotonic() (nanoseconds int64, boot string) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return time.Now().UnixNano(), ""
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(id) < 8 {
		return time.Now().UnixNano(), ""
	}
	return ts.Nano(), string(id[:8])
}

// processStarted gives when a process started, in ticks since boot, and whether it runs (proc_pid_stat(5), fields 3 and 22).
func processStarted(pid int) (string, bool) {
	if pid <= 0 {
		return "", false
	}
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", false
	}
	// The name, in parentheses, may hold anything; what follows the last one is numbers.
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return "", false
	}
	_, boot := monotonic()
	return fields[19] + "@" + boot, true
}
