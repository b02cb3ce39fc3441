package dns_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/services/dns"
)

func bigZone() dns.ZoneSpec {
	var many []string
	for i := range 60 {
		many = append(many, fmt.Sprintf("10.1.%d.7", i))
	}
	records := []dns.RecordSpec{
		{Name: "@", Type: "A", Values: []string{"192.0.2.1"}},
		{Name: "ns1", Type: "A", Values: []string{"192.0.2.53"}},
		{Name: "shop", Type: "A", TTL: omni.Duration(7 * time.Second), Values: []string{"192.0.2.10", "192.0.2.9"}},
		{Name: "shop", Type: "AAAA", Values: []string{"2001:DB8::1"}},
		{Name: "www", Type: "CNAME", Values: []string{"shop.acme.test."}},
		{Name: "out", Type: "CNAME", Values: []string{"shop.globex.test"}},
		{Name: "away", Type: "CNAME", Values: []string{"example.com"}},
		{Name: "dead", Type: "CNAME", Values: []string{"nothing.acme.test"}},
		{Name: "text", Type: "TXT", Values: []string{`v=spf1 "quoted" \ back`, strings.Repeat("x", 300)}},
		{Name: "_pg._tcp", Type: "SRV", Values: []string{"10 5 5432 shop.acme.test"}},
		{Name: "@", Type: "CAA", Values: []string{`0 issue "ca.example"`}},
		{Name: "a.b.c", Type: "A", Values: []string{"192.0.2.2"}},
		{Name: "*.wild", Type: "A", Values: []string{"192.0.2.3"}},
		{Name: "there.wild", Type: "TXT", Values: []string{"x"}},
		{Name: "sub", Type: "NS", Values: []string{"ns.sub.acme.test"}},
		{Name: "ns.sub", Type: "A", Values: []string{"192.0.2.99"}},
		{Name: "many", Type: "A", Values: many},
	}
	for i := range 10 {
		target := fmt.Sprintf("chain%d", i+1)
		records = append(records, dns.RecordSpec{Name: fmt.Sprintf("chain%d", i), Type: "CNAME", Values: []string{target + ".acme.test"}})
	}
	records = append(records, dns.RecordSpec{Name: "chain10", Type: "A", Values: []string{"192.0.2.77"}})
	return acme(records...)
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, database.Infra)
	s := newService(t, db, &world{})
	apply(t, db, s, "acme", "shop", bigZone())
	apply(t, db, s, "globex", "shop", dns.ZoneSpec{Domain: "globex.test", NS: []string{"ns.globex.test"}, Records: []dns.RecordSpec{
		{Name: "shop", Type: "A", Values: []string{"203.0.113.1"}},
	}})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name, typ, rcode string
		answer           []string // "TYPE value", in order of answer, sorted within
		soa              bool
	}{
		{"shop.acme.test.", "A", "NOERROR", []string{"A 192.0.2.10", "A 192.0.2.9"}, false},
		{"ShOp.AcMe.TeSt.", "A", "NOERROR", []string{"A 192.0.2.10", "A 192.0.2.9"}, false},
		{"shop.acme.test.", "AAAA", "NOERROR", []string{"AAAA 2001:db8::1"}, false},
		{"shop.acme.test.", "TXT", "NOERROR", nil, true},
		{"nothing.acme.test.", "A", "NXDOMAIN", nil, true},
		{"b.c.acme.test.", "A", "NOERROR", nil, true},
		{"acme.test.", "NS", "NOERROR", []string{"NS ns1.acme.test.", "NS ns2.elsewhere.example."}, false},
		{"acme.test.", "CAA", "NOERROR", []string{`CAA 0 issue "ca.example"`}, false},
		{"www.acme.test.", "A", "NOERROR", []string{"A 192.0.2.10", "A 192.0.2.9", "CNAME shop.acme.test."}, false},
		{"www.acme.test.", "CNAME", "NOERROR", []string{"CNAME shop.acme.test."}, false},
		{"www.acme.test.", "TXT", "NOERROR", []string{"CNAME shop.acme.test."}, true},
		{"out.acme.test.", "A", "NOERROR", []string{"CNAME shop.globex.test."}, false},
		{"away.acme.test.", "A", "NOERROR", []string{"CNAME example.com."}, false},
		{"dead.acme.test.", "A", "NXDOMAIN", []string{"CNAME nothing.acme.test."}, true},
		{"_pg._tcp.acme.test.", "SRV", "NOERROR", []string{"SRV 10 5 5432 shop.acme.test."}, false},
		{"x.y.wild.acme.test.", "A", "NOERROR", []string{"A 192.0.2.3"}, false},
		{"x.wild.acme.test.", "TXT", "NOERROR", nil, true},
		{"there.wild.acme.test.", "A", "NOERROR", nil, true},
		{"x.there.wild.acme.test.", "A", "NXDOMAIN", nil, true},
		{"acme.test.", "ANY", "NOERROR", []string{`HINFO "RFC8482" ""`}, false},
		{"nothing.acme.test.", "ANY", "NXDOMAIN", nil, true},
		{"example.com.", "A", "REFUSED", nil, false},
		{"test.", "A", "REFUSED", nil, false},
		{".", "NS", "REFUSED", nil, false},
		{"xacme.test.", "A", "REFUSED", nil, false},
		{`x\.acme.test.`, "A", "REFUSED", nil, false},
		{`a\.b.c.acme.test.`, "A", "NXDOMAIN", nil, true},
		{"acme.test.", "AXFR", "REFUSED", nil, false},
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, c := range cases {
			if network == "tcp" && c.typ == "AXFR" {
				continue // the client takes an answer to it for a transfer
			}
			answer := exchange(t, network, s.Addr(), question(c.name, c.typ))
			var got []string
			for _, rr := range answer.Answer {
				got = append(got, mdns.TypeToString[rr.Header().Rrtype]+" "+strings.TrimPrefix(rr.String(), rr.Header().String()))
			}
			slices.Sort(got)
			if mdns.RcodeToString[answer.Rcode] != c.rcode || !slices.Equal(got, c.answer) {
				t.Errorf("%s %s %s: %s %q, want %s %q", network, c.name, c.typ, mdns.RcodeToString[answer.Rcode], got, c.rcode, c.answer)
			}
			if c.rcode != "REFUSED" != answer.Authoritative {
				t.Errorf("%s %s: authoritative is %v", c.name, c.typ, answer.Authoritative)
			}
			soa := len(answer.Ns) == 1 && answer.Ns[0].Header().Rrtype == mdns.TypeSOA && answer.Ns[0].Header().Name == "acme.test." && answer.Ns[0].Header().Ttl == 20
			if soa != c.soa {
				t.Errorf("%s %s: authority %v, want an SOA: %v", c.name, c.typ, answer.Ns, c.soa)
			}
		}
	}
	details(t, s.Addr())
}

// details are the answers that a table says badly.
func details(t *testing.T, addr string) {
	t.Helper()
	answer := exchange(t, "udp", addr, question("SHOP.acme.test.", "A"))
	if rr := answer.Answer[0].Header(); rr.Name != "SHOP.acme.test." || rr.Ttl != 7 {
		t.Errorf("the answer is %v", answer.Answer[0])
	}
	answer = exchange(t, "udp", addr, question("text.acme.test.", "TXT"))
	var texts []string
	for _, rr := range answer.Answer {
		texts = append(texts, strings.Join(rr.(*mdns.TXT).Txt, ""))
	}
	if !slices.Contains(texts, `v=spf1 \"quoted\" \\ back`) || !slices.Contains(texts, strings.Repeat("x", 300)) {
		t.Errorf("texts %q", texts)
	}
	answer = exchange(t, "udp", addr, question("x.sub.acme.test.", "A"))
	if answer.Authoritative || len(answer.Ns) != 1 || len(answer.Extra) != 1 || answer.Rcode != 0 {
		t.Errorf("a delegated name: %v", answer)
	}
	answer = exchange(t, "udp", addr, question("chain0.acme.test.", "A"))
	if len(answer.Answer) != 11 {
		t.Errorf("ten CNAMEs: %v", answer)
	}
	answer = exchange(t, "udp", addr, question("acme.test.", "SOA"))
	if soa, ok := answer.Answer[0].(*mdns.SOA); !ok || soa.Serial == 0 || soa.Mbox != "hostmaster.acme.test." || soa.Ns != "ns1.acme.test." {
		t.Errorf("the SOA: %v", answer)
	}
	answer = exchange(t, "udp", addr, question("many.acme.test.", "A"))
	answer.Compress = true
	if !answer.Truncated || answer.Len() > mdns.MinMsgSize {
		t.Errorf("60 addresses in %d octets, cut: %v", answer.Len(), answer.Truncated)
	}
	if answer = exchange(t, "tcp", addr, question("many.acme.test.", "A")); answer.Truncated || len(answer.Answer) != 60 {
		t.Errorf("over TCP: %d addresses", len(answer.Answer))
	}
	query := question("many.acme.test.", "A")
	query.SetEdns0(4096, true)
	answer = exchange(t, "udp", addr, query)
	if opt := answer.IsEdns0(); opt == nil || !opt.Do() || opt.UDPSize() != 1232 || answer.Truncated || len(answer.Answer) != 60 {
		t.Errorf("with EDNS: %d addresses, %v", len(answer.Answer), answer.IsEdns0())
	}
	query.IsEdns0().SetVersion(1)
	if answer = exchange(t, "udp", addr, query); answer.Rcode != mdns.RcodeBadVers || len(answer.Answer) != 0 {
		t.Errorf("EDNS version 1: %v", answer)
	}
	query = question("shop.acme.test.", "A")
	query.Question[0].Qclass = mdns.ClassCHAOS
	if answer = exchange(t, "udp", addr, query); answer.Rcode != mdns.RcodeRefused {
		t.Errorf("class CH: %v", answer)
	}
	query = question("shop.acme.test.", "A")
	query.Opcode = mdns.OpcodeUpdate
	if answer = exchange(t, "udp", addr, query); answer.Rcode != mdns.RcodeNotImplemented {
		t.Errorf("an update: %v", answer)
	}
}

func TestHostilePacketsDoNotStopTheServer(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, database.Infra)
	s := newService(t, db, &world{})
	apply(t, db, s, "acme", "shop", bigZone())
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole, err := question("shop.acme.test.", "A").Pack()
	if err != nil {
		t.Fatal(err)
	}
	packets := [][]byte{
		{},
		{0},
		make([]byte, 12), make([]byte, 65000),
		append(slices.Clone(whole[:12]), 0xc0, 12, 0, 1, 0, 1),           // a name that points to itself
		append(slices.Clone(whole[:12]), 0xc0, 14, 0xc0, 12, 0, 1, 0, 1), // two that point to each other
		append(slices.Clone(whole[:12]), 0xff, 0xff, 0, 1, 0, 1),
	}
	for i := range whole {
		packets = append(packets, whole[:i])
		changed := slices.Clone(whole)
		changed[i] ^= 0xff
		packets = append(packets, changed)
	}
	conn, err := net.Dial("udp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, packet := range packets {
		if _, err := conn.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
	if got := addressOf(t, s.Addr(), "acme.test."); got != "192.0.2.1" {
		t.Errorf("afterwards it answers %s", got)
	}
	clear, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = clear.Write([]byte{0xff, 0xff, 1, 2, 3})
	_ = clear.Close()
	if got := addressOf(t, s.Addr(), "acme.test."); got != "192.0.2.1" {
		t.Errorf("afterwards it answers %s", got)
	}
}
