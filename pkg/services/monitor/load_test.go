package monitor_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/services/monitor"
)

// TestMain is also the server that the load tests probe ("serve"): a process of its own, so that only the probing is measured.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "serve" {
		os.Exit(serve())
	}
	databasetest.Main(m)
}

// serve answers 200 to everything until its stdin ends.
func serve() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 1
	}
	fmt.Println(l.Addr())
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadHeaderTimeout: time.Minute}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Close()
	}()
	_ = server.Serve(l)
	return 0
}

// served starts such a server and gives its address.
func served(tb testing.TB) string {
	tb.Helper()
	cmd := exec.Command(os.Args[0], "serve") // it ends with its stdin
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSpace(address)
}

// lateness gathers how late questions were asked.
type lateness struct {
	mu      sync.Mutex
	late    []time.Duration
	failed  int
	skipped int64
}

func (l *lateness) ProbeAnswered(_ string, _ infra.ProbeType, ok bool, _, late time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late = append(l.late, late)
	if !ok {
		l.failed++
	}
}

func (l *lateness) ProbeSkipped(_ string, _ infra.ProbeType, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.skipped += n
}

// percentile sorts the list and gives its p-th percentile.
func percentile(list []time.Duration, p int) time.Duration {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[min(len(list)*p/100, len(list)-1)]
}

func cpu(tb testing.TB) time.Duration {
	tb.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// load is what probing cost.
type load struct {
	*lateness
	cpu, wall time.Duration
}

// probing watches a thousand http probes of one second for a while, behind a second in which the connections are made.
func probing(tb testing.TB, address string, while time.Duration) load {
	tb.Helper()
	const probes = 1000
	region := infra.Region{Name: "east"}
	for z := range 16 {
		zone := infra.Zone{Name: fmt.Sprintf("z%d", z)}
		for p := z; p < probes; p += 16 {
			zone.Probes = append(zone.Probes, infra.Probe{
				Name: fmt.Sprintf("p%d", p), Type: infra.ProbeHTTP, Target: "http://" + address,
				Interval: omni.Duration(time.Second), Timeout: omni.Duration(time.Second),
			})
		}
		region.Spec.Zones = append(region.Spec.Zones, zone)
	}
	l := &lateness{}
	s := monitor.New(monitor.Options{Observer: "r1", Metrics: l, Now: time.Now})
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() {
		done <- s.Run(ctx, func(context.Context) ([]infra.Region, error) { return []infra.Region{region}, nil })
	}()
	time.Sleep(time.Second + 200*time.Millisecond)
	l.mu.Lock()
	l.late, l.failed, l.skipped = l.late[:0], 0, 0
	l.mu.Unlock()
	start, spent := time.Now(), cpu(tb)
	time.Sleep(while)
	out := load{lateness: l, cpu: cpu(tb) - spent, wall: time.Since(start)}
	cancel()
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
	return out
}

// BenchmarkThousandProbesASecond runs for ten seconds on one core, whatever b.N is: what counts is how late questions are
// asked, and which share of the core it takes.
func BenchmarkThousandProbesASecond(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	address := served(b)
	for b.Loop() {
		l := probing(b, address, 10*time.Second)
		b.ReportMetric(float64(len(l.late))/l.wall.Seconds(), "probes/s")
		b.ReportMetric(float64(percentile(l.late, 50).Microseconds()), "late-p50-µs")
		b.ReportMetric(float64(percentile(l.late, 99).Microseconds()), "late-p99-µs")
		b.ReportMetric(float64(percentile(l.late, 100).Microseconds()), "late-max-µs")
		b.ReportMetric(100*l.cpu.Seconds()/l.wall.Seconds(), "%core")
		b.ReportMetric(float64(l.failed), "failed")
		b.ReportMetric(float64(l.skipped), "skipped")
	}
}

// The cost of a probe is compared with that of a plain request, and its lateness with that of plain timers at the same time, so that
// the bounds hold on a slow or busy machine too.
func TestAThousandProbesASecondAreOnTime(t *testing.T) {
	if testing.Short() {
		t.Skip("takes four seconds")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	address := served(t)

	const plain = 1000
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	before := cpu(t)
	for range plain {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	request := (cpu(t) - before) / plain

	ctx, cancel := context.WithCancel(t.Context())
	timers := make(chan []time.Duration)
	go func() { timers <- ticks(ctx) }()
	l := probing(t, address, 2*time.Second)
	cancel()
	timer := percentile(<-timers, 99)

	if n := len(l.late); n < 1900 || l.failed > 0 || l.skipped > 0 {
		t.Errorf("%d answers in 2s, %d failed, %d skipped; want about 2000 good ones", n, l.failed, l.skipped)
	}
	probe, late := l.cpu/time.Duration(max(len(l.late), 1)), percentile(l.late, 99)
	t.Logf("a probe costs %s, a plain request %s; 99%% are at most %s late, plain timers %s", probe, request, late, timer)
	if probe > 4*request {
		t.Errorf("a probe costs %s of a core, a plain request %s", probe, request)
	}
	if late > 4*timer+20*time.Millisecond {
		t.Errorf("1%% of the questions are more than %s late, of plain timers %s", late, timer)
	}
}

// ticks says how late a timer of 5 ms was each time, until ctx ends.
func ticks(ctx context.Context) (late []time.Duration) {
	for ctx.Err() == nil {
		start := time.Now()
		time.Sleep(5 * time.Millisecond)
		late = append(late, time.Since(start)-5*time.Millisecond)
	}
	return late
}
