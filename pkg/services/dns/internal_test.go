package dns

import (
	"encoding/json"
	"testing"

	"github.com/miekg/dns"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// zoneOf makes the answers of a spec as if it were stored, without the checks of several zones.
func zoneOf(tb testing.TB, spec ZoneSpec) *catalog {
	tb.Helper()
	var records []RecordSet
	for _, r := range spec.Records {
		records = append(records, RecordSet{Name: r.Name, Type: r.Type, TTL: spec.TTL, Values: r.Values})
	}
	z, err := newZoneData(Zone{Tenant: "acme", Name: "z", Spec: spec, Serial: 1}, records)
	if err != nil {
		tb.Fatal(err)
	}
	return (&catalog{}).with([]*zoneData{z}, map[string]bool{})
}

func checked(tb testing.TB, spec ZoneSpec) ZoneSpec {
	tb.Helper()
	out, err := CheckZone(omni.Metadata{Name: "z", Tenant: "acme"}, spec)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func TestACircleOfCNAMEsThatIsMetIsAServerFailure(t *testing.T) {
	t.Parallel()
	c := zoneOf(t, ZoneSpec{Domain: "acme.test.", TTL: defaultTTL, NS: []string{"ns.acme.test."}, Records: []RecordSpec{
		{Name: "a.acme.test.", Type: "CNAME", Values: []string{"b.acme.test."}},
		{Name: "b.acme.test.", Type: "CNAME", Values: []string{"a.acme.test."}},
	}})
	q := new(dns.Msg)
	q.SetQuestion("a.acme.test.", dns.TypeA)
	if m := c.answer(q, true); m.Rcode != dns.RcodeServerFailure || len(m.Answer) != 0 {
		t.Errorf("the answer is %v", m)
	}
}

func fuzzCatalog(tb testing.TB) *catalog {
	tb.Helper()
	return zoneOf(tb, checked(tb, ZoneSpec{Domain: "acme.test", NS: []string{"ns1.acme.test"}, Records: []RecordSpec{
		{Name: "shop", Type: "A", Values: []string{"192.0.2.1", "192.0.2.2"}},
		{Name: "www", Type: "CNAME", Values: []string{"shop.acme.test"}},
		{Name: "*.w", Type: "TXT", Values: []string{"x", "y\xff\"\\"}},
		{Name: "sub", Type: "NS", Values: []string{"ns.sub.acme.test"}},
		{Name: "ns.sub", Type: "AAAA", Values: []string{"2001:db8::1"}},
		{Name: "_s._tcp", Type: "SRV", Values: []string{"1 2 3 shop.acme.test"}},
		{Name: "@", Type: "CAA", Values: []string{"0 issue ca.example"}},
	}}))
}

// FuzzAnswer gives the server whatever a packet may hold: it must answer something that can be sent, or nothing.
func FuzzAnswer(f *testing.F) {
	c := fuzzCatalog(f)
	for _, typ := range []uint16{dns.TypeA, dns.TypeANY, dns.TypeTXT, dns.TypeNS, dns.TypeSRV, dns.TypeAXFR, dns.TypeOPT} {
		for _, name := range []string{"shop.acme.test.", "www.ACME.test.", "x.w.acme.test.", "x.sub.acme.test.", `a\.b.acme.test.`, "."} {
			q := new(dns.Msg)
			q.SetQuestion(name, typ)
			q.SetEdns0(600, true)
			raw, err := q.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(raw)
		}
	}
	f.Add([]byte{0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1})
	f.Fuzz(func(t *testing.T, packet []byte) {
		q := new(dns.Msg)
		if err := q.Unpack(packet); err != nil {
			return
		}
		for _, udp := range []bool{true, false} {
			m := c.answer(q, udp)
			raw, err := m.Pack()
			if err != nil {
				t.Fatalf("an answer that cannot be sent: %v: %v", err, m)
			}
			if udp && len(raw) > maxUDP {
				t.Fatalf("%d octets over UDP", len(raw))
			}
			if len(m.Question) == 1 && m.Rcode == dns.RcodeSuccess && len(m.Answer)+len(m.Ns) == 0 && !m.Truncated {
				t.Fatalf("an empty answer to %v", q)
			}
		}
	})
}

// FuzzZone gives the manifest's check whatever JSON may hold: what passes can be answered, and is canonical.
func FuzzZone(f *testing.F) {
	for _, seed := range []string{
		`{"domain":"acme.test","ns":["ns1.acme.test"],"records":[{"name":"a","type":"A","values":["192.0.2.1"]}]}`,
		`{"domain":"acme.test","ttl":"1s","contact":"a@b.c","ns":["ns1"],"records":[{"name":"*","type":"txt","values":["\\\"\u00ff"]},{"name":"@","type":"CAA","values":["0 issue x"]}]}`,
		`{"domain":"acme.test","ns":["n"],"records":[{"name":"a","type":"CNAME","values":["b.acme.test"]},{"name":"b.acme.test.","type":"SRV","values":["1 2 3 ."]}]}`,
		`{"domain":"..","ns":[],"records":[{"name":"","type":"NS","values":[""]}]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var spec ZoneSpec
		if json.Unmarshal([]byte(text), &spec) != nil {
			return
		}
		meta := omni.Metadata{Name: "z", Tenant: "acme"}
		out, err := CheckZone(meta, spec)
		if err != nil {
			if !omni.Is(err, omni.CodeInvalid) {
				t.Fatalf("%v is no error of the input", err)
			}
			return
		}
		again, err := CheckZone(meta, out)
		if err != nil {
			t.Fatalf("the canonical form is refused: %v", err)
		}
		a, _ := json.Marshal(out)
		b, _ := json.Marshal(again)
		if string(a) != string(b) {
			t.Fatalf("not canonical:\n%s\n%s", a, b)
		}
		c := zoneOf(t, out)
		for _, r := range out.Records {
			q := new(dns.Msg)
			q.SetQuestion(r.Name, dns.StringToType[r.Type])
			m := c.answer(q, false)
			if _, err := m.Pack(); err != nil || m.Rcode == dns.RcodeServerFailure || m.Rcode == dns.RcodeRefused {
				t.Fatalf("%s %s cannot be answered: %v %v", r.Name, r.Type, err, m)
			}
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	c := fuzzCatalog(b)
	q := new(dns.Msg)
	q.SetQuestion("shop.acme.test.", dns.TypeA)
	raw, err := q.Pack()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			query := new(dns.Msg)
			if err := query.Unpack(raw); err != nil {
				b.Fatal(err)
			}
			if _, err := c.answer(query, true).Pack(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
}
