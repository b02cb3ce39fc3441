package monitor

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// Bounds of the service.
const (
	maxProbes       = 16384 // that are watched at once
	defaultInFlight = 4096  // questions under way
	defaultPrograms = 256   // of these, programs of exec probes
	reloadEvery     = time.Second
	flushEvery      = time.Second
)

// Metrics is told of every question. nil in Options tells nobody.
type Metrics interface {
	// ProbeAnswered is called after each question: how long the answer took, and how late the question was asked.
	ProbeAnswered(region string, kind infra.ProbeType, ok bool, latency, late time.Duration)
	// ProbeSkipped is called for questions that were not asked, because too many were under way or the machine was too slow.
	ProbeSkipped(region string, kind infra.ProbeType, n int64)
}

// Options sets up a Service.
type Options struct {
	DB       *database.DB // infra; nil keeps nothing, and knows nothing of other observers
	Observer string       // the name of this replica
	Path     string       // the PATH of exec probes
	InFlight int          // how many questions may be under way; 0 is 4096
	Programs int          // how many exec probes may run at once; 0 is 256
	Logger   *slog.Logger // nil logs nothing
	Metrics  Metrics
	Now      func() time.Time // with a monotonic reading, as of time.Now
}

// Service watches the probes of all regions.
type Service struct {
	opts     Options
	log      *slog.Logger
	schedule *schedule
	askers   *askers
	asking   func(*probe) ask // askers.of; tests put another in its place
	slots    chan struct{}
	programs chan struct{}
	wake     chan struct{}
	store    *store // nil without a database

	mu      sync.RWMutex
	probes  map[key]*probe
	regions map[string][]*probe // by zone and name
	refused int                 // how many there are beyond maxProbes
}

// New makes a Service; nothing is asked before Run.
func New(opts Options) *Service {
	if opts.InFlight <= 0 {
		opts.InFlight = defaultInFlight
	}
	if opts.Programs <= 0 {
		opts.Programs = defaultPrograms
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		opts: opts, log: opts.Logger, schedule: newSchedule(), askers: newAskers(opts.Path, opts.Programs),
		slots: make(chan struct{}, opts.InFlight), programs: make(chan struct{}, opts.Programs), wake: make(chan struct{}, 1),
		probes: map[key]*probe{}, regions: map[string][]*probe{},
	}
	s.asking = s.askers.of
	if opts.DB != nil {
		s.store = newStore(opts.DB, opts.Observer)
	}
	return s
}

// Wake has Run look at once whether the regions have changed.
func (s *Service) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run watches the probes of what regions returns until ctx ends, and looks for changes every second and on Wake. While
// regions fails, what was known last is watched. It returns nil once every question has ended and what is known is stored.
func (s *Service) Run(ctx context.Context, regions func(ctx context.Context) ([]infra.Region, error)) error {
	var work sync.WaitGroup
	work.Go(func() { s.ask(ctx) })
	if s.store != nil {
		work.Go(func() { s.keep(ctx) })
	}
	failing := false
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		list, err := regions(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil && !failing:
			s.log.WarnContext(ctx, "the regions cannot be read; those known last are watched", "error", err)
		case err == nil:
			s.load(ctx, list)
		}
		failing = err != nil
		select {
		case <-tick.C:
		case <-s.wake:
		case <-ctx.Done():
		}
	}
	work.Wait()
	s.askers.close()
	return nil
}

// load takes over the probes of list: new and changed ones begin as unknown, unchanged ones go on, the rest are dropped.
func (s *Service) load(ctx context.Context, list []infra.Region) {
	now := s.opts.Now()
	wanted, refused := definitions(list)
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := false
	for k, def := range wanted {
		if old := s.probes[k]; old == nil || !old.same(def) {
			changed = true
			s.replace(old, newProbe(k, def, now))
		}
	}
	for k, p := range s.probes {
		if _, still := wanted[k]; !still {
			changed = true
			s.schedule.remove(p)
			delete(s.probes, k)
			s.forget(k)
		}
	}
	if refused != s.refused {
		s.log.WarnContext(ctx, "there are more probes than can be watched", "watched", maxProbes, "refused", refused)
		s.refused = refused
	}
	if changed {
		s.index()
	}
}

// definitions gives the probes of all regions by their names: the first of two of one name, the first maxProbes in all.
func definitions(list []infra.Region) (wanted map[key]infra.Probe, refused int) {
	wanted = map[key]infra.Probe{}
	for _, region := range list {
		for _, zone := range region.Spec.Zones {
			for _, def := range zone.Probes {
				k := key{region.Name, zone.Name, def.Name}
				if _, twice := wanted[k]; twice {
					continue
				}
				if len(wanted) >= maxProbes {
					refused++
					continue
				}
				wanted[k] = def
			}
		}
	}
	return wanted, refused
}

// replace begins to watch p, in place of old unless that is nil. The caller holds s.mu.
func (s *Service) replace(old, p *probe) {
	if old != nil {
		s.schedule.remove(old)
		if s.store != nil {
			s.store.changed(p) // what is stored is not true any more
		}
	}
	p.ask = s.asking(p)
	s.probes[p.key] = p
	s.schedule.add(p)
}

func (s *Service) forget(k key) {
	if s.store != nil {
		s.store.removed(k)
	}
}

// index sorts the probes by region. The caller holds s.mu.
func (s *Service) index() {
	s.regions = map[string][]*probe{}
	for _, p := range s.probes {
		s.regions[p.key.region] = append(s.regions[p.key.region], p)
	}
	for _, list := range s.regions {
		slices.SortFunc(list, func(a, b *probe) int { return a.key.compare(b.key) })
	}
}

// of gives the probes of a region, "" for all, in the order of their names.
func (s *Service) of(region string) []*probe {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if region != "" {
		return s.regions[region] // never changed once it is made
	}
	var list []*probe
	names := make([]string, 0, len(s.regions))
	for name := range s.regions {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		list = append(list, s.regions[name]...)
	}
	return list
}

// Observations gives what this replica has seen of a region's probes at since or later: by zone and probe, oldest first.
// It reaches back five minutes at most, and to the start of the process.
func (s *Service) Observations(region string, since time.Time) []infra.Observation {
	var list []infra.Observation
	now := s.opts.Now()
	for _, p := range s.of(region) {
		list = p.observations(list, s.opts.Observer, since, now)
	}
	return list
}

// ProbeStates gives what this replica makes of every probe, in the order of region, zone and name.
func (s *Service) ProbeStates() []State { return s.states("") }

func (s *Service) states(region string) []State {
	probes := s.of(region)
	list := make([]State, 0, len(probes))
	for _, p := range probes {
		list = append(list, p.state(s.opts.Observer))
	}
	return list
}

// Heartbeat takes a sign of life for a heartbeat probe. It is CodeNotFound when there is no such probe, and CodeInvalid when the
// probe is of another type.
func (s *Service) Heartbeat(_ context.Context, region, zone, name string) error {
	s.mu.RLock()
	p := s.probes[key{region, zone, name}]
	s.mu.RUnlock()
	if p == nil {
		return omni.Errorf(omni.CodeNotFound, "there is no probe %s in zone %s of region %s", name, zone, region).
			WithHint("omnictl get region %s shows its zones and probes; a new one is known after a second", region)
	}
	if p.def.Type != infra.ProbeHeartbeat {
		return omni.Errorf(omni.CodeInvalid, "probe %s asks by %s, and takes no heartbeats", name, p.def.Type).
			WithFields(omni.FieldError{Path: "probe", Message: "must be one of the type heartbeat"})
	}
	s.beat(p, true)
	return nil
}
