package events_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// take reads n items.
func take(t *testing.T, feed *events.Feed, filter events.FeedFilter, after int64, n int) (items []events.FeedItem) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if n == 0 {
		return nil
	}
	for it, err := range feed.Subscribe(ctx, filter, after) {
		if err != nil {
			t.Fatal(err)
		}
		if items = append(items, it); len(items) == n {
			return items
		}
	}
	t.Fatalf("only %d of %d items came", len(items), n)
	return nil
}

func data(items []events.FeedItem) (out string) {
	for _, it := range items {
		out += string(it.Event.Data)
	}
	return out
}

func TestFeed(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		feed := events.NewFeed(db, events.FeedOptions{})
		relay := events.NewRelay(db, []events.Consumer{feed.Consumer()}, quick())
		appendTo(t, db,
			events.New("omni.failover.run.changed", "a", "acme", 1), events.New("omni.failover.run.changed", "b", "globex", 2),
			events.New("omni.audit.record", "c", "acme", 3), events.New("omni.failoverish", "d", "acme", 4), events.New("omni.region.changed", "e", "", 5))
		drain(t, relay)

		t.Run("replays from the beginning", func(t *testing.T) {
			if got := data(take(t, feed, events.FeedFilter{}, 0, 5)); got != "12345" {
				t.Errorf("got %s", got)
			}
		})
		t.Run("replays what follows", func(t *testing.T) {
			first := take(t, feed, events.FeedFilter{}, 0, 2)
			if got := data(take(t, feed, events.FeedFilter{}, first[1].Seq, 3)); got != "345" {
				t.Errorf("got %s", got)
			}
		})
		t.Run("replays all when asked for what is ahead of it", func(t *testing.T) {
			if got := data(take(t, feed, events.FeedFilter{}, 1_000_000, 5)); got != "12345" {
				t.Errorf("got %s", got)
			}
		})
		t.Run("shows a tenant's own", func(t *testing.T) {
			if got := data(take(t, feed, events.FeedFilter{Tenant: "acme"}, 0, 3)); got != "134" {
				t.Errorf("got %s", got)
			}
		})
		t.Run("shows the topics asked for", func(t *testing.T) {
			if got := data(take(t, feed, events.FeedFilter{Topics: []string{"failover", "region"}}, 0, 3)); got != "125" {
				t.Errorf("got %s", got)
			}
		})
		t.Run("follows", func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			got := make(chan events.FeedItem)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for it, err := range feed.Subscribe(ctx, events.FeedFilter{Tenant: "follow"}, 0) {
					if err != nil {
						t.Error(err)
						return
					}
					got <- it
				}
			}()
			for i := range 3 {
				appendTo(t, db, events.New("omni.a", "f", "follow", i), events.New("omni.a", "f", "acme", "hidden"))
				drain(t, relay)
				select {
				case it := <-got:
					if string(it.Event.Data) != fmt.Sprint(i) {
						t.Errorf("got %s", it.Event.Data)
					}
				case <-ctx.Done():
					t.Fatal("nothing came")
				}
			}
			cancel()
			<-ended
		})
		t.Run("starts with what is new", func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			got := make(chan string)
			go func() {
				defer close(got)
				for it, err := range feed.Subscribe(ctx, events.FeedFilter{}, -1) {
					if err != nil {
						t.Error(err)
					}
					got <- string(it.Event.Data)
					return
				}
			}()
			// It is not told when the subscription has begun: so there are new ones until one comes.
			for i := 0; ; i++ {
				appendTo(t, db, events.New("omni.a", "n", "", "new"))
				drain(t, relay)
				select {
				case d := <-got:
					if d != `"new"` {
						t.Errorf("got %s", d)
					}
					return
				case <-time.After(5 * time.Millisecond):
				case <-ctx.Done():
					t.Fatal("nothing came")
				}
			}
		})
	})
}

func TestFeedIsBounded(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		feed := events.NewFeed(db, events.FeedOptions{MaxItems: 100})
		relay := events.NewRelay(db, []events.Consumer{feed.Consumer()}, quick())
		for range 11 {
			var evs []events.Event
			for i := range 100 {
				evs = append(evs, events.New("omni.a", "s", "", i))
			}
			appendTo(t, db, evs...)
			drain(t, relay)
		}
		if n := rows(t, db, `select count(*) from event_feed`); n > 300 {
			t.Errorf("%d events are kept", n)
		}
	})
}

// TestFeedOfMany has the relays of several databases, two of each, add to one feed: who follows it misses nothing.
func TestFeedOfMany(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, infra *database.DB) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		feed := events.NewFeed(infra, events.FeedOptions{Interval: 5 * time.Millisecond})
		var relays, writers sync.WaitGroup
		sources := []*database.DB{infra, databasetest.Open(t, database.Tenants), databasetest.Open(t, database.Billing)}
		const each = 60
		for d, db := range sources {
			for range 2 {
				relays.Go(func() {
					opts := quick()
					opts.Group = 3
					if err := events.NewRelay(db, []events.Consumer{feed.Consumer()}, opts).Run(ctx); err != nil {
						t.Error(err)
					}
				})
			}
			writers.Go(func() {
				for i := range each {
					appendTo(t, db, events.New("omni.a", fmt.Sprintf("s%d", d), "", fmt.Sprintf("s%d/%d", d, i)))
				}
			})
		}
		var got []string
		last := int64(0)
		for it, err := range feed.Subscribe(ctx, events.FeedFilter{}, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if it.Seq <= last {
				t.Fatalf("%d follows %d", it.Seq, last)
			}
			last = it.Seq
			if got = append(got, string(it.Event.Data)); len(got) == each*len(sources) {
				break
			}
		}
		writers.Wait()
		cancel()
		relays.Wait()
		ordered(t, "the feed", got, map[string]int{"s0": each, "s1": each, "s2": each})
	})
}
