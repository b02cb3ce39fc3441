package events_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// journal is a consumer that writes what it handles into its database, in the transaction of the delivery: so a repeated effect
// would show. The rows are outbox rows that are relayed already, which every database can hold.
type journal struct {
	name string
	db   *database.DB
	fail func(e events.Event) error
}

func (j journal) consumer(types ...string) events.Consumer {
	return events.Consumer{Name: j.name, Types: types, Database: j.db, Handle: func(ctx context.Context, tx *database.Tx, e events.Event) error {
		_, err := tx.Exec(ctx, `insert into outbox (id, type, subject, tenant, event, at, relayed_at) values ($1, $2, $3, $4, $5, $6, $6)`,
			omni.NewID("handled", tx.Now()), "journal."+j.name, e.Subject, e.Tenant, string(e.Data), database.Time(tx.Now()))
		if err != nil || j.fail == nil {
			return err
		}
		return j.fail(e) // after its effect, which must then be undone
	}}
}

// read gives the data of what was handled, in order.
func (j journal) read(tb testing.TB) (data []string) {
	tb.Helper()
	err := j.db.Read(context.WithoutCancel(tb.Context()), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		data = nil
		return tx.Query(ctx, `select event from outbox where type = $1 order by seq`, []any{"journal." + j.name}, func(scan func(...any) error) error {
			var d string
			err := scan(&d)
			data = append(data, d)
			return err
		})
	})
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func appendTo(tb testing.TB, db *database.DB, evs ...events.Event) {
	tb.Helper()
	err := db.Write(tb.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		return events.Append(ctx, tx, evs...)
	})
	if err != nil {
		tb.Fatal(err)
	}
}

func quick() events.RelayOptions {
	return events.RelayOptions{Interval: 2 * time.Millisecond, BackoffMin: time.Millisecond, BackoffMax: 4 * time.Millisecond}
}

func drain(tb testing.TB, r *events.Relay) {
	tb.Helper()
	if err := r.Drain(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}

// ordered checks that of each subject ("subject/number") the numbers are 0, 1, 2 …
func ordered(tb testing.TB, who string, data []string, wantEach map[string]int) {
	tb.Helper()
	next := map[string]int{}
	for _, d := range data {
		subject, number, _ := strings.Cut(strings.Trim(d, `"`), "/")
		if want := fmt.Sprint(next[subject]); number != want {
			tb.Fatalf("%s: subject %s has number %s where %s was due: %v", who, subject, number, want, data)
		}
		next[subject]++
	}
	for subject, want := range wantEach {
		if next[subject] != want {
			tb.Fatalf("%s: subject %s has %d events, want %d", who, subject, next[subject], want)
		}
	}
}

func TestRelay(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		other := databasetest.Open(t, database.Audit)
		all := journal{name: "all", db: db}
		some := journal{name: "some", db: other}
		relay := events.NewRelay(db, []events.Consumer{all.consumer(), some.consumer("omni.b", "omni.c.")}, quick())
		appendTo(t, db,
			events.New("omni.a", "s", "", "s/0"), events.New("omni.b", "s", "", "s/1"), events.New("omni.bb", "s", "", "s/2"),
			events.New("omni.c.x", "s", "", "s/3"), events.New("omni.c", "s", "", "s/4"))

		t.Run("tells how much waits", func(t *testing.T) {
			if pending, oldest, err := relay.Lag(t.Context()); err != nil || pending != 5 || oldest < 0 || oldest > time.Minute {
				t.Errorf("%d, %v, %v", pending, oldest, err)
			}
		})
		drain(t, relay)
		t.Run("gives each consumer its types, in order, in its own database", func(t *testing.T) {
			ordered(t, "all", all.read(t), map[string]int{"s": 5})
			if got := some.read(t); !slices.Equal(got, []string{`"s/1"`, `"s/3"`}) {
				t.Errorf("some got %v", got)
			}
		})
		t.Run("has nothing left", func(t *testing.T) {
			if pending, oldest, err := relay.Lag(t.Context()); err != nil || pending != 0 || oldest != 0 {
				t.Errorf("%d, %v, %v", pending, oldest, err)
			}
		})
	})
}

func TestRelayPoison(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		var mu sync.Mutex
		var poison error = omni.Errorf(omni.CodeInternal, "not this one")
		tried := 0
		bad := journal{name: "bad", db: db, fail: func(e events.Event) error {
			mu.Lock()
			defer mu.Unlock()
			if e.Subject == "sick" && strings.Contains(string(e.Data), "/1") {
				tried++
				return poison
			}
			return nil
		}}
		good := journal{name: "good", db: db}
		relay := events.NewRelay(db, []events.Consumer{bad.consumer(), good.consumer()}, quick())
		for i := range 3 {
			appendTo(t, db, events.New("omni.a", "sick", "", fmt.Sprintf("sick/%d", i)), events.New("omni.a", "well", "", fmt.Sprintf("well/%d", i)))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		err := relay.Drain(ctx)
		if !omni.Is(err, omni.CodeUnfinished) || !strings.Contains(err.Error(), "not this one") {
			t.Fatalf("draining ended with %v", err)
		}
		ordered(t, "bad", bad.read(t), map[string]int{"sick": 1, "well": 3})
		ordered(t, "good", good.read(t), map[string]int{"sick": 3, "well": 3})
		if pending, _, _ := relay.Lag(t.Context()); pending != 2 {
			t.Errorf("%d are pending", pending)
		}
		mu.Lock()
		if tried < 2 {
			t.Errorf("it was tried %d times", tried)
		}
		poison = nil
		mu.Unlock()
		drain(t, relay)
		ordered(t, "bad", bad.read(t), map[string]int{"sick": 3, "well": 3})
		ordered(t, "good", good.read(t), map[string]int{"sick": 3, "well": 3})
	})
}

func TestRelayPanic(t *testing.T) {
	db := databasetest.Open(t, database.Infra)
	var once sync.Once
	j := journal{name: "shaky", db: db, fail: func(events.Event) error {
		once.Do(func() { panic("boom") })
		return nil
	}}
	relay := events.NewRelay(db, []events.Consumer{j.consumer()}, quick())
	appendTo(t, db, events.New("omni.a", "s", "", "s/0"))
	drain(t, relay)
	ordered(t, "shaky", j.read(t), map[string]int{"s": 1})
}

// TestRelayManyPoisoned holds more subjects back than a pass takes: the others are reached all the same.
func TestRelayManyPoisoned(t *testing.T) {
	db := databasetest.Open(t, database.Infra)
	j := journal{name: "j", db: db, fail: func(e events.Event) error {
		if strings.HasPrefix(e.Subject, "sick") {
			return errors.New("no")
		}
		return nil
	}}
	opts := quick()
	opts.Batch, opts.BackoffMin, opts.BackoffMax = 4, time.Hour, time.Hour
	relay := events.NewRelay(db, []events.Consumer{j.consumer()}, opts)
	for i := range 20 {
		appendTo(t, db, events.New("omni.a", fmt.Sprintf("sick%d", i), "", "x/0"))
	}
	appendTo(t, db, events.New("omni.a", "well", "", "well/0"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for len(j.read(t)) == 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	stop := time.AfterFunc(20*time.Second, cancel)
	defer stop.Stop()
	_ = relay.Drain(ctx)
	ordered(t, "j", j.read(t), map[string]int{"well": 1})
}

// TestRelayKilled ends relays at random points and starts new ones: each event is handled once by each consumer, in its order.
func TestRelayKilled(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		other := databasetest.Open(t, database.Audit)
		rounds := 0
		rapid.Check(t, func(rt *rapid.T) {
			rounds++
			random := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
			flaky := func(events.Event) error {
				if random.IntN(6) == 0 {
					return errors.New("not now")
				}
				return nil
			}
			here := journal{name: fmt.Sprintf("here%d", rounds), db: db, fail: flaky}
			there := journal{name: fmt.Sprintf("there%d", rounds), db: other}
			want := map[string]int{}
			for range rapid.IntRange(1, 12).Draw(rt, "transactions") {
				var evs []events.Event
				for range rapid.IntRange(1, 3).Draw(rt, "events") {
					s := fmt.Sprintf("r%d-%c", rounds, 'a'+rune(rapid.IntRange(0, 2).Draw(rt, "subject")))
					evs = append(evs, events.New("omni.a", s, "", fmt.Sprintf("%s/%d", s, want[s])))
					want[s]++
				}
				appendTo(t, db, evs...)
			}
			opts := quick()
			opts.Batch = rapid.IntRange(1, 8).Draw(rt, "batch")
			opts.Group = rapid.IntRange(1, 4).Draw(rt, "group")
			for finished := false; !finished; {
				finished = run(t, db, opts, []string{"events.after_handle", "events.before_mark", "events.after_mark", "events.before_handle"}[random.IntN(4)],
					random.IntN(4), here.consumer(), there.consumer())
			}
			ordered(t, here.name, here.read(t), want)
			ordered(t, there.name, there.read(t), want)
		})
	})
}

// run drains with a new relay that ends at the nth passing of a point; true when it finished before.
func run(tb testing.TB, db *database.DB, opts events.RelayOptions, point string, nth int, consumers ...events.Consumer) (finished bool) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	defer cancel()
	var mu sync.Mutex
	opts.Failpoint = func(name string) {
		mu.Lock()
		defer mu.Unlock()
		if name != point {
			return
		}
		if nth--; nth < 0 {
			cancel() // whatever would follow fails, as if the process had gone
		}
	}
	err := events.NewRelay(db, consumers, opts).Drain(ctx)
	if err != nil && ctx.Err() == nil {
		tb.Fatal(err)
	}
	return err == nil
}

// TestRelayOrderOfCommits has transactions about one subject, whose numbers come from the store, commit in whatever order
// they like, while two relays work.
func TestRelayOrderOfCommits(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		j := journal{name: "j", db: db}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var relays, writers sync.WaitGroup
		for range 2 {
			relays.Go(func() {
				if err := events.NewRelay(db, []events.Consumer{j.consumer("omni.a")}, quick()).Run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		const subjects, each, writersEach = 3, 12, 3
		for s := range subjects {
			name := fmt.Sprintf("s%d", s)
			appendTo(t, db, events.New("omni.row", name, "", 0)) // stands for the row that the transactions are about
			for range writersEach {
				writers.Go(func() {
					for range each {
						err := db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
							// The row's counter, in a column that nothing else reads, orders the transactions.
							var n string
							if err := tx.QueryRow(ctx, `update outbox set tenant = cast(cast('0' || tenant as bigint) + 1 as text)
								where type = 'omni.row' and subject = $1 returning tenant`, []any{name}, &n); err != nil {
								return err
							}
							var number int
							if _, err := fmt.Sscan(n, &number); err != nil {
								return err
							}
							return events.Append(ctx, tx, events.New("omni.a", name, "", fmt.Sprintf("%s/%d", name, number-1)))
						})
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		writers.Wait()
		drain(t, events.NewRelay(db, []events.Consumer{j.consumer("omni.a")}, quick()))
		cancel()
		relays.Wait()
		want := map[string]int{}
		for s := range subjects {
			want[fmt.Sprintf("s%d", s)] = each * writersEach
		}
		ordered(t, "j", j.read(t), want)
	})
}

func TestRelayRun(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		opts := quick()
		opts.Interval = time.Hour // only the append itself can wake it
		handled := make(chan string, 10)
		relay := events.NewRelay(db, []events.Consumer{{Name: "c", Database: db, Handle: func(ctx context.Context, _ *database.Tx, e events.Event) error {
			if req := omni.RequestFrom(ctx); req.ID != "req_9" || req.Identity.Actor != "system:c" {
				t.Errorf("the request behind it: %+v", req)
			}
			handled <- string(e.Data)
			return nil
		}}}, opts)
		ctx, cancel := context.WithCancel(omni.WithRequest(t.Context(), omni.Request{ID: "req_9"}))
		ended := make(chan error)
		go func() { ended <- relay.Run(ctx) }()
		for i := range 3 {
			err := db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
				return events.Append(ctx, tx, events.New("omni.a", "s", "", i))
			})
			if err != nil {
				t.Fatal(err)
			}
			select {
			case got := <-handled:
				if got != fmt.Sprint(i) {
					t.Errorf("got %s, want %d", got, i)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("nothing came")
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestPrune(t *testing.T) {
	clock := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	now := func() time.Time { mu.Lock(); defer mu.Unlock(); return clock }
	databasetest.EachAt(t, database.Infra, now, func(t *testing.T, db *database.DB) {
		other := databasetest.OpenAt(t, database.Audit, now)
		handled := 0
		consumer := events.Consumer{Name: "c", Database: other, Handle: func(context.Context, *database.Tx, events.Event) error {
			handled++
			return nil
		}}
		stuck := events.Consumer{Name: "stuck", Types: []string{"omni.stuck"}, Database: other, Handle: func(context.Context, *database.Tx, events.Event) error {
			return errors.New("no")
		}}
		opts := quick()
		opts.Retention = time.Hour
		relay := events.NewRelay(db, []events.Consumer{consumer, stuck}, opts)
		appendTo(t, db, events.New("omni.a", "s", "", 1))
		drain(t, relay)
		appendTo(t, db, events.New("omni.stuck", "t", "", 2))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_ = relay.Drain(ctx)
		if n, err := relay.Prune(t.Context()); err != nil || n != 0 {
			t.Errorf("%d young events went, %v", n, err)
		}
		mu.Lock()
		clock = clock.Add(2 * time.Hour)
		mu.Unlock()
		if n, err := relay.Prune(t.Context()); err != nil || n != 1 {
			t.Errorf("%d old events went, %v", n, err)
		}
		if left := rows(t, db, `select count(*) from outbox`); left != 1 {
			t.Errorf("%d events are left", left)
		}
		if left := rows(t, other, `select count(*) from inbox`); left != 1 {
			t.Errorf("%d notes are left: that of the pending event must stay", left)
		}
		if handled != 2 {
			t.Errorf("%d were handled", handled)
		}
	})
}

func rows(tb testing.TB, db *database.DB, query string) (n int64) {
	tb.Helper()
	err := db.Read(tb.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		return tx.QueryRow(ctx, query, nil, &n)
	})
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// TestRelayOrderOfNumbers has transactions that share a subject and nothing else: what is committed later must not have the lower
// number, or a relay would hand it on out of order.
func TestRelayOrderOfNumbers(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		j := journal{name: "j", db: db}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		relay := events.NewRelay(db, []events.Consumer{j.consumer("omni.a")}, quick())
		var running, writers sync.WaitGroup
		running.Go(func() { _ = relay.Run(ctx) })
		for w := range 6 {
			writers.Go(func() {
				for i := range 25 {
					err := db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
						e := events.New("omni.a", "s", "", fmt.Sprintf("%d.%d", w, i))
						if err := events.Append(ctx, tx, e); err != nil {
							return err
						}
						_, err := tx.Exec(ctx, `insert into inbox (consumer, event_id, at) values ('writer', $1, $2)`,
							fmt.Sprintf("%d.%d", w, i), database.Time(tx.Now()))
						return err
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		writers.Wait()
		drain(t, relay)
		cancel()
		running.Wait()
		var numbered []string
		err := db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			return tx.Query(ctx, `select event from outbox where type = 'omni.a' order by seq`, nil, func(scan func(...any) error) error {
				var text string
				var e events.Event
				if err := scan(&text); err != nil {
					return err
				}
				err := e.UnmarshalJSON([]byte(text))
				numbered = append(numbered, string(e.Data))
				return err
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := j.read(t); len(got) != 150 || !slices.Equal(got, numbered) {
			t.Errorf("handled in the order %v, numbered in the order %v", got, numbered)
		}
	})
}
