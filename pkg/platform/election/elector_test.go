package election_test

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/election"
	"github.com/omnicloud/omnicloud/pkg/platform/election/epoch"
)

const patience = 30 * time.Second

// term is one leadership as a test sees it.
type term struct {
	epoch int64
	ctx   context.Context
}

// candidate runs an elector; terms receives each leadership, which lasts until its context ends.
type candidate struct {
	elector *election.Elector
	terms   chan term
	stop    func()
}

func stand(t *testing.T, opts election.Options) *candidate {
	t.Helper()
	opts.Now, opts.TTL = time.Now, 2*time.Second
	e, err := election.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	c := &candidate{elector: e, terms: make(chan term, 10)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() {
		ended <- e.Run(ctx, func(ctx context.Context, n int64) error {
			c.terms <- term{n, ctx}
			<-ctx.Done()
			return nil
		})
	}()
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-ended, e.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(c.stop)
	return c
}

func (c *candidate) leads(t *testing.T) term {
	t.Helper()
	select {
	case got := <-c.terms:
		return got
	case <-time.After(patience):
		t.Fatal("nobody leads")
		return term{}
	}
}

func fence(t *testing.T, db *database.DB, n int64) error {
	t.Helper()
	return db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error { return epoch.Fence(ctx, tx, n) })
}

// cluster is an etcd of the test's own, with a listener.
func cluster(t *testing.T) (endpoint string) {
	t.Helper()
	cfg := embed.NewConfig()
	cfg.Dir = filepath.Join(t.TempDir(), "etcd")
	free := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{free}, []url.URL{free}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = nil, []url.URL{free}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.UnsafeNoFsync = true // a power cut is not this test's subject
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	select {
	case <-e.Server.ReadyNotify():
	case <-time.After(patience):
		t.Fatal("etcd is not ready")
	}
	return "http://" + e.Clients[0].Addr().String()
}

func TestEmbedded(t *testing.T) {
	db := databasetest.Open(t, database.Infra)
	dir := t.TempDir()
	opts := election.Options{DataDir: dir, Name: "omnid-1", DB: db}

	t.Run("one process leads by itself, and again with a higher epoch after a restart", func(t *testing.T) {
		for want := int64(1); want <= 2; want++ {
			begun := time.Now()
			c := stand(t, opts)
			got := c.leads(t)
			t.Logf("leading after %s", time.Since(begun).Round(time.Millisecond))
			if got.epoch != want {
				t.Errorf("epoch %d, want %d", got.epoch, want)
			}
			name, n, err := c.elector.Leader(t.Context())
			if err != nil || name != "omnid-1" || n != want {
				t.Errorf("the leader is %q in epoch %d: %v", name, n, err)
			}
			if err := c.elector.Ping(t.Context()); err != nil {
				t.Error(err)
			}
			c.stop()
			if got.ctx.Err() == nil {
				t.Error("the leader's context goes on after the end")
			}
		}
	})

	t.Run("a data directory in use is refused by name", func(t *testing.T) {
		c := stand(t, opts)
		c.leads(t)
		second := opts
		second.Now = time.Now
		_, err := election.Open(t.Context(), second)
		if !omni.Is(err, omni.CodeConflict) || !strings.Contains(err.Error(), "in use by another process") {
			t.Errorf("got %v", err)
		}
	})

	t.Run("a damaged data directory is refused by name", func(t *testing.T) {
		for name, path := range map[string]string{"database": "snap/db", "log": "wal/0000000000000000-0000000000000000.wal"} {
			broken := opts
			broken.DataDir, broken.Now = t.TempDir(), time.Now
			e, err := election.Open(t.Context(), broken)
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(broken.DataDir, "etcd", "member", path)
			if err := os.WriteFile(file, []byte(strings.Repeat("nonsense", 10000)), 0o600); err != nil {
				t.Fatal(err)
			}
			// In a process of its own, as etcd leaves goroutines behind when it cannot start.
			child := exec.CommandContext(t.Context(), os.Args[0])
			child.Env = append(os.Environ(), "OMNI_TEST_OPEN="+broken.DataDir)
			out, err := child.CombinedOutput()
			want := "the etcd inside this process cannot use " + filepath.Join(broken.DataDir, "etcd")
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("%s: %v\n%s", name, err, out)
			}
		}
	})

	t.Run("a file in its place, and no permission, are refused by name", func(t *testing.T) {
		bad := opts
		bad.Now, bad.DataDir = time.Now, t.TempDir()
		if err := os.WriteFile(filepath.Join(bad.DataDir, "etcd"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := election.Open(t.Context(), bad); !omni.Is(err, omni.CodeInvalid) || !strings.Contains(err.Error(), bad.DataDir) {
			t.Errorf("got %v", err)
		}
	})
}

func TestOptions(t *testing.T) {
	db := databasetest.Open(t, database.Infra)
	for name, opts := range map[string]election.Options{
		"no clock":     {Name: "a", DB: db, DataDir: "x"},
		"no name":      {Now: time.Now, DB: db, DataDir: "x"},
		"no database":  {Now: time.Now, Name: "a", DataDir: "x"},
		"no directory": {Now: time.Now, Name: "a", DB: db},
		"short lease":  {Now: time.Now, Name: "a", DB: db, DataDir: "x", TTL: time.Second},
	} {
		if _, err := election.Open(t.Context(), opts); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := election.Open(ctx, election.Options{Now: time.Now, Name: "a", DB: db, Endpoints: []string{"http://127.0.0.1:1"}})
	if !omni.Is(err, omni.CodeUnavailable) || !strings.Contains(err.Error(), "http://127.0.0.1:1") {
		t.Errorf("nobody listens: %v", err)
	}
}

// warnings counts what an elector warns of.
type warnings struct {
	slog.Handler
	count atomic.Int64
}

func (w *warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (w *warnings) Handle(context.Context, slog.Record) error {
	w.count.Add(1)
	return nil
}

func TestLongCampaign(t *testing.T) {
	db := databasetest.Open(t, database.Infra)
	endpoint := cluster(t)
	first := stand(t, election.Options{Endpoints: []string{endpoint}, Name: "omnid-1", DB: db})
	old := first.leads(t)
	log := &warnings{Handler: slog.DiscardHandler}
	second := stand(t, election.Options{Endpoints: []string{endpoint}, Name: "omnid-2", DB: db, Logger: slog.New(log)})
	<-time.After(3 * time.Second) // longer than the lease that it campaigns with would last unrenewed
	first.stop()
	if next := second.leads(t); next.epoch != old.epoch+1 || log.count.Load() > 0 {
		t.Errorf("epoch %d after %d, and %d warnings: whoever wins leads in that very term", next.epoch, old.epoch, log.count.Load())
	}
}

func TestTakeover(t *testing.T) {
	databasetest.Each(t, database.Infra, func(t *testing.T, db *database.DB) {
		endpoint := cluster(t)
		first := stand(t, election.Options{Endpoints: []string{endpoint}, Name: "omnid-1", DB: db})
		old := first.leads(t)
		second := stand(t, election.Options{Endpoints: []string{endpoint}, Name: "omnid-2", DB: db})
		if err := fence(t, db, old.epoch); err != nil {
			t.Fatalf("the leader is refused: %v", err)
		}
		select {
		case <-second.terms:
			t.Fatal("both lead")
		case <-time.After(300 * time.Millisecond): // long enough to win, had it been possible
		}

		// Its lease is taken away, as etcd does when it has not heard of a leader for too long.
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = client.Close() }()
		got, err := client.Get(t.Context(), "/omnicloud/leader/", clientv3.WithFirstCreate()...)
		if err != nil || len(got.Kvs) != 1 {
			t.Fatalf("the leader's key: %v %v", got, err)
		}
		if _, err := client.Revoke(t.Context(), clientv3.LeaseID(got.Kvs[0].Lease)); err != nil {
			t.Fatal(err)
		}
		next := second.leads(t)
		if next.epoch <= old.epoch {
			t.Errorf("epoch %d after %d", next.epoch, old.epoch)
		}
		if err := fence(t, db, old.epoch); !omni.Is(err, omni.CodeStale) {
			t.Errorf("the old leader's transaction: %v", err)
		}
		if err := fence(t, db, next.epoch); err != nil {
			t.Errorf("the new leader's transaction: %v", err)
		}
		select {
		case <-old.ctx.Done():
		case <-time.After(patience):
			t.Error("the old leader's context goes on")
		}
		if !omni.Is(context.Cause(old.ctx), omni.CodeStale) {
			t.Errorf("it ended because of: %v", context.Cause(old.ctx))
		}
		if name, n, err := first.elector.Leader(t.Context()); err != nil || name != "omnid-2" || n != next.epoch {
			t.Errorf("the leader is %q in epoch %d: %v", name, n, err)
		}

		// A leader that ends in order is followed at once, by one that stands again with a new session.
		begun := time.Now()
		second.stop()
		if third := first.leads(t); third.epoch <= next.epoch {
			t.Errorf("epoch %d after %d", third.epoch, next.epoch)
		}
		t.Logf("followed after %s", time.Since(begun).Round(time.Millisecond))
	})
}
