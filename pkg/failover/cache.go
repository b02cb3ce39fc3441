package failover

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/workflow"
)

// runInfo is what the steps of a run share: its input, and how to reach the placements. Roles are not read from it.
type runInfo struct {
	runInput
	resources map[string]infra.Resource
	readAt    time.Time
}

// The cache is read again after a second, so that a config which was mended during a pause is used.
const (
	cacheFor  = time.Second
	cacheRuns = 64
)

// runCache keeps the thousand steps of a large run from reading the same thousand resources each.
type runCache struct {
	reading sync.Mutex
	mu      sync.Mutex
	runs    map[string]*runInfo
}

func (c *runCache) get(id string) *runInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.runs[id]
}

func (c *runCache) put(id string, in *runInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.runs) >= cacheRuns {
		clear(c.runs)
	}
	c.runs[id] = in
}

func (c *runCache) drop(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.runs, id)
}

// info gives what is known of the run that a step belongs to.
func (s *Service) info(ctx context.Context, run workflow.Run) (*runInfo, error) {
	s.cache.reading.Lock() // one reads, and the others find what it has read
	defer s.cache.reading.Unlock()
	if in := s.cache.get(run.ID); in != nil && s.now().Sub(in.readAt) < cacheFor {
		return in, nil
	}
	in := &runInfo{resources: map[string]infra.Resource{}, readAt: s.now()}
	if err := json.Unmarshal(run.Input, &in.runInput); err != nil {
		return nil, workflow.Permanent(omni.Errorf(omni.CodeInternal, "the input of run %s cannot be read: %w", run.ID, err))
	}
	err := s.db.Read(ctx, database.Tenant(run.Tenant), func(ctx context.Context, tx *database.Tx) error {
		list, err := s.infra.AllResources(ctx, tx, run.Tenant)
		for _, r := range list {
			in.resources[r.Name] = r
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s.cache.put(run.ID, in)
	return in, nil
}

// inputOf reads a run's input for a commit. It never reads the database, which has a transaction open there.
func (s *Service) inputOf(run workflow.Run) (runInput, error) {
	if in := s.cache.get(run.ID); in != nil {
		return in.runInput, nil
	}
	var input runInput
	if err := json.Unmarshal(run.Input, &input); err != nil {
		return input, omni.Errorf(omni.CodeInternal, "the input of run %s cannot be read: %w", run.ID, err)
	}
	return input, nil
}

// placement gives a resource and its placement at one end of the run.
func (in *runInfo) placement(resource, region string) (infra.Resource, infra.Placement, error) {
	r, ok := in.resources[resource]
	if !ok {
		return r, infra.Placement{}, workflow.Permanent(omni.Errorf(omni.CodeNotFound, "the resource %s is no longer there", resource))
	}
	p, ok := r.Placement(region)
	if !ok {
		return r, p, workflow.Permanent(omni.Errorf(omni.CodeNotFound, "%s has no placement in %s any more", resource, region))
	}
	return r, p, nil
}
