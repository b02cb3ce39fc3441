package billing_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
	"github.com/omnicloud/omnicloud/pkg/services/billing"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

func newService(db *database.DB) *billing.Service {
	return billing.New(billing.Options{DB: db, Now: time.Now})
}

func change(resource, region string, role infra.Role, run string, when time.Time) infra.PlacementChanged {
	return infra.PlacementChanged{Tenant: "acme", Resource: resource, Type: "database", Region: region, Role: role, Run: run, At: when}
}

func book(t *testing.T, db *database.DB, s *billing.Service, id string, c infra.PlacementChanged) {
	t.Helper()
	if err := db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		return s.Book(ctx, tx, id, c)
	}); err != nil {
		t.Fatal(err)
	}
}

func usage(t *testing.T, s *billing.Service, f billing.Filter, now time.Time) billing.Report {
	t.Helper()
	r, err := s.Usage(t.Context(), f, omni.PageRequest{}, now)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// failover is what a run from east to west says of a database, and what came before.
func failover(resource string) []infra.PlacementChanged {
	return []infra.PlacementChanged{
		change(resource, "east", infra.Active, "", at(0)),
		change(resource, "west", infra.Standby, "", at(0)),
		change(resource, "east", infra.Fenced, "run_1", at(100)),
		change(resource, "west", infra.Active, "run_1", at(101)),
		change(resource, "east", infra.Standby, "run_2", at(150)),
	}
}

func TestUsageOfAFailoverIsOnTheBooksOfBothRegions(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Billing, func(t *testing.T, db *database.DB) {
		s := newService(db)
		consumer := events.NewRelay(db, []events.Consumer{s.Consumer()}, events.RelayOptions{})
		for _, c := range failover("orders-db") {
			if err := db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
				return events.Append(ctx, tx, events.New(infra.EventPlacementChanged, "placement/acme/orders-db", "acme", c))
			}); err != nil {
				t.Fatal(err)
			}
		}
		settled := func(run string, regions ...string) bool {
			ok, err := s.Settled(t.Context(), "acme", run, regions)
			if err != nil {
				t.Fatal(err)
			}
			return ok
		}
		if settled("run_1", "east", "west") {
			t.Error("settled before anything is booked")
		}
		for range 2 {
			if err := consumer.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if !settled("run_1", "east", "west") || settled("run_2", "east", "west") || !settled("run_2", "east") {
			t.Error("settled is not what the books say")
		}
		r := usage(t, s, billing.Filter{Tenant: "acme"}, at(200))
		want := []billing.Total{
			{Region: "east", Unit: billing.Unit, Quantity: 150},
			{Region: "west", Unit: billing.Unit, Quantity: 200},
		}
		if !reflect.DeepEqual(r.Totals, want) || len(r.Items) != 4 {
			t.Errorf("totals %+v of %d intervals", r.Totals, len(r.Items))
		}
		r = usage(t, s, billing.Filter{Tenant: "acme", Run: "run_1", By: "role"}, at(200))
		// 100 s in the east that it ended, 101 s of the standby in the west that it ended, 99 s active since
		if len(r.Items) != 3 || r.Totals[0].Quantity != 199 || r.Totals[1].Quantity != 101 {
			t.Errorf("of the run: %+v, %+v", r.Totals, r.Items)
		}
		last := r.Items[2]
		if last.EndedAt != nil || last.Region != "west" || last.Role != "active" || last.Run != "run_1" || !last.StartedAt.Equal(at(101)) {
			t.Errorf("the open interval: %+v", last)
		}
		if r := usage(t, s, billing.Filter{Tenant: "globex"}, at(200)); len(r.Items)+len(r.Totals) != 0 {
			t.Errorf("another tenant sees %+v", r)
		}
		if r := usage(t, s, billing.Filter{Region: "west", From: at(50.5), To: at(60)}, at(200)); len(r.Items) != 1 || r.Items[0].Quantity != 9 || r.Totals[0].Quantity != 9 {
			t.Errorf("cut: %+v", r)
		}
	})
}

func TestEventsInAnyOrderAndNumberGiveTheSameIntervals(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Billing, func(t *testing.T, db *database.DB) {
		s := newService(db)
		roles := []infra.Role{infra.Active, infra.Standby, infra.Fenced, infra.Stopped, ""}
		for seed := range uint64(12) {
			random := rand.New(rand.NewPCG(seed, 1))
			tenants := []string{fmt.Sprintf("ordered-%d", seed), fmt.Sprintf("mixed-%d", seed)}
			var changes []infra.PlacementChanged
			for i := range 14 {
				c := change("db", "east", roles[random.IntN(len(roles))], fmt.Sprintf("run_%d", i), at(float64(i*10)+random.Float64()))
				changes = append(changes, c)
			}
			shuffled := append(append([]int{}, random.Perm(len(changes))...), random.Perm(len(changes))...) // each comes twice
			for i := range changes {
				c := changes[i]
				c.Tenant = tenants[0]
				book(t, db, s, fmt.Sprintf("evt_%d", i), c)
			}
			for _, i := range shuffled {
				c := changes[i]
				c.Tenant = tenants[1]
				book(t, db, s, fmt.Sprintf("evt_%d", i), c)
			}
			a, b := usage(t, s, billing.Filter{Tenant: tenants[0]}, at(500)), usage(t, s, billing.Filter{Tenant: tenants[1]}, at(500))
			for i := range b.Items {
				b.Items[i].Tenant = tenants[0]
			}
			if !reflect.DeepEqual(a, b) {
				t.Fatalf("seed %d:\nin order  %+v\nin a mess %+v", seed, a, b)
			}
			partition(t, s, tenants[1], random)
		}
	})
}

// partition compares sums over parts of the time, and over groups, with the whole.
func partition(t *testing.T, s *billing.Service, tenant string, random *rand.Rand) {
	t.Helper()
	now := at(160)
	sum := func(f billing.Filter) (total int64) {
		f.Tenant = tenant
		r := usage(t, s, f, now)
		var rows int64
		for _, row := range r.Items {
			rows += row.Quantity
		}
		for _, group := range r.Totals {
			total += group.Quantity
		}
		if rows != total {
			t.Fatalf("rows sum up to %d, totals to %d", rows, total)
		}
		return total
	}
	whole := sum(billing.Filter{})
	for _, by := range []string{"run", "role", "resource", "tenant"} {
		if got := sum(billing.Filter{By: by}); got != whole {
			t.Fatalf("by %s: %d of %d", by, got, whole)
		}
	}
	var parts int64
	from := at(-1)
	for from.Before(at(200)) {
		to := from.Add(time.Duration(random.Int64N(int64(20 * time.Second)))).Truncate(time.Microsecond)
		parts += sum(billing.Filter{From: from, To: to})
		from = to
	}
	if parts != whole {
		t.Fatalf("the parts sum up to %d of %d", parts, whole)
	}
}

func TestChangesOfOneMomentCountInOrderOfArrival(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Billing, func(t *testing.T, db *database.DB) {
		s := newService(db)
		book(t, db, s, "evt_1", change("db", "east", infra.Active, "", at(5)))
		book(t, db, s, "evt_2", change("db", "east", infra.Fenced, "", at(5)))
		book(t, db, s, "evt_3", change("db", "east", infra.Standby, "", at(5)))
		r := usage(t, s, billing.Filter{Tenant: "acme"}, at(9))
		if len(r.Items) != 1 || r.Items[0].Role != "standby" || r.Items[0].Quantity != 4 {
			t.Errorf("%+v", r.Items)
		}
	})
}

func TestUsageIsPagedWithoutLossOrRepeat(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Billing, func(t *testing.T, db *database.DB) {
		s := newService(db)
		for i := range 23 {
			book(t, db, s, fmt.Sprintf("evt_%d", i), change(fmt.Sprintf("db-%d", i%5), "east", infra.Active, "", at(float64(i/4))))
		}
		whole := usage(t, s, billing.Filter{}, at(100))
		var items []billing.UsageRow
		page := omni.PageRequest{Limit: 4}
		for {
			r, err := s.Usage(t.Context(), billing.Filter{}, page, at(100))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(r.Totals, whole.Totals) {
				t.Fatal("the totals are those of a page")
			}
			items = append(items, r.Items...)
			if page.After = r.Next; page.After == "" {
				break
			}
		}
		if !reflect.DeepEqual(items, whole.Items) {
			t.Errorf("%d items over pages, %d at once", len(items), len(whole.Items))
		}
	})
}

func TestNonsenseIsRefused(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, database.Billing)
	s := newService(db)
	err := db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		return s.Book(ctx, tx, "evt_1", infra.PlacementChanged{Tenant: "acme", Resource: "db"})
	})
	if !omni.Is(err, omni.CodeInvalid) {
		t.Errorf("a change without a region and a time: %v", err)
	}
	if _, err := s.Usage(t.Context(), billing.Filter{By: "tenant; drop table"}, omni.PageRequest{}, start); !omni.Is(err, omni.CodeInvalid) {
		t.Errorf("by: %v", err)
	}
	if _, err := s.Usage(t.Context(), billing.Filter{}, omni.PageRequest{After: "%"}, start); !omni.Is(err, omni.CodeInvalid) {
		t.Errorf("after: %v", err)
	}
}
