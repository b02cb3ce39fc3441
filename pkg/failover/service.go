package failover

import (
	"context"
	"log/slog"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
	"github.com/omnicloud/omnicloud/pkg/provider"
)

// What the service needs of others.
type (
	dnsSwitcher interface {
		// Switch writes what the records that follow the resources must answer now. Idempotent.
		Switch(ctx context.Context, tx *database.Tx, tenant string, resources []string, run string, epoch int64) ([]infra.RecordChange, error)
		// Confirm asks every authoritative server until all of them answer so, or ctx ends.
		Confirm(ctx context.Context, changes []infra.RecordChange) error
	}
	meter interface {
		// Settled says whether usage of the run is on the books for these regions.
		Settled(ctx context.Context, tenant, run string, regions []string) (bool, error)
	}
	drivers interface {
		Driver(name string) (provider.Driver, error)
	}
	observations interface {
		Observations(region string, since time.Time) []infra.Observation
	}
	tenants interface {
		Exists(ctx context.Context, name string) (bool, error)
	}
)

// Options are what a Service is made of.
type Options struct {
	DB           *database.DB // infra
	Infra        *infra.Store
	Drivers      drivers
	Observations observations
	DNS          dnsSwitcher
	Meter        meter
	Tenants      tenants
	// Records lists a tenant's DNS record sets that follow a resource, for plans to show; nil shows none.
	Records func(ctx context.Context, tenant string) ([]Record, error)
	Now     func() time.Time
	Logger  *slog.Logger

	Tick         time.Duration // between two looks of the controller; 250 ms when 0
	MaxAlive     int           // most runs by policy at a time; 10 when 0
	MaxPerHour   int           // most runs by policy begun in an hour; 60 when 0
	CheckTimeout time.Duration // of a driver's check while planning; 3 s when 0
	VerifyFor    time.Duration // how long one attempt to verify waits for a placement to serve; 10 s when 0
	CatchUpFor   time.Duration // how long one attempt waits for a standby to catch up; 1 min when 0
	MeterFor     time.Duration // how long a run waits for usage to be on the books; 30 s when 0
	Parallel     int           // most steps of one run at once; 64 when 0
	Workflow     workflow.Options
}

// Service is the use cases of failover. It is safe for concurrent use.
type Service struct {
	opts   Options
	db     *database.DB
	infra  *infra.Store
	now    func() time.Time
	log    *slog.Logger
	engine *workflow.Engine
	cache  runCache
	looks  looks
}

func orElse[T int | time.Duration](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}

// New makes a Service. Nothing moves by itself until Lead is called.
func New(opts Options) *Service {
	orElse(&opts.Tick, 250*time.Millisecond)
	orElse(&opts.MaxAlive, 10)
	orElse(&opts.MaxPerHour, 60)
	orElse(&opts.CheckTimeout, 3*time.Second)
	orElse(&opts.VerifyFor, 10*time.Second)
	orElse(&opts.CatchUpFor, time.Minute)
	orElse(&opts.MeterFor, 30*time.Second)
	orElse(&opts.Parallel, workflow.DefaultParallel)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Service{opts: opts, db: opts.DB, infra: opts.Infra, now: opts.Now, log: opts.Logger}
	s.cache.runs = map[string]*runInfo{}
	s.engine = workflow.NewEngine(opts.DB, map[string]workflow.Kind{workflowKind: s.kind()}, opts.Workflow)
	return s
}

// workflowKind is what the engine knows these runs by.
const workflowKind = "failover"

// key is what makes a tenant's alive run the only one.
func key(tenant string) string { return "failover/" + tenant }

// runSignal wakes those who wait for a run's status to change.
const runSignal = "failover.run"

// Wait returns the run, with its steps, once done says so of it (nil: never; it is shown the run without steps), or once it is over. It is
// woken by changes made in this process, and looks for those of others.
func (s *Service) Wait(ctx context.Context, id string, done func(Run) bool) (Run, error) {
	wake, stop := s.db.Watch(runSignal)
	defer stop()
	ticker := time.NewTicker(s.opts.Tick)
	defer ticker.Stop()
	for {
		var run Run
		err := s.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) (err error) {
			run, err = getRun(ctx, tx, "", id)
			return err
		})
		if err != nil {
			return run, err
		}
		if !run.Status.Alive() || (done != nil && done(run)) {
			return s.Run(ctx, "", id)
		}
		select {
		case <-ctx.Done():
			return run, ctx.Err()
		case <-wake:
		case <-ticker.C:
		}
	}
}
