package dns_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
	"github.com/omnicloud/omnicloud/pkg/services/dns"
)

func follow(name, resource string) dns.RecordSpec {
	return dns.RecordSpec{Name: name, Type: "A", Resource: resource}
}

// told collects the events of infra's outbox by type.
func told(t *testing.T, db *database.DB) map[string][]events.Event {
	t.Helper()
	all := map[string][]events.Event{}
	relay := events.NewRelay(db, []events.Consumer{{Name: "test", Database: db, Handle: func(_ context.Context, tx *database.Tx, e events.Event) error {
		tx.AfterCommit(func() { all[e.Type] = append(all[e.Type], e) })
		return nil
	}}}, events.RelayOptions{})
	if err := relay.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	return all
}

func zone(t *testing.T, s *dns.Service, name string) dns.Zone {
	t.Helper()
	z, err := s.Zone(t.Context(), "acme", name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestASwitchMovesWhatFollowsAResource(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		w := &world{}
		w.move("acme/shop-lb", "192.0.2.1:8080")
		w.move("acme/api", "192.0.2.7")
		s := started(t, db, w)
		spec := acme(follow("shop", "shop-lb"), follow("www", "shop-lb"), follow("api", "api"), dns.RecordSpec{Name: "fixed", Type: "A", Values: []string{"192.0.2.1"}})
		if outcome := apply(t, db, s, "acme", "shop", spec); outcome != omni.Created {
			t.Fatal(outcome)
		}
		eventually(t, "the first answer", func() bool { return addressOf(t, s.Addr(), "shop.acme.test.") == "192.0.2.1" })
		first := zone(t, s, "shop")

		w.move("acme/shop-lb", "198.51.100.1:8080")
		if outcome := apply(t, db, s, "acme", "shop", spec); outcome != omni.Unchanged {
			t.Fatal(outcome)
		}
		if got := addressOf(t, s.Addr(), "shop.acme.test."); got != "192.0.2.1" {
			t.Fatalf("it moved without a switch, to %s", got)
		}
		changes, err := trySwitch(t, db, s, 5, "shop-lb", "unknown")
		if err != nil {
			t.Fatal(err)
		}
		second := zone(t, s, "shop")
		if second.Serial <= first.Serial {
			t.Errorf("serial %d after %d", second.Serial, first.Serial)
		}
		want := []infra.RecordChange{
			{Zone: "acme.test.", Name: "shop.acme.test.", Type: "A", Values: []string{"198.51.100.1"}, Serial: second.Serial},
			{Zone: "acme.test.", Name: "www.acme.test.", Type: "A", Values: []string{"198.51.100.1"}, Serial: second.Serial},
		}
		if !reflect.DeepEqual(changes, want) {
			t.Errorf("changes %+v", changes)
		}
		if err := s.Confirm(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
		for name, address := range map[string]string{"shop": "198.51.100.1", "www": "198.51.100.1", "api": "192.0.2.7", "fixed": "192.0.2.1"} {
			if got := addressOf(t, s.Addr(), name+".acme.test."); got != address {
				t.Errorf("%s is at %s, want %s", name, got, address)
			}
		}
		again, err := trySwitch(t, db, s, 6, "shop-lb")
		if err != nil || !reflect.DeepEqual(again, want) {
			t.Errorf("a repeat gives %+v, %v", again, err)
		}
		w.move("acme/shop-lb", "192.0.2.1")
		if _, err := trySwitch(t, db, s, 5, "shop-lb"); !omni.Is(err, omni.CodeStale) {
			t.Errorf("a switch under an older epoch: %v", err)
		}
		if err := s.Confirm(t.Context(), changes); err != nil {
			t.Errorf("after the refusal: %v", err)
		}
		all := told(t, db)
		if len(all[dns.EventZoneChanged]) != 1 || len(all[dns.EventSwitched]) != 1 || len(all[events.AuditType]) != 2 {
			t.Errorf("%d zone changes, %d switches, %d audit records", len(all[dns.EventZoneChanged]), len(all[dns.EventSwitched]), len(all[events.AuditType]))
		}
		var data struct {
			Run     string
			Changes []infra.RecordChange
		}
		if err := json.Unmarshal(all[dns.EventSwitched][0].Data, &data); err != nil || data.Run != "run_1" || !reflect.DeepEqual(data.Changes, want) {
			t.Errorf("the event says %+v, %v", data, err)
		}
	})
}

func TestWhatCannotBeFollowedIsRefused(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		w := &world{}
		w.move("acme/named", "lb.example.com:80")
		w.move("acme/six", "[2001:db8::1]:80")
		s := newService(t, db, w)
		_, err := tryApply(t, db, s, "acme", "shop", acme(follow("a", "missing"), follow("b", "named"), follow("c", "six")))
		var wrong *omni.Error
		if !omni.Is(err, omni.CodeInvalid) {
			t.Fatal(err)
		}
		if wrong = err.(*omni.Error); len(wrong.Fields) != 3 { //nolint:errorlint // that is its type
			t.Errorf("%v", wrong.Fields)
		}
		if _, err := s.Zone(t.Context(), "acme", "shop"); !omni.Is(err, omni.CodeNotFound) {
			t.Errorf("something of it remains: %v", err)
		}
		apply(t, db, s, "acme", "shop", acme(dns.RecordSpec{Name: "c", Type: "AAAA", Resource: "six"}))
		w.move("acme/six", "nowhere:80")
		if _, err := trySwitch(t, db, s, 1, "six"); !omni.Is(err, omni.CodeRefused) {
			t.Errorf("a switch to a name: %v", err)
		}
	})
}

func TestADomainBelongsToOneTenant(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		s := newService(t, db, &world{})
		spec := func(domain string) dns.ZoneSpec { return dns.ZoneSpec{Domain: domain, NS: []string{"ns.x.test"}} }
		apply(t, db, s, "acme", "headquarters", spec("acme.test"))
		for _, domain := range []string{"acme.test", "ACME.test.", "deep.below.acme.test"} {
			_, err := tryApply(t, db, s, "globex", "mine", spec(domain))
			if !omni.Is(err, omni.CodeConflict) || strings.Contains(err.Error()+err.(*omni.Error).Hint, "headquarters") { //nolint:errorlint // that is its type
				t.Errorf("%s: %v", domain, err)
			}
		}
		apply(t, db, s, "globex", "mine", spec("x.other.test"))
		if _, err := tryApply(t, db, s, "acme", "above", spec("other.test")); !omni.Is(err, omni.CodeConflict) {
			t.Errorf("above another's: %v", err)
		}
		if _, err := tryApply(t, db, s, "acme", "again", spec("acme.test")); !omni.Is(err, omni.CodeConflict) {
			t.Errorf("its own, twice: %v", err)
		}
		apply(t, db, s, "acme", "sub", spec("sub.acme.test"))
		apply(t, db, s, "globex", "like", spec("xacme.test"))
		apply(t, db, s, "globex", "mine", spec("moved.test"))
		apply(t, db, s, "acme", "above", spec("other.test"))
		if _, err := s.Zone(t.Context(), "globex", "headquarters"); !omni.Is(err, omni.CodeNotFound) {
			t.Errorf("another tenant's zone: %v", err)
		}
	})
}

func TestCNAMEsMayNotLeadInACircleThroughSeveralZones(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		s := newService(t, db, &world{})
		spec := func(domain, target string) dns.ZoneSpec {
			return dns.ZoneSpec{Domain: domain, NS: []string{"ns.x.test"}, Records: []dns.RecordSpec{{Name: "a", Type: "CNAME", Values: []string{target}}}}
		}
		apply(t, db, s, "acme", "one", spec("one.test", "a.two.test"))
		if _, err := tryApply(t, db, s, "acme", "two", spec("two.test", "a.one.test")); !omni.Is(err, omni.CodeInvalid) {
			t.Errorf("a circle of two zones: %v", err)
		}
		apply(t, db, s, "acme", "two", spec("two.test", "b.one.test"))
	})
}

func TestSerialsOnlyGrow(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		w := &world{}
		s := started(t, db, w)
		last := uint32(0)
		grown := func(what string) {
			t.Helper()
			z := zone(t, s, "shop")
			if z.Serial <= last {
				t.Errorf("%s: serial %d after %d", what, z.Serial, last)
			}
			last = z.Serial
		}
		for round := range 3 {
			w.move("acme/lb", fmt.Sprintf("192.0.2.%d", 10*round+1))
			apply(t, db, s, "acme", "shop", acme(follow("a", "lb")))
			grown("created")
			w.move("acme/lb", fmt.Sprintf("192.0.2.%d", 10*round+2))
			if _, err := trySwitch(t, db, s, 1, "lb"); err != nil {
				t.Fatal(err)
			}
			grown("switched")
			apply(t, db, s, "acme", "shop", acme(follow("a", "lb"), follow("b", "lb")))
			grown("updated")
			eventually(t, "answers from both", func() bool { return addressOf(t, s.Addr(), "b.acme.test.") == fmt.Sprintf("192.0.2.%d", 10*round+2) })
			answer := exchange(t, "udp", s.Addr(), question("acme.test.", "SOA"))
			if soa, ok := answer.Answer[0].(*mdns.SOA); !ok || soa.Serial != last {
				t.Errorf("the SOA is %v, want serial %d", answer.Answer[0], last)
			}
			if err := db.Write(asSystem(t.Context()), database.Tenant("acme"), func(ctx context.Context, tx *database.Tx) error {
				return s.DeleteZone(ctx, tx, "acme", "shop")
			}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "refused", func() bool { return addressOf(t, s.Addr(), "a.acme.test.") == "REFUSED" })
		}
		if err := db.Write(asSystem(t.Context()), database.Tenant("acme"), func(ctx context.Context, tx *database.Tx) error {
			return s.DeleteZone(ctx, tx, "acme", "shop")
		}); !omni.Is(err, omni.CodeNotFound) {
			t.Errorf("deleted twice: %v", err)
		}
	})
}

func TestReplicasFollowEachOther(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		w := &world{}
		w.move("acme/lb", "192.0.2.1")
		replica := started(t, db, w)
		s := started(t, db, w, replica.Addr())
		apply(t, db, s, "acme", "shop", acme(follow("a", "lb")))
		w.move("acme/lb", "192.0.2.2")
		changes, err := trySwitch(t, db, s, 1, "lb")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Confirm(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
		if got := addressOf(t, replica.Addr(), "a.acme.test."); got != "192.0.2.2" {
			t.Errorf("the replica answers %s", got)
		}
	})
}

func TestConfirmSaysWhichServerAnsweredWhat(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, database.Infra)
	old := liar(t, func(w mdns.ResponseWriter, q *mdns.Msg) {
		m := new(mdns.Msg)
		m.SetReply(q)
		m.Authoritative = true
		rr, _ := mdns.NewRR(q.Question[0].Name + " 20 A 203.0.113.66")
		m.Answer = []mdns.RR{rr}
		_ = w.WriteMsg(m)
	})
	refusing := liar(t, func(w mdns.ResponseWriter, q *mdns.Msg) {
		m := new(mdns.Msg)
		m.SetRcode(q, mdns.RcodeRefused)
		_ = w.WriteMsg(m)
	})
	silent := liar(t, func(mdns.ResponseWriter, *mdns.Msg) {})
	w := &world{}
	w.move("acme/lb", "192.0.2.1")
	s := started(t, db, w, old, refusing, silent)
	apply(t, db, s, "acme", "shop", acme(follow("a", "lb")))
	changes, err := trySwitch(t, db, s, 1, "lb")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err = s.Confirm(ctx, changes)
	if !omni.Is(err, omni.CodeUnavailable) {
		t.Fatal(err)
	}
	for _, part := range []string{old + ", asked for a.acme.test. A, answers [203.0.113.66] instead of [192.0.2.1]", refusing + ", asked for a.acme.test. A, answers REFUSED", silent + ","} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	if strings.Contains(err.Error(), s.Addr()) {
		t.Errorf("%q blames the server that agrees", err)
	}
}

func TestListsArePaged(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		s := newService(t, db, &world{})
		for i := range 7 {
			tenant := []string{"acme", "globex"}[i%2]
			apply(t, db, s, tenant, fmt.Sprintf("zone-%d", i), dns.ZoneSpec{Domain: fmt.Sprintf("z%d.test", i), NS: []string{"ns.x.test"}, Records: []dns.RecordSpec{
				{Name: "@", Type: "A", Values: []string{"192.0.2.1"}}, {Name: "@", Type: "TXT", Values: []string{"x"}}, {Name: "b", Type: "A", Values: []string{"192.0.2.1"}},
			}})
		}
		for tenant, want := range map[string]int{"": 7, "acme": 4, "globex": 3, "nobody": 0} {
			seen := map[string]bool{}
			page := omni.PageRequest{Limit: 2}
			for {
				list, err := s.Zones(t.Context(), tenant, page)
				if err != nil {
					t.Fatal(err)
				}
				for _, z := range list.Items {
					seen[z.Tenant+"/"+z.Name] = true
				}
				if page.After = list.Next; page.After == "" {
					break
				}
			}
			if len(seen) != want {
				t.Errorf("tenant %q has %d zones, want %d", tenant, len(seen), want)
			}
		}
		first, err := s.Records(t.Context(), "acme", "zone-0", omni.PageRequest{Limit: 2})
		if err != nil || len(first.Items) != 2 || first.Next == "" {
			t.Fatalf("%+v, %v", first, err)
		}
		second, err := s.Records(t.Context(), "acme", "zone-0", omni.PageRequest{Limit: 2, After: first.Next})
		if err != nil || len(second.Items) != 1 || second.Next != "" || second.Items[0].Name+second.Items[0].Type == first.Items[1].Name+first.Items[1].Type {
			t.Errorf("%+v, %v", second, err)
		}
	})
}

func TestStartSaysWhenItsAddressIsTaken(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, database.Infra)
	first := started(t, db, &world{})
	second := dns.New(dns.Options{DB: db, Listen: first.Addr(), Active: (&world{}).active})
	if err := second.Start(t.Context()); !omni.Is(err, omni.CodeUnavailable) || !strings.Contains(err.Error(), first.Addr()) {
		t.Errorf("two on one address: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Errorf("closing what never ran: %v", err)
	}
}

func BenchmarkServe(b *testing.B) {
	db := databasetest.Open(b, database.Infra)
	s := newService(b, db, &world{})
	apply(b, db, s, "acme", "shop", bigZone())
	if err := s.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.RunParallel(func(pb *testing.PB) {
		conn, err := mdns.Dial("udp", s.Addr())
		if err != nil {
			b.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		for pb.Next() {
			if err := conn.WriteMsg(question("shop.acme.test.", "A")); err != nil {
				b.Error(err)
				return
			}
			if _, err := conn.ReadMsg(); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
}

func TestTheLatestLeaderWinsAmongConcurrentSwitches(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		w := &world{}
		w.move("acme/lb", "192.0.2.1")
		s := newService(t, db, w)
		apply(t, db, s, "acme", "shop", acme(follow("a", "lb"), follow("b", "lb")))
		var group errgroup.Group
		for epoch := range int64(8) {
			group.Go(func() error {
				address := fmt.Sprintf("192.0.2.%d", 100+epoch)
				leader := dns.New(dns.Options{DB: db, Active: func(context.Context, *database.Tx, string, string) (string, error) { return address, nil }})
				err := db.Write(asSystem(t.Context()), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
					_, err := leader.Switch(ctx, tx, "acme", []string{"lb"}, "run_1", epoch)
					return err
				})
				if omni.Is(err, omni.CodeStale) && epoch < 7 {
					return nil
				}
				return err
			})
			group.Go(func() error {
				_, err := tryApply(t, db, s, "acme", fmt.Sprintf("other-%d", epoch), dns.ZoneSpec{Domain: fmt.Sprintf("other%d.test", epoch), NS: []string{"ns.x.test"}})
				return err
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		records, err := s.Records(t.Context(), "acme", "shop", omni.PageRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records.Items {
			if r.Epoch != 7 || !reflect.DeepEqual(r.Values, []string{"192.0.2.107"}) {
				t.Errorf("%s is at %v of epoch %d", r.Name, r.Values, r.Epoch)
			}
		}
	})
}
