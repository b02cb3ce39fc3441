package election

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/election/epoch"
)

const (
	// prefix is where candidates put their keys.
	prefix = "/omnicloud/leader"
	// defaultTTL is how long a lease outlives its last renewal, and so about how long it takes to replace a dead leader.
	defaultTTL = 5 * time.Second
	// minTTL is the least that etcd grants with its usual timing.
	minTTL = 2 * time.Second
	// answerTimeout bounds the wait for etcd's first answer.
	answerTimeout = 10 * time.Second
	// pause is the wait between two campaigns of which the first failed.
	pause = time.Second
)

// Options say where to elect and who takes part.
type Options struct {
	// Endpoints of an etcd cluster, such as http://10.0.0.5:2379; none means an etcd inside this process.
	Endpoints []string
	// DataDir is omnid's data directory; the etcd inside this process keeps its data in DataDir/etcd.
	DataDir string
	// Name is this replica's; it is what Leader tells.
	Name string
	// TTL is 5 s when 0, and at least 2 s.
	TTL time.Duration
	// DB holds the epoch: the infra database.
	DB *database.DB
	// Now is a clock with a monotonic reading (time.Now).
	Now    func() time.Time
	Logger *slog.Logger
}

// Elector takes part in the election of one replica.
type Elector struct {
	opts   Options
	log    *slog.Logger
	client *clientv3.Client
	server *server // nil with endpoints
}

// Open starts the etcd inside this process, or connects to the endpoints; etcd has answered when it returns. The errors are
// omni.CodeUnavailable when etcd does not answer, omni.CodeConflict when another process uses the data directory, and
// omni.CodeInvalid for wrong options or a data directory that etcd cannot read.
func Open(ctx context.Context, opts Options) (*Elector, error) {
	if opts.Now == nil || opts.DB == nil || opts.Name == "" {
		return nil, omni.Errorf(omni.CodeInvalid, "an elector needs a clock, a database and a name")
	}
	if opts.TTL == 0 {
		opts.TTL = defaultTTL
	}
	if opts.TTL < minTTL || opts.TTL > time.Hour {
		return nil, omni.Errorf(omni.CodeInvalid, "ttl: %s is not between %s and 1h", opts.TTL, minTTL)
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Elector{opts: opts, log: opts.Logger}
	var err error
	if len(opts.Endpoints) == 0 {
		if e.server, err = startServer(ctx, opts); err != nil {
			return nil, err
		}
		e.client = e.server.client()
	} else if e.client, err = connect(opts.Endpoints); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := e.Ping(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	if e.server != nil {
		if err := e.forget(ctx); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	return e, nil
}

// forget removes the keys of candidates from the etcd inside this process. Nobody else reaches it, so they are of processes that have
// ended: without this, one that was killed would still seem to lead, and its lease would have to be waited for.
func (e *Elector) forget(ctx context.Context) error {
	if _, err := e.client.Delete(ctx, prefix+"/", clientv3.WithPrefix()); err != nil {
		return omni.Errorf(omni.CodeUnavailable, "the etcd inside this process does not forget the last leader: %w", err)
	}
	return nil
}

func connect(endpoints []string) (*clientv3.Client, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   endpoints,
		DialTimeout: answerTimeout,
		// Without these a client that hangs on a frozen member waits for it.
		DialKeepAliveTime:    2 * time.Second,
		DialKeepAliveTimeout: 2 * time.Second,
		Logger:               zap.NewNop(), // what matters comes back as an error
	})
	if err != nil {
		return nil, omni.Errorf(omni.CodeInvalid, "the etcd endpoints %s cannot be used: %w", strings.Join(endpoints, ", "), err)
	}
	return client, nil
}

// Ping says whether etcd answers, by a read that needs its majority.
func (e *Elector) Ping(ctx context.Context) error {
	if _, err := e.client.Get(ctx, prefix, clientv3.WithCountOnly()); err != nil {
		where := "inside this process"
		if len(e.opts.Endpoints) > 0 {
			where = "at " + strings.Join(e.opts.Endpoints, ", ")
		}
		return omni.Errorf(omni.CodeUnavailable, "the etcd %s does not answer: %w", where, err).
			WithHint("check that it runs, has a majority, and can be reached from here")
	}
	return nil
}

// Leader tells who leads, "" when nobody does, and the newest epoch.
func (e *Elector) Leader(ctx context.Context) (name string, newest int64, err error) {
	got, err := e.client.Get(ctx, prefix+"/", clientv3.WithFirstCreate()...)
	if err != nil {
		return "", 0, omni.Errorf(omni.CodeUnavailable, "etcd does not tell who leads: %w", err)
	}
	if len(got.Kvs) > 0 {
		name = string(got.Kvs[0].Value)
	}
	err = e.opts.DB.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		l, err := epoch.Current(ctx, tx)
		newest = l.Epoch
		return err
	})
	return name, newest, err
}

// Close ends the connection, and the etcd inside this process. End Run first.
func (e *Elector) Close() error {
	var err error
	if closing := e.client.Close(); closing != nil && !errors.Is(closing, context.Canceled) {
		err = fmt.Errorf("closing the client of etcd: %w", closing)
	}
	if e.server != nil {
		e.server.close()
	}
	return err
}

// Run campaigns, and calls lead each time that this replica wins, until ctx ends; then it returns nil. lead gets a context that
// ends before the lease can, and must return soon after that: the next campaign waits for it. Should lead return earlier,
// with or without an error, leadership is given up and campaigned for again.
func (e *Elector) Run(ctx context.Context, lead func(ctx context.Context, epoch int64) error) error {
	for ctx.Err() == nil {
		err := e.term(ctx, lead)
		if ctx.Err() != nil {
			break
		}
		e.log.WarnContext(ctx, "a term of leadership, or a campaign for it, ended", "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return nil
}

// term is one session: a campaign and, if it is won, one leadership.
func (e *Elector) term(ctx context.Context, lead func(ctx context.Context, epoch int64) error) (err error) {
	l, err := e.grant(ctx)
	if err != nil {
		return err
	}
	session, err := concurrency.NewSession(e.client, concurrency.WithLease(l.id), concurrency.WithContext(e.client.Ctx()))
	if err != nil {
		return fmt.Errorf("opening a session in etcd: %w", err)
	}
	defer func() {
		if l.lost() {
			session.Orphan() // there is nothing to give back
			return
		}
		if closing := session.Close(); closing != nil {
			err = errors.Join(err, fmt.Errorf("giving the lease back: %w", closing))
		}
	}()
	if err := e.campaign(ctx, session); err != nil {
		return err
	}
	// Its first renewal shows that the lease, and with it the key that won, was alive after the campaign. It comes before the
	// deadline is watched: the one known so far is as old as the campaign, which may have lasted for days.
	if err := l.renew(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	held := make(chan struct{})
	go func() {
		defer close(held)
		l.hold(ctx, session.Done(), cancel)
	}()
	defer func() { cancel(nil); <-held }()
	var number int64
	err = e.opts.DB.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) (err error) {
		number, err = epoch.Take(ctx, tx, e.opts.Name)
		return err
	})
	if err != nil {
		return fmt.Errorf("taking the next epoch: %w", err)
	}
	e.log.InfoContext(ctx, "this replica leads", "name", e.opts.Name, "epoch", number)
	err = lead(ctx, number)
	e.log.InfoContext(ctx, "this replica leads no more", "name", e.opts.Name, "epoch", number, "cause", context.Cause(ctx))
	return errors.Join(err, context.Cause(ctx))
}

// campaign waits until this replica wins, its session ends, or ctx does.
func (e *Elector) campaign(ctx context.Context, session *concurrency.Session) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-session.Done():
			cancel(errors.New("the session in etcd ended during the campaign"))
		case <-ctx.Done():
		}
	}()
	if err := concurrency.NewElection(session, prefix).Campaign(ctx, e.opts.Name); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("campaigning: %w", err)
	}
	return nil
}
