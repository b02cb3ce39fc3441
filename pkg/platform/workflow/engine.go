package workflow

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// What Options fall back to.
const (
	defaultBase     = 200 * time.Millisecond
	defaultMax      = 10 * time.Second
	defaultPoll     = 250 * time.Millisecond
	defaultParallel = 256
)

// Backoff is how long a step waits after its nth failed attempt: a random time between half of and all of Base·2^(n−1), at
// most Max.
type Backoff struct {
	Base, Max time.Duration  // 200 ms and 10 s when 0
	Random    func() float64 // in [0,1); math/rand when nil
}

func (b Backoff) after(attempt int) time.Duration {
	d := b.Max
	if shift := max(attempt-1, 0); shift < 30 && b.Base<<shift < b.Max {
		d = b.Base << shift
	}
	return d/2 + time.Duration(b.Random()*float64(d/2))
}

// metrics is told what changed; telemetry.Workflow fits. took is since the run's or the step's start.
type metrics interface {
	RunChanged(kind, status string, ended bool, took time.Duration)
	StepDone(action, status string, took time.Duration)
}

// Options tune an engine; the zero value works.
type Options struct {
	Logger   *slog.Logger
	Backoff  Backoff
	Parallel int           // most steps at once over all runs; 256 when 0
	Poll     time.Duration // how often decisions made by other processes are looked for; 250 ms when 0
	Metrics  metrics       // nil for none
	// Failpoint is called at each of Failpoints(), for tests that kill the process there; nil for none.
	Failpoint func(name string)
}

// Failpoints names the points at which Options.Failpoint is called.
func Failpoints() []string {
	return []string{
		beforeStart, afterStart, beforeDo, afterDo, beforeCheckpoint, afterCheckpoint,
		beforeUndo, afterUndo, beforeSettle, afterSettle,
	}
}

const (
	beforeStart      = "workflow.before_start_commit"
	afterStart       = "workflow.after_start_commit"
	beforeDo         = "workflow.before_do"
	afterDo          = "workflow.after_do"
	beforeCheckpoint = "workflow.before_checkpoint"
	afterCheckpoint  = "workflow.after_checkpoint"
	beforeUndo       = "workflow.before_undo"
	afterUndo        = "workflow.after_undo"
	beforeSettle     = "workflow.before_settle"
	afterSettle      = "workflow.after_settle"
)

// Engine drives runs while its process leads.
type Engine struct {
	db    *database.DB
	kinds map[string]Kind
	opts  Options
	log   *slog.Logger
}

// NewEngine makes an engine over the database of the runs. A step whose kind or action is not among kinds fails.
func NewEngine(db *database.DB, kinds map[string]Kind, opts Options) *Engine {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Backoff.Base <= 0 {
		opts.Backoff.Base = defaultBase
	}
	if opts.Backoff.Max <= 0 {
		opts.Backoff.Max = defaultMax
	}
	if opts.Backoff.Random == nil {
		opts.Backoff.Random = rand.Float64
	}
	if opts.Parallel <= 0 {
		opts.Parallel = defaultParallel
	}
	if opts.Poll <= 0 {
		opts.Poll = defaultPoll
	}
	if opts.Failpoint == nil {
		opts.Failpoint = func(string) {}
	}
	return &Engine{db: db, kinds: kinds, opts: opts, log: opts.Logger}
}

// Lead drives every alive run until ctx ends (then it returns nil) or the database says that leadership has moved on from
// epoch (then omni.CodeStale). It returns when all actions that it called have returned; what they did after the end of ctx
// is not recorded, and the next leader calls them again with Repeat. It may be called again with a higher epoch.
func (e *Engine) Lead(ctx context.Context, epoch int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l := newLead(e, epoch, cancel)
	return l.run(ctx)
}

// Wait returns the run once done says so, or once it is over; done may be nil, which is cheaper for large runs, as their
// steps are then only read at the end. It is woken by progress in this process, and polls for that of others.
func (e *Engine) Wait(ctx context.Context, s database.Scope, id string, done func(Run) bool) (Run, error) {
	wake, stop := e.db.Watch(signalProgress)
	defer stop()
	ticker := time.NewTicker(e.opts.Poll)
	defer ticker.Stop()
	for {
		var r Run
		err := e.db.Read(ctx, s, func(ctx context.Context, tx *database.Tx) (err error) {
			if r, err = getRun(ctx, tx, id); err != nil || (done == nil && r.Alive()) {
				return err
			}
			r, err = Get(ctx, tx, id)
			return err
		})
		if err != nil || !r.Alive() || (done != nil && done(r)) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-wake:
		case <-ticker.C:
		}
	}
}
