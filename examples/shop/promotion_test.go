package shop

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// standby is a standby database that runs in this process, beside an other one that says what the test wants.
func standby(t *testing.T, peer Status) (*member, *database) {
	t.Helper()
	east, west, err := FreeAddresses(t.Context())
	if err != nil {
		t.Skipf("no loopback addresses: %v", err)
	}
	config, err := Setup(t.TempDir(), Options{East: east, West: west, Command: []string{"shop"}})
	if err != nil {
		t.Fatal(err)
	}
	said := atomic.Value{}
	said.Store(peer)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", config.Regions[0].control(DB))
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/state" {
			answer(w, http.StatusOK, said.Load())
			return
		}
		refuse(w, http.StatusConflict, codeRefused, errors.New("nothing to follow"))
	})}}
	server.Start()
	t.Cleanup(server.Close)

	m := &member{config: config, region: config.Regions[1], name: DB, home: config.home(West, DB), log: slog.New(slog.DiscardHandler)}
	m.state = state{Role: Standby}
	lock, err := m.home.lock(t.Context(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	d, err := newDatabase(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.close() })
	m.service = d
	if err := d.settle(t.Context(), m.state); err != nil {
		t.Fatal(err)
	}
	return m, d
}

func TestPromotionBesideAnother(t *testing.T) {
	promote := request{Action: actionPromote, Run: "r", Step: "s", Epoch: 1}
	t.Run("is refused while that one takes writes", func(t *testing.T) {
		m, d := standby(t, Status{Region: East, Role: Active, Accepts: true, Term: 1})
		if err := m.act(t.Context(), promote); !errors.Is(err, errRefused) {
			t.Fatalf("got %v", err)
		}
		if _, err := d.accept(Order{ID: "a", Item: "b"}); !errors.Is(err, errNotActive) || m.now().Role != Standby || d.follower == nil {
			t.Fatalf("got %v, %+v", err, m.now())
		}
	})
	t.Run("is refused when that one has records that this one cannot get", func(t *testing.T) {
		m, _ := standby(t, Status{Region: East, Role: Fenced, Term: 1, Last: 5, Chain: "x"})
		if err := m.act(t.Context(), promote); !errors.Is(err, errRefused) || m.now().Role != Standby {
			t.Fatalf("got %v, %+v", err, m.now())
		}
	})
	t.Run("begins a term later than that one's", func(t *testing.T) {
		m, d := standby(t, Status{Region: East, Role: Fenced, Term: 7, Last: 0, Chain: string(genesis[:])})
		if err := m.act(t.Context(), promote); err != nil {
			t.Fatal(err)
		}
		seq, err := d.accept(Order{ID: "a", Item: "b"})
		if err != nil {
			t.Fatal(err)
		}
		receipt, err := d.committed(t.Context(), seq)
		if err != nil || receipt.Term != 8 || receipt.Epoch != 1 || receipt.ServedBy != West {
			t.Fatalf("%+v, %v", receipt, err)
		}
	})
	t.Run("knows no lag before it has heard anything", func(t *testing.T) {
		m, _ := standby(t, Status{Region: East, Role: Active, Accepts: true, Term: 1})
		if s := m.status(t.Context()); s.LagSeconds != nil || s.Healthy {
			t.Fatalf("%+v", s)
		}
	})
	t.Run("is as old as its last record as long as it follows nobody", func(t *testing.T) {
		m, d := standby(t, Status{Region: East, Role: Active, Accepts: true, Term: 1})
		d.stopFollowing()
		r := record{Kind: kindPromote, Region: East, Term: 1, Wall: time.Now().Add(-time.Hour).UnixNano()}
		if _, err := d.journal.append(r); err != nil {
			t.Fatal(err)
		}
		d.startFollowing(t.Context())
		if s := m.status(t.Context()); s.LagSeconds == nil || *s.LagSeconds < 3600 {
			t.Fatalf("%+v", s)
		}
	})
}
