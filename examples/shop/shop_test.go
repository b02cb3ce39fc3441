package shop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/omnicloud/omnicloud/examples/shop"
)

// TestMain lets this test's own binary be the shop's program, so that the processes are real ones.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "shop" {
		os.Exit(shop.Run(os.Args[2:], self(), os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

func self() []string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return []string{exe, "shop"}
}

const patience = 20 * time.Second

// stage is a shop with both regions running, and a name that says where it is.
type stage struct {
	t          *testing.T
	dir        string
	address    map[string]string
	dns        string
	answer     atomic.Value
	steps      int
	mu         sync.Mutex
	acks       []shop.Ack
	stopWriter func() shop.WriterReport
}

func newStage(t *testing.T) *stage {
	t.Helper()
	east, west, err := shop.FreeAddresses(t.Context())
	if err != nil {
		t.Skipf("no loopback addresses: %v", err)
	}
	s := &stage{t: t, dir: t.TempDir(), address: map[string]string{shop.East: east, shop.West: west}}
	if _, err := shop.Setup(s.dir, shop.Options{East: east, West: west, Command: self(), Grace: time.Second, Owner: os.Getpid()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for region := range s.address {
			if _, err := shop.KillRegion(context.Background(), s.dir, region); err != nil {
				t.Error(err)
			}
		}
		s.readLogs()
	})
	for _, region := range []string{shop.West, shop.East} {
		if err := shop.StartRegion(t.Context(), s.dir, region); err != nil {
			t.Fatal(err)
		}
	}
	s.answer.Store(east)
	s.serveDNS()
	s.wait("the standby is in sync", func() bool { return s.status(shop.East, shop.DB).Mode == "synced" && s.lag(shop.West) == 0 })
	return s
}

// readLogs fails the test when a process has crashed or raced, and shows what they all said when it has failed.
func (s *stage) readLogs() {
	logs, _ := filepath.Glob(filepath.Join(s.dir, "*", "*", "log"))
	for _, path := range logs {
		data, err := os.ReadFile(path)
		if err != nil || bytes.Contains(data, []byte("DATA RACE")) || bytes.Contains(data, []byte("panic")) {
			s.t.Errorf("%s: a process has crashed: %v", path, err)
		}
		if s.t.Failed() {
			s.t.Logf("%s:\n%s", path, data)
		}
	}
}

// serveDNS answers for the shop with whatever address the stage says, for no longer than a second.
func (s *stage) serveDNS() {
	s.t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		rr, err := dns.NewRR(fmt.Sprintf("%s 1 IN A %s", q.Question[0].Name, s.answer.Load()))
		if err == nil {
			m.Answer = append(m.Answer, rr)
		}
		_ = w.WriteMsg(m)
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.ActivateAndServe() }()
	s.t.Cleanup(func() {
		_ = server.Shutdown()
		<-ended
	})
	s.dns = conn.LocalAddr().String()
}

func (s *stage) wait(what string, ok func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain: %s", what)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-s.t.Context().Done():
			s.t.Fatal(s.t.Context().Err())
		}
	}
}

// freeze stops a process and returns when none of its threads runs any more.
func (s *stage) freeze(pid int) {
	s.t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		s.t.Fatal(err)
	}
	s.wait("the process has stopped", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, path := range threads {
			data, _ := os.ReadFile(path)
			if fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:])); len(fields) == 0 || fields[0] != "T" {
				return false
			}
		}
		return err == nil
	})
}

func (s *stage) status(region, name string) shop.Status {
	st, err := shop.Ask(s.t.Context(), s.dir, region, name)
	if err != nil {
		return shop.Status{Message: err.Error()}
	}
	return st
}

// lag is what check says of a region's database; -1 when it does not say.
func (s *stage) lag(region string) float64 {
	out := struct {
		Lag *float64 `json:"lag_seconds"`
	}{}
	_ = json.Unmarshal([]byte(s.check(region, "database")), &out)
	if out.Lag == nil {
		return -1
	}
	return *out.Lag
}

// agent runs the exec driver's command as omnid would, and gives its exit code and output.
func (s *stage) agent(region, kind, action string, epoch int, step string) (int, string) {
	s.t.Helper()
	argv := append(self(), "agent", "--dir", s.dir, action)
	cmd := exec.CommandContext(s.t.Context(), argv[0], argv[1:]...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "OMNI_TENANT=acme", "OMNI_REGION=" + region, "OMNI_TYPE=" + kind,
		"OMNI_RUN=run_1", "OMNI_STEP=" + step, fmt.Sprint("OMNI_EPOCH=", epoch),
		"GORACE=atexit_sleep_ms=0", // the race detector would wait a second at each exit
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func (s *stage) check(region, kind string) string {
	s.t.Helper()
	code, out := s.agent(region, kind, "check", 0, "")
	if code != 0 {
		s.t.Fatalf("check %s %s: exit %d: %s", region, kind, code, out)
	}
	return strings.TrimSpace(out)
}

// do runs an action that must succeed.
func (s *stage) do(region, kind, action string, epoch int) {
	s.t.Helper()
	s.steps++
	if code, out := s.agent(region, kind, action, epoch, fmt.Sprint("step", s.steps)); code != 0 {
		s.t.Fatalf("%s %s in %s: exit %d: %s", action, kind, region, code, out)
	}
}

var kinds = []string{"database", "app", "loadbalancer"}

// move is what a run does: level by level fence there and promote here, then DNS.
func (s *stage) move(from, to string, epoch int) {
	s.t.Helper()
	for _, kind := range kinds {
		s.do(from, kind, "fence", epoch)
		s.do(to, kind, "promote", epoch)
		if out := s.check(to, kind); !strings.Contains(out, `"role":"active","healthy":true`) {
			s.t.Fatalf("%s of %s after its promotion: %s", kind, to, out)
		}
	}
	s.answer.Store(s.address[to])
}

// rejoin lifts the fences of a region.
func (s *stage) rejoin(region string, epoch int) {
	s.t.Helper()
	for _, kind := range kinds {
		s.do(region, kind, "demote", epoch)
	}
	s.wait(region+" has caught up", func() bool { return s.lag(region) == 0 })
}

// write starts the writer.
func (s *stage) write() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan shop.WriterReport, 1)
	go func() {
		r, err := shop.Write(ctx, shop.WriterOptions{DNS: s.dns, Every: 2 * time.Millisecond, Acks: shop.AcksFile(s.dir), OnAck: func(a shop.Ack) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.acks = append(s.acks, a)
		}})
		if err != nil {
			s.t.Error(err)
		}
		ended <- r
	}()
	var once sync.Once
	report := shop.WriterReport{}
	s.stopWriter = func() shop.WriterReport {
		once.Do(func() {
			cancel()
			report = <-ended
		})
		return report
	}
	s.t.Cleanup(func() { s.stopWriter() })
}

// served waits for more orders that a region has acknowledged.
func (s *stage) served(region string, more int) {
	s.t.Helper()
	count := func() (n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, a := range s.acks {
			if a.ServedBy == region {
				n++
			}
		}
		return n
	}
	want := count() + more
	s.wait(fmt.Sprintf("%d more orders in %s", more, region), func() bool { return count() >= want })
}

func (s *stage) audit() shop.AuditReport {
	s.t.Helper()
	r, err := shop.Audit(shop.RegionDir(s.dir, shop.East), shop.RegionDir(s.dir, shop.West), shop.AcksFile(s.dir))
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *stage) clean() shop.AuditReport {
	s.t.Helper()
	report := s.stopWriter()
	r := s.audit()
	if r.Lost != 0 || r.TwoWriters || r.Duplicates != 0 || r.Acknowledged != report.Acknowledged || r.Acknowledged == 0 {
		s.t.Fatalf("writer %+v, audit %+v", report, r)
	}
	return r
}

func TestARegionDiesAndTheShopGoesOn(t *testing.T) {
	s := newStage(t)
	s.write()
	s.served(shop.East, 50)

	pids, err := shop.KillRegion(t.Context(), s.dir, shop.East)
	if err != nil || len(pids) != 3 {
		t.Fatalf("killed %v: %v", pids, err)
	}
	killed := time.Now()
	for _, kind := range kinds {
		if out := s.check(shop.East, kind); !strings.Contains(out, `"role":"stopped","healthy":false`) {
			t.Fatalf("%s of the dead region: %s", kind, out)
		}
	}
	if lag := s.lag(shop.West); lag != 0 {
		t.Fatalf("the standby of a dead database has everything, but says that it lags %v s", lag)
	}
	s.move(shop.East, shop.West, 1)
	s.served(shop.West, 1)
	t.Logf("first order in the west %s after the kill", time.Since(killed).Round(time.Millisecond))
	s.served(shop.West, 50)
	if out := s.check(shop.East, "database"); !strings.Contains(out, `"role":"fenced","healthy":false`) {
		t.Fatalf("the dead database is not fenced: %s", out)
	}

	// The region comes back: its processes start as what they were told while they were dead, and take no orders.
	if err := shop.StartRegion(t.Context(), s.dir, shop.East); err != nil {
		t.Fatal(err)
	}
	for _, name := range shop.Names() {
		if st := s.status(shop.East, name); st.Role != shop.Fenced || st.Accepts {
			t.Fatalf("%s has started as %+v", name, st)
		}
	}
	if code, body := post(t, s.address[shop.East], 7401, `{"id":"x","item":"y"}`); code != http.StatusServiceUnavailable {
		t.Fatalf("the fenced database answered %d: %s", code, body)
	}
	s.rejoin(shop.East, 1)
	s.wait("the databases are in sync", func() bool { return s.status(shop.West, shop.DB).Mode == "synced" })

	// And back, planned.
	s.move(shop.West, shop.East, 1)
	s.served(shop.East, 50)
	s.rejoin(shop.West, 1)
	s.served(shop.East, 50)
	if r := s.clean(); r.Survivor != shop.East {
		t.Fatalf("%+v", r)
	}
}

func TestADeadRegionIsFencedAndRejoinsWhenItsProcessesDoNotRun(t *testing.T) {
	s := newStage(t)
	s.write()
	s.served(shop.East, 10)
	if _, err := shop.KillRegion(t.Context(), s.dir, shop.East); err != nil {
		t.Fatal(err)
	}
	s.move(shop.East, shop.West, 1)
	s.served(shop.West, 10)
	s.rejoin(shop.East, 2) // the agent starts them
	s.move(shop.West, shop.East, 2)
	s.served(shop.East, 10)
	s.clean()
}

func TestAFrozenDatabase(t *testing.T) {
	t.Run("is killed by the fence", func(t *testing.T) {
		s := newStage(t)
		pid := s.status(shop.East, shop.DB).PID
		s.freeze(pid)
		began := time.Now()
		s.do(shop.East, "database", "fence", 1)
		if took := time.Since(began); took > 4*time.Second {
			t.Fatalf("the fence took %s", took)
		}
		if out := s.check(shop.East, "database"); !strings.Contains(out, `"role":"fenced","healthy":false`) {
			t.Fatalf("check: %s", out)
		}
	})
	t.Run("that nobody fenced takes no orders once it wakes", func(t *testing.T) {
		s := newStage(t)
		s.write()
		s.served(shop.East, 10)
		pid := s.status(shop.East, shop.DB).PID
		s.freeze(pid)
		s.do(shop.West, "database", "promote", 1) // by force: east was not fenced
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		s.wait("it fences itself", func() bool { return s.status(shop.East, shop.DB).Role == shop.Fenced })
		for _, kind := range kinds[1:] {
			s.do(shop.East, kind, "fence", 1)
			s.do(shop.West, kind, "promote", 1)
		}
		s.answer.Store(s.address[shop.West])
		s.served(shop.West, 10)
		s.stopWriter()
		if r := s.audit(); r.Lost != 0 {
			t.Fatalf("%+v", r)
		}
	})
}

func TestAnOrderIsNotAcknowledgedWhileTheStandbyLacksIt(t *testing.T) {
	s := newStage(t)
	pid := s.status(shop.West, shop.DB).PID
	s.freeze(pid)
	ended := make(chan int, 1)
	began := time.Now()
	go func() {
		code, _ := post(t, s.address[shop.East], 7400, `{"id":"a","item":"b"}`)
		ended <- code
	}()
	select {
	case code := <-ended:
		// The grace is a second since the standby was heard, which is at most a beat or two before it froze.
		if took := time.Since(began); took < 500*time.Millisecond || code != http.StatusCreated {
			t.Fatalf("answered %d after %s", code, took)
		}
	case <-time.After(patience):
		t.Fatal("it does not go on alone")
	}
	if mode := s.status(shop.East, shop.DB).Mode; mode != "alone" {
		t.Fatalf("mode %q", mode)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.wait("it is in sync again", func() bool { return s.status(shop.East, shop.DB).Mode == "synced" && s.lag(shop.West) == 0 })
	if code, body := send(t, s.address[shop.East], 7400, "GET", "/orders/a", ""); code != 200 {
		t.Fatalf("%d: %s", code, body)
	}
}

func TestPromotion(t *testing.T) {
	t.Run("is refused while the other database takes writes", func(t *testing.T) {
		s := newStage(t)
		code, out := s.agent(shop.West, "database", "promote", 1, "s")
		if code != 1 || !strings.Contains(out, "fence it first") {
			t.Fatalf("exit %d: %s", code, out)
		}
		if st := s.status(shop.West, shop.DB); st.Role != shop.Standby {
			t.Fatalf("%+v", st)
		}
	})
	t.Run("waits for what the fenced one has and this one lacks", func(t *testing.T) {
		s := newStage(t)
		s.write()
		s.served(shop.East, 10)
		// Only by ending the standby can the other one go on alone.
		s.do(shop.West, "database", "stop", 0)
		s.served(shop.East, 10)
		s.do(shop.East, "database", "fence", 1)
		s.do(shop.West, "database", "promote", 1)
		for _, kind := range kinds[1:] {
			s.do(shop.East, kind, "fence", 1)
			s.do(shop.West, kind, "promote", 1)
		}
		s.answer.Store(s.address[shop.West])
		s.served(shop.West, 10)
		s.clean()
	})
	t.Run("by force of one that is behind loses orders, and both check and audit say so", func(t *testing.T) {
		s := newStage(t)
		s.write()
		s.served(shop.East, 10)
		s.do(shop.West, "database", "stop", 0)
		s.served(shop.East, 20) // alone, but for one or two that were noted late
		s.stopWriter()
		if _, err := shop.KillRegion(t.Context(), s.dir, shop.East); err != nil {
			t.Fatal(err)
		}
		s.do(shop.West, "database", "start", 0)
		s.wait("the standby knows that it lags", func() bool { return s.lag(shop.West) > 0 })
		s.do(shop.East, "database", "fence", 1)
		s.do(shop.West, "database", "promote", 1)
		if r := s.audit(); r.Lost < 10 || r.TwoWriters || r.Survivor != shop.West {
			t.Fatalf("%+v", r)
		}
		s.do(shop.East, "database", "demote", 1)
		s.wait("the east follows", func() bool { return s.lag(shop.East) == 0 })
		if r := s.audit(); r.Lost < 10 || r.PutAside < 10 {
			t.Fatalf("after the east has joined: %+v", r)
		}
	})
}

func TestAgent(t *testing.T) {
	s := newStage(t)
	refused := func(region, kind, action string, epoch int, want int) {
		t.Helper()
		if code, out := s.agent(region, kind, action, epoch, "late"); code != want {
			t.Fatalf("%s of epoch %d: exit %d, want %d: %s", action, epoch, code, want, out)
		}
	}
	s.do(shop.East, "app", "fence", 7)
	refused(shop.East, "app", "promote", 6, 4)
	refused(shop.East, "app", "dance", 7, 3)
	refused(shop.East, "fridge", "promote", 7, 1)
	refused("mars", "app", "promote", 7, 1)
	if out := s.check(shop.East, "loadbalancer"); !strings.Contains(out, `"role":"active","healthy":false`) {
		t.Fatalf("a load balancer whose app is fenced: %s", out)
	}

	// The same (run, step) again changes nothing, though it is something else by now; nor does it when the process is dead.
	if code, out := s.agent(shop.East, "app", "promote", 7, "once"); code != 0 {
		t.Fatalf("exit %d: %s", code, out)
	}
	s.do(shop.East, "app", "fence", 7)
	refused(shop.East, "app", "promote", 8, 0)
	s.do(shop.East, "app", "fence", 8)
	for _, epoch := range []int{7, 8} {
		code, out := s.agent(shop.East, "app", "promote", epoch, "once")
		if want := map[int]int{7: 4, 8: 0}[epoch]; code != want {
			t.Fatalf("exit %d: %s", code, out)
		}
	}
	if out := s.check(shop.East, "app"); !strings.Contains(out, `"role":"fenced"`) {
		t.Fatalf("an old step was done again: %s", out)
	}
	if _, err := shop.KillRegion(t.Context(), s.dir, shop.East); err != nil {
		t.Fatal(err)
	}
	refused(shop.East, "app", "fence", 7, 4)
	s.do(shop.East, "app", "fence", 8)
	if out := s.check(shop.East, "app"); !strings.Contains(out, `"role":"fenced"`) {
		t.Fatalf("check: %s", out)
	}
	refused(shop.East, "app", "start", 7, 4)
	if out := s.check(shop.East, "app"); !strings.Contains(out, `"healthy":false`) {
		t.Fatalf("it was started for a leader that is over: %s", out)
	}
	s.do(shop.East, "app", "start", 8)
	if out := s.check(shop.East, "app"); !strings.Contains(out, `"role":"fenced","healthy":true`) {
		t.Fatalf("check: %s", out)
	}
	s.do(shop.East, "app", "stop", 8)
	if st := s.status(shop.East, shop.App); st.PID != 0 {
		t.Fatalf("it still runs: %+v", st)
	}
}

func TestStopAllEndsEveryProcess(t *testing.T) {
	s := newStage(t)
	if err := shop.StopAll(t.Context(), s.dir); err != nil {
		t.Fatal(err)
	}
	for region := range s.address {
		if pids, err := shop.KillRegion(t.Context(), s.dir, region); err != nil || len(pids) > 0 {
			t.Errorf("%s still had %v: %v", region, pids, err)
		}
	}
}

func TestTheProcessesEndWithTheirOwner(t *testing.T) {
	east, west, err := shop.FreeAddresses(t.Context())
	if err != nil {
		t.Skipf("no loopback addresses: %v", err)
	}
	owner := exec.CommandContext(t.Context(), "sleep", "60")
	if err := owner.Start(); err != nil {
		t.Skipf("no sleep: %v", err)
	}
	dir := t.TempDir()
	if _, err := shop.Setup(dir, shop.Options{East: east, West: west, Command: self(), Owner: owner.Process.Pid}); err != nil {
		t.Fatal(err)
	}
	if err := shop.StartRegion(t.Context(), dir, shop.East); err != nil {
		t.Fatal(err)
	}
	_ = owner.Process.Kill()
	_ = owner.Wait()
	s := &stage{t: t, dir: dir, address: map[string]string{shop.East: east, shop.West: west}}
	s.wait("they have ended", func() bool {
		for _, name := range shop.Names() {
			if s.status(shop.East, name).PID != 0 {
				return false
			}
		}
		return true
	})
}

func TestTheSecondOfAKindIsRefused(t *testing.T) {
	s := newStage(t)
	argv := append(self(), "db", "--dir", s.dir, "--region", shop.East)
	out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "runs already, as process") {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestTheDatabaseIsKilledAgainAndAgain(t *testing.T) {
	s := newStage(t)
	s.write()
	for n := range 8 {
		s.served(shop.East, 5)
		select {
		case <-time.After(time.Duration(rand.IntN(40)) * time.Millisecond):
		case <-t.Context().Done():
		}
		victim := []string{shop.East, shop.West}[n%2]
		pid := s.status(victim, shop.DB).PID
		if pid == 0 {
			t.Fatalf("%s does not run", victim)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.wait("it is gone", func() bool { return s.status(victim, shop.DB).PID == 0 })
		if err := shop.StartRegion(t.Context(), s.dir, victim); err != nil {
			t.Fatal(err)
		}
	}
	s.served(shop.East, 5)
	s.clean()
	s.wait("the standby has it all", func() bool {
		east, west := s.status(shop.East, shop.DB), s.status(shop.West, shop.DB)
		return east.Last > 0 && east.Chain == west.Chain
	})
}

func post(t *testing.T, address string, port int, body string) (int, string) {
	t.Helper()
	return send(t, address, port, "POST", "/orders", body)
}

func send(t *testing.T, address string, port int, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("http://%s:%d%s", address, port, path), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

func TestHostileInput(t *testing.T) {
	s := newStage(t)
	east, west := s.address[shop.East], s.address[shop.West]
	for name, c := range map[string]struct {
		body string
		code int
	}{
		"not JSON":          {"nonsense", 400},
		"an unknown field":  {`{"id":"a","item":"b","price":0}`, 400},
		"a wrong type":      {`{"id":7,"item":"b"}`, 400},
		"something behind":  {`{"id":"a","item":"b"}{}`, 400},
		"an id like a path": {`{"id":"../a","item":"b"}`, 422},
		"no item":           {`{"id":"a","item":""}`, 422},
		"a long item":       {`{"id":"a","item":"` + strings.Repeat("x", 300) + `"}`, 422},
		// Just above the bound: the answer to a body that is still being sent may get lost with its connection.
		"too large a body": {`{"id":"a","item":"` + strings.Repeat("x", 16<<10) + `"}`, 413},
		"a good one":       {`{"id":"a","item":"b \u0000 \"\n"}`, 201},
	} {
		for _, port := range []int{7400, 7401} {
			if code, body := post(t, east, port, c.body); code != c.code {
				t.Errorf("%s to port %d: %d, want %d: %s", name, port, code, c.code, body)
			}
		}
	}
	if code, body := post(t, east, 7400, `{"id":"a","item":"another"}`); code != 409 {
		t.Errorf("another order under the same id: %d: %s", code, body)
	}
	if code, body := send(t, east, 7400, "GET", "/orders/a", ""); code != 200 || !strings.Contains(body, `"seq":2`) {
		t.Errorf("reading it: %d: %s", code, body)
	}
	for _, port := range []int{7400, 7401, 7402} {
		if code, body := post(t, west, port, `{"id":"b","item":"b"}`); code != 503 || !strings.Contains(body, "standby") {
			t.Errorf("a write to the standby's port %d: %d: %s", port, code, body)
		}
		if code, _ := send(t, west, port, "GET", "/healthz", ""); code != 200 {
			t.Errorf("the standby's health on port %d: %d", port, code)
		}
	}
	for _, path := range []string{"/state", "/replicate"} {
		if code, _ := send(t, east, 7411, "GET", path, ""); code != 401 {
			t.Errorf("%s without the secret: %d", path, code)
		}
	}
	if code, _ := send(t, east, 7411, "POST", "/act", `{"action":"fence","epoch":99}`); code != 401 {
		t.Errorf("a fence without the secret: %d", code)
	}
	// Garbage where the standby's stream belongs ends that stream, and nothing else.
	for _, noise := range [][]byte{bytes.Repeat([]byte("a"), 1<<20), []byte("{}\n{}\n"), {0, 1, 2, '\n'}} {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", east+":7411")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(noise)
		_ = conn.Close()
	}
	if code, body := post(t, east, 7400, `{"id":"c","item":"still there"}`); code != 201 {
		t.Errorf("afterwards: %d: %s", code, body)
	}
}

func TestCheckIsQuick(t *testing.T) {
	s := newStage(t)
	best := time.Hour
	for range 10 {
		began := time.Now()
		s.check(shop.West, "database")
		best = min(best, time.Since(began))
	}
	t.Logf("check takes %s at best, starting the program included", best.Round(100*time.Microsecond))
	if best > 500*time.Millisecond {
		t.Fatal("that is far from quick")
	}
}
