package dns_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/services/dns"
)

// world tells where resources are active.
type world struct {
	mu        sync.Mutex
	addresses map[string]string // by tenant/resource
}

func (w *world) move(resource, address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.addresses == nil {
		w.addresses = map[string]string{}
	}
	w.addresses[resource] = address
}

func (w *world) active(_ context.Context, _ *database.Tx, tenant, resource string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	address, ok := w.addresses[tenant+"/"+resource]
	if !ok {
		return "", omni.Errorf(omni.CodeNotFound, "resource %s does not exist", resource)
	}
	return address, nil
}

func newService(tb testing.TB, db *database.DB, w *world, servers ...string) *dns.Service {
	tb.Helper()
	s := dns.New(dns.Options{DB: db, Listen: "127.0.0.1:0", Active: w.active, Servers: servers})
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func started(tb testing.TB, db *database.DB, w *world, servers ...string) *dns.Service {
	tb.Helper()
	s := newService(tb, db, w, servers...)
	if err := s.Start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return s
}

func asSystem(ctx context.Context) context.Context {
	return omni.WithRequest(ctx, omni.Request{Identity: omni.System("test"), ID: "req_1"})
}

func tryApply(tb testing.TB, db *database.DB, s *dns.Service, tenant, name string, spec dns.ZoneSpec) (outcome omni.Outcome, err error) {
	tb.Helper()
	err = db.Write(asSystem(tb.Context()), database.Tenant(tenant), func(ctx context.Context, tx *database.Tx) error {
		outcome, err = s.ApplyZone(ctx, tx, omni.Metadata{Name: name, Tenant: tenant}, spec)
		return err
	})
	return outcome, err
}

func apply(tb testing.TB, db *database.DB, s *dns.Service, tenant, name string, spec dns.ZoneSpec) omni.Outcome {
	tb.Helper()
	outcome, err := tryApply(tb, db, s, tenant, name, spec)
	if err != nil {
		tb.Fatal(err)
	}
	return outcome
}

func trySwitch(t *testing.T, db *database.DB, s *dns.Service, epoch int64, resources ...string) (changes []infra.RecordChange, err error) {
	t.Helper()
	err = db.Write(asSystem(t.Context()), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		changes, err = s.Switch(ctx, tx, "acme", resources, "run_1", epoch)
		return err
	})
	return changes, err
}

// exchange asks one question as it is.
func exchange(tb testing.TB, network, addr string, query *mdns.Msg) *mdns.Msg {
	tb.Helper()
	client := mdns.Client{Net: network, Timeout: 5 * time.Second, UDPSize: mdns.MaxMsgSize}
	answer, _, err := client.ExchangeContext(tb.Context(), query, addr)
	if err != nil {
		tb.Fatalf("%s: %v", query.Question[0].String(), err)
	}
	return answer
}

func question(name, typ string) *mdns.Msg {
	q := new(mdns.Msg)
	q.SetQuestion(name, mdns.StringToType[typ])
	return q
}

// eventually asks until what is answered is good, which a reload after a commit makes it soon.
func eventually(t *testing.T, what string, good func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !good() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		runtimeYield()
	}
}

// runtimeYield waits for a moment between two looks.
func runtimeYield() {
	timer := time.NewTimer(2 * time.Millisecond)
	<-timer.C
}

func addressOf(t *testing.T, addr, name string) string {
	t.Helper()
	answer := exchange(t, "udp", addr, question(name, "A"))
	for _, rr := range answer.Answer {
		if a, ok := rr.(*mdns.A); ok {
			return a.A.String()
		}
	}
	return mdns.RcodeToString[answer.Rcode]
}

func acme(records ...dns.RecordSpec) dns.ZoneSpec {
	return dns.ZoneSpec{Domain: "acme.test", NS: []string{"ns1.acme.test", "ns2.elsewhere.example"}, Records: records}
}

// liar is a server of another kind of answers.
func liar(t *testing.T, handle mdns.HandlerFunc) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	server := &mdns.Server{PacketConn: pc, Handler: handle, NotifyStartedFunc: func() { close(ready) }}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.ActivateAndServe()
	}()
	<-ready
	t.Cleanup(func() {
		_ = server.Shutdown()
		<-ended
	})
	return pc.LocalAddr().String()
}
