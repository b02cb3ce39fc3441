package election

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

const (
	// quota bounds etcd's database: an election needs a few kilobytes.
	quota = 64 << 20
	// segment is the size of a log segment. etcd writes each in full when it makes it; its own 64 MB would cost a slow
	// disk seconds at the first start, for a log that grows by bytes.
	segment = 1 << 20
	// startTimeout bounds the start, which takes less than a second on a healthy disk.
	startTimeout = 30 * time.Second
	// lockTimeout is how long the end of a predecessor on the same data directory is waited for.
	lockTimeout = time.Second
)

// smallSegments changes a variable of etcd's package, which has no option for it. It is written once, before the first server reads it.
var smallSegments = sync.OnceFunc(func() { wal.SegmentSizeBytes = segment })

// server is the etcd inside this process: one member without listeners. Its log is synced as usual, since a leader key that is forgotten
// after a crash would be harmless, but a cluster id that is would not be.
type server struct {
	etcd    *embed.Etcd
	closing *atomic.Bool
}

func startServer(ctx context.Context, opts Options) (*server, error) {
	if opts.DataDir == "" {
		return nil, omni.Errorf(omni.CodeInvalid, "data_dir: must be given when there are no etcd endpoints")
	}
	dir := filepath.Join(opts.DataDir, "etcd")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, omni.Errorf(omni.CodeInvalid, "the directory %s cannot be made: %w", dir, err)
	}
	if err := inspect(dir); err != nil {
		return nil, err
	}
	smallSegments()
	s := &server{closing: &atomic.Bool{}}
	cfg := config(dir, opts.Logger, s.closing)
	var err error
	if s.etcd, err = start(cfg); err != nil {
		return nil, unusable(dir, err)
	}
	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	select {
	case <-s.etcd.Server.ReadyNotify():
		return s, nil
	case err = <-s.etcd.Err():
	case <-s.etcd.Server.StopNotify():
		err = errors.New("it stopped by itself")
	case <-timer.C:
		err = fmt.Errorf("it was not ready within %s", startTimeout)
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.close()
	return nil, omni.Errorf(omni.CodeUnavailable, "the etcd inside this process did not start in %s: %w", dir, err)
}

// inspect looks at etcd's database before etcd does, which waits without end for one that another process has open, and takes the process
// down when it is damaged.
func inspect(dir string) error {
	path := filepath.Join(dir, "member", "snap", "db")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockTimeout})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return omni.Errorf(omni.CodeConflict, "the directory %s is in use by another process", dir).WithCause(err).
			WithHint("another omnid runs on this data directory: stop it, or give this one a data directory of its own")
	}
	if err != nil {
		return unusable(dir, fmt.Errorf("opening %s: %w", path, err))
	}
	return db.Close()
}

func unusable(dir string, err error) error {
	return omni.Errorf(omni.CodeInvalid, "the etcd inside this process cannot use %s: %w", dir, err).
		WithHint("make sure that no other process uses the directory and that it is writable; if it is damaged, " +
			"stop omnid and move it away: it holds who leads, nothing else, and is made anew")
}

// start turns a panic of etcd, which is how it reports some damage, into an error.
func start(cfg *embed.Config) (etcd *embed.Etcd, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return embed.StartEtcd(cfg)
}

func config(dir string, log *slog.Logger, closing *atomic.Bool) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name = "omnid"
	cfg.Dir = dir
	// A member must have a URL, but nobody is to connect: it listens nowhere, and its client calls it directly.
	nowhere := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.AdvertisePeerUrls = []url.URL{nowhere}
	cfg.AdvertiseClientUrls = []url.URL{nowhere}
	cfg.ListenPeerUrls, cfg.ListenClientUrls = nil, nil
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.QuotaBackendBytes = quota
	cfg.AutoCompactionMode = embed.CompactorModeRevision
	cfg.AutoCompactionRetention = "1000"
	cfg.SnapshotCount = 1000
	cfg.SnapshotCatchUpEntries = 100
	cfg.EnableGRPCGateway = false
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(quiet(log, closing))
	return cfg
}

// quiet gives etcd a logger that passes on errors only, and while closing not even those: it reports its own end as errors. What
// etcd calls fatal is a panic, so that it does not take the process along without a word.
func quiet(log *slog.Logger, closing *atomic.Bool) *zap.Logger {
	enc := zap.NewProductionEncoderConfig()
	enc.TimeKey, enc.LevelKey, enc.CallerKey, enc.StacktraceKey = "", "", "", ""
	core := zapcore.NewCore(zapcore.NewConsoleEncoder(enc), zapcore.AddSync(sink{log, closing}), zapcore.ErrorLevel)
	return zap.New(core, zap.WithFatalHook(zapcore.WriteThenPanic))
}

type sink struct {
	log     *slog.Logger
	closing *atomic.Bool
}

// Write implements io.Writer.
func (s sink) Write(line []byte) (int, error) {
	if !s.closing.Load() {
		s.log.Warn("the etcd inside this process reports an error", "message", strings.TrimSpace(string(line)))
	}
	return len(line), nil
}

func (s *server) client() *clientv3.Client { return v3client.New(s.etcd.Server) }

func (s *server) close() {
	s.closing.Store(true)
	s.etcd.Close()
}
