package dns

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// Options is what the service needs.
type Options struct {
	DB     *database.DB // infra
	Listen string       // HOST:PORT for UDP and TCP; port 0 takes a free one
	// Active gives the address of a resource's active placement: HOST or HOST:PORT. CodeNotFound when there is no such
	// resource, or none of its placements is active.
	Active func(ctx context.Context, tx *database.Tx, tenant, resource string) (address string, err error)
	// Servers are further authoritative servers, HOST:PORT, that Confirm must ask: the other replicas, and secondaries.
	Servers []string
	Now     func() time.Time
	Logger  *slog.Logger
}

// pollInterval is how soon a change by another replica is answered at the latest.
const pollInterval = time.Second

// Service is the DNS service. It is safe for concurrent use.
type Service struct {
	db      *database.DB
	listen  string
	servers []string
	active  func(ctx context.Context, tx *database.Tx, tenant, resource string) (string, error)
	logger  *slog.Logger

	catalog atomic.Pointer[catalog]
	woken   chan struct{}

	mu     sync.Mutex // guards what follows
	server *server
	stop   context.CancelFunc
	loop   sync.WaitGroup
	seen   int64 // the change up to which the catalog is; the loop's own once it runs
}

// New makes the service; Start makes it answer.
func New(opts Options) *Service {
	s := &Service{
		db: opts.DB, listen: opts.Listen, servers: opts.Servers, active: opts.Active, logger: opts.Logger, woken: make(chan struct{}, 1), seen: -1,
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.catalog.Store(&catalog{})
	return s
}

// Start reads all zones, and then answers until Close.
func (s *Service) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		return omni.Errorf(omni.CodeConflict, "the dns server runs already")
	}
	if err := s.reload(ctx); err != nil {
		return fmt.Errorf("read the dns zones: %w", err)
	}
	server, err := listen(ctx, s.listen, &s.catalog, s.logger)
	if err != nil {
		return err
	}
	s.server = server
	loop, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.loop.Go(func() { s.follows(loop) })
	return nil
}

// Addr is the address on which it answers, "" while it does not.
func (s *Service) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		return ""
	}
	return s.server.addr
}

// Close ends answering. It may be called twice, and without Start.
func (s *Service) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		return nil
	}
	s.stop()
	s.loop.Wait()
	err := s.server.close(context.Background())
	s.server = nil
	return err
}

// wake has the zones read anew soon.
func (s *Service) wake() {
	select {
	case s.woken <- struct{}{}:
	default: // it is about to
	}
}

// follows reads what has changed, when woken and once an interval, until ctx ends.
func (s *Service) follows(ctx context.Context) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.woken:
		case <-ticker.C:
		}
		if err := s.reload(ctx); err != nil && ctx.Err() == nil {
			s.logger.WarnContext(ctx, "the dns zones could not be read; answers stay as they were", "error", err)
		}
	}
}

// reload reads the zones that changed since the last time, and drops those that are no more.
func (s *Service) reload(ctx context.Context) error {
	var latest int64
	var changed []*zoneData
	var domains map[string]bool
	err := s.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		changed, domains = nil, nil
		var err error
		if latest, err = currentChange(ctx, tx); err != nil || latest == s.seen {
			return err
		}
		if domains, err = allDomains(ctx, tx); err != nil {
			return err
		}
		zones, err := queryZones(ctx, tx, `where change > $1 order by change`, s.seen)
		if err != nil {
			return err
		}
		for _, z := range zones {
			records, err := zoneRecords(ctx, tx, z.Tenant, z.Name)
			if err != nil {
				return err
			}
			data, err := newZoneData(z, records)
			if err != nil { // one zone that cannot be answered must not keep the others from it
				s.logger.ErrorContext(ctx, "a dns zone cannot be answered", "error", err)
				continue
			}
			changed = append(changed, data)
		}
		return nil
	})
	if err != nil || domains == nil {
		return err
	}
	s.catalog.Store(s.catalog.Load().with(changed, domains))
	s.seen = latest
	return nil
}
