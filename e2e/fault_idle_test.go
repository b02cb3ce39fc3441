package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestIdle measures an omnid that has nothing to do: with embedded etcd and SQLite, and with the regions, probes and a shop of a small
// installation. The bounds are generous, so that a busy machine does not fail them; the figures that count are those that are printed.
func TestIdle(t *testing.T) {
	var o *omnid
	best := time.Hour
	for range 3 {
		o = newOmnid(t, "omnid", t.TempDir())
		o.start(t)
		if best = min(best, o.took); best < 3*time.Second {
			break
		}
		o.stop(t)
	}
	if limit := 3 * time.Second; best > limit && !raceEnabled {
		t.Errorf("ready after %s at best, want less than %s", best, limit)
	}
	_, manifests := openShops(t, o.dir, 1, func(int) shopOptions { return shopOptions{work: time.Millisecond} })
	bare := o.busy(t, 5*time.Second)
	resident := o.resident(t)
	o.apply(t, manifests)
	watching := o.busy(t, 3*time.Second)
	t.Logf("ready in %s; idle: %.1f MiB resident, %.2f %% of a core; with two regions of two probes a second: %.1f MiB, %.2f %%",
		best.Round(time.Millisecond), resident, bare, o.resident(t), watching)
	if raceEnabled {
		return
	}
	if limit := 200.0; o.resident(t) > limit {
		t.Errorf("%.1f MiB resident, want at most %.0f", o.resident(t), limit)
	}
	if limit := 10.0; bare > limit {
		t.Errorf("%.2f %% of a core when idle, want at most %.0f", bare, limit)
	}
	o.stop(t)
}

// resident is how much memory the process has, in MiB.
func (o *omnid) resident(t *testing.T) float64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(o.cmd.Process.Pid), "status"))
	if err != nil {
		t.Skip("there is no /proc to measure with")
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	var kib float64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}

// busy is how much of a core the process uses during a time, in percent; what it starts, such as exec probes, does not count.
func (o *omnid) busy(t *testing.T, during time.Duration) float64 {
	t.Helper()
	used := func() float64 {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(o.cmd.Process.Pid), "stat"))
		if err != nil {
			t.Skip("there is no /proc to measure with")
		}
		_, rest, _ := strings.Cut(string(text), ") ") // behind the name, the fields from the third on
		fields := strings.Fields(rest)
		user, err1 := strconv.ParseFloat(fields[11], 64)
		system, err2 := strconv.ParseFloat(fields[12], 64)
		if err1 != nil || err2 != nil {
			t.Fatalf("/proc/…/stat: %q", text)
		}
		const ticks = 100 // a second, on Linux
		return (user + system) / ticks
	}
	before, begun := used(), time.Now()
	time.Sleep(during)
	return 100 * (used() - before) / time.Since(begun).Seconds()
}
