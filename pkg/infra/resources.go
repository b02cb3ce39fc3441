package infra

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// Placement gives the placement in a region, and whether there is one.
func (r Resource) Placement(region string) (Placement, bool) {
	i := slices.IndexFunc(r.Placements, func(p Placement) bool { return p.Region == region })
	if i < 0 {
		return Placement{}, false
	}
	return r.Placements[i], true
}

// Active gives the active placement, and whether there is one: between fence and promote of a run there is none.
func (r Resource) Active() (Placement, bool) {
	i := slices.IndexFunc(r.Placements, func(p Placement) bool { return p.Role == Active })
	if i < 0 {
		return Placement{}, false
	}
	return r.Placements[i], true
}

// Resource gives a tenant's resource; CodeNotFound when the tenant has none of that name.
func (s *Store) Resource(ctx context.Context, tx *database.Tx, tenant, name string) (Resource, error) {
	return getResource(ctx, tx, selectResource, tenant, name)
}

func getResource(ctx context.Context, tx *database.Tx, query, tenant, name string) (Resource, error) {
	list, err := listResources(ctx, tx, tenant, query, tenant, name)
	if err == nil && len(list) == 0 {
		err = notFound("resource", name)
	}
	if err != nil {
		return Resource{}, err
	}
	return list[0], nil
}

func listResources(ctx context.Context, tx *database.Tx, tenant, query string, args ...any) ([]Resource, error) {
	list := []Resource{}
	err := tx.Query(ctx, query, args, func(scan func(...any) error) error {
		r, err := scanResource(scan)
		list = append(list, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, complete(ctx, tx, tenant, list)
}

// Resources gives a page of a tenant's resources, by name.
func (s *Store) Resources(ctx context.Context, tx *database.Tx, tenant string, req omni.PageRequest) (omni.Page[Resource], error) {
	list, err := listResources(ctx, tx, tenant, selectResources, tenant, req.After, req.Size()+1)
	return page(list, req.Size(), func(r Resource) string { return r.Name }), err
}

// AllResources gives all of a tenant's resources, by name.
func (s *Store) AllResources(ctx context.Context, tx *database.Tx, tenant string) ([]Resource, error) {
	return listResources(ctx, tx, tenant, selectAll, tenant)
}

// TenantsActiveIn lists, in order, the tenants after the one named that have an active placement in a region; at most limit.
func (s *Store) TenantsActiveIn(ctx context.Context, tx *database.Tx, region, after string, limit int) ([]string, error) {
	var names []string
	err := tx.Query(ctx, selectTenantsIn, []any{region, after, limit}, func(scan func(...any) error) error {
		var name string
		err := scan(&name)
		names = append(names, name)
		return err
	})
	return names, err
}

// ApplyResource makes the resource what its manifest says. A new resource's placements take the roles of the manifest; those
// of an existing one keep their roles, and new ones join as standby. The active placement cannot be taken away, and nothing changes under a
// run of the tenant that is alive (CodeConflict). CodeInvalid names every field that is wrong. CheckGraph must follow, once all of a manifest is applied.
func (s *Store) ApplyResource(ctx context.Context, tx *database.Tx, meta omni.Metadata, spec ResourceSpec) (omni.Outcome, error) {
	f := resourceFaults(meta, spec, s.drivers)
	if err := s.knownRegions(ctx, tx, &f, spec.Placements); err != nil {
		return "", err
	}
	if err := f.err("resource", meta.Name); err != nil {
		return "", err
	}
	wanted := resourceFrom(meta, spec)
	old, err := getResource(ctx, tx, locked(tx, selectResource), meta.Tenant, meta.Name)
	if omni.Is(err, omni.CodeNotFound) {
		return omni.Created, s.createResource(ctx, tx, wanted)
	}
	if err != nil {
		return "", err
	}
	return s.updateResource(ctx, tx, old, wanted)
}

func (s *Store) knownRegions(ctx context.Context, tx *database.Tx, f *faults, placements []PlacementSpec) error {
	for i, p := range placements[:min(len(placements), MaxPlacements)] {
		_, err := s.Region(ctx, tx, p.Region)
		if omni.Is(err, omni.CodeNotFound) {
			f.add(fmt.Sprintf("spec.placements[%d].region", i), "there is no region %q", clip(p.Region))
		} else if err != nil {
			return err
		}
	}
	return nil
}

// resourceFrom gives the resource that a manifest describes, as if it were new.
func resourceFrom(meta omni.Metadata, spec ResourceSpec) Resource {
	r := Resource{Tenant: meta.Tenant, Name: meta.Name, Labels: meta.Labels, Type: spec.Type}
	r.DependsOn = append([]string{}, slices.Sorted(slices.Values(spec.DependsOn))...)
	for _, p := range spec.Placements {
		r.Placements = append(r.Placements, Placement{
			Region: p.Region, Role: p.Role, Driver: p.Driver, Address: p.Address, Config: p.Config, Lease: p.Lease,
		})
		if p.Role == Active {
			r.Serving = p.Region
		}
	}
	slices.SortFunc(r.Placements, func(a, b Placement) int { return strings.Compare(a.Region, b.Region) })
	return r
}

func (s *Store) createResource(ctx context.Context, tx *database.Tx, r Resource) error {
	labels, err := encode(r.Labels)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, insertResource, r.Tenant, r.Name, r.Type, labels, r.Serving, database.Time(tx.Now())); err != nil {
		return err
	}
	if err := writeNeeds(ctx, tx, r); err != nil {
		return err
	}
	for _, p := range r.Placements {
		if err := addPlacement(ctx, tx, r, p); err != nil {
			return err
		}
	}
	return s.resourceChanged(ctx, tx, nil, r, string(omni.Created))
}

func writeNeeds(ctx context.Context, tx *database.Tx, r Resource) error {
	for _, name := range r.DependsOn {
		if _, err := tx.Exec(ctx, insertNeed, r.Tenant, r.Name, name); err != nil {
			return err
		}
	}
	return nil
}

func addPlacement(ctx context.Context, tx *database.Tx, r Resource, p Placement) error {
	config, err := encode(p.Config)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, insertPlacement, r.Tenant, r.Name, p.Region, string(p.Role), p.Driver, p.Address, config,
		p.Lease.Std().Microseconds(), database.Time(tx.Now()))
	if err != nil {
		return err
	}
	return placementChanged(ctx, tx, r, p)
}

func (s *Store) updateResource(ctx context.Context, tx *database.Tx, old, wanted Resource) (omni.Outcome, error) {
	changes, err := diffPlacements(old, wanted)
	if err != nil {
		return "", err
	}
	labels, err := encode(wanted.Labels)
	if err != nil {
		return "", err
	}
	sameLabels, err := stored(old.Labels, labels)
	if err != nil {
		return "", err
	}
	needsMoved := !slices.Equal(old.DependsOn, wanted.DependsOn)
	if sameLabels && !needsMoved && old.Type == wanted.Type && changes.none() {
		return omni.Unchanged, nil
	}
	if err := s.settled(ctx, tx, old.Tenant, old.Name); err != nil {
		return "", err
	}
	if _, err := tx.Exec(ctx, updateResource, old.Tenant, old.Name, wanted.Type, labels, database.Time(tx.Now())); err != nil {
		return "", err
	}
	if needsMoved {
		if _, err := tx.Exec(ctx, clearNeeds, old.Tenant, old.Name); err != nil {
			return "", err
		}
		if err := writeNeeds(ctx, tx, wanted); err != nil {
			return "", err
		}
	}
	if err := changes.write(ctx, tx, wanted); err != nil {
		return "", err
	}
	return omni.Updated, s.resourceChanged(ctx, tx, &old, wanted, string(omni.Updated))
}

// placementChanges is what an apply does to the placements of a resource.
type placementChanges struct{ added, changed, removed []Placement }

func (c placementChanges) none() bool { return len(c.added)+len(c.changed)+len(c.removed) == 0 }

func diffPlacements(old, wanted Resource) (placementChanges, error) {
	var c placementChanges
	for _, p := range wanted.Placements {
		was, ok := old.Placement(p.Region)
		if !ok {
			p.Role = Standby // only a run makes another one active
			c.added = append(c.added, p)
			continue
		}
		config, err := encode(p.Config)
		if err != nil {
			return c, err
		}
		same, err := stored(was.Config, config)
		if err != nil {
			return c, err
		}
		if !same || was.Driver != p.Driver || was.Address != p.Address || was.Lease != p.Lease {
			c.changed = append(c.changed, p)
		}
	}
	for _, p := range old.Placements {
		if _, kept := wanted.Placement(p.Region); kept {
			continue
		}
		if p.Role == Active || old.Serving == p.Region {
			message := fmt.Sprintf("lack %s, where the resource is active or serves now", p.Region)
			return c, faults{{Path: "spec.placements", Message: message}}.err("resource", old.Name)
		}
		c.removed = append(c.removed, p)
	}
	return c, nil
}

func (c placementChanges) write(ctx context.Context, tx *database.Tx, r Resource) error {
	for _, p := range c.removed {
		if err := removePlacement(ctx, tx, r, p); err != nil {
			return err
		}
	}
	for _, p := range c.changed {
		config, err := encode(p.Config)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, updatePlacement, r.Tenant, r.Name, p.Region, p.Driver, p.Address, config, p.Lease.Std().Microseconds())
		if err != nil {
			return err
		}
	}
	for _, p := range c.added {
		if err := addPlacement(ctx, tx, r, p); err != nil {
			return err
		}
	}
	return nil
}

func removePlacement(ctx context.Context, tx *database.Tx, r Resource, p Placement) error {
	if _, err := tx.Exec(ctx, deletePlacement, r.Tenant, r.Name, p.Region); err != nil {
		return err
	}
	p.Role, p.Run = "", "" // it is not the run that moved it last which removes it
	return placementChanged(ctx, tx, r, p)
}

func (s *Store) resourceChanged(ctx context.Context, tx *database.Tx, old *Resource, now Resource, what string) error {
	c := Changed{Tenant: now.Tenant, Name: now.Name, Change: what, Version: 1}
	var before, after any
	if old != nil {
		before, c.Version = *old, old.Version+1
	}
	if what != "deleted" {
		read, err := s.Resource(ctx, tx, now.Tenant, now.Name)
		if err != nil {
			return err
		}
		after = read
	}
	return change(ctx, tx, "resource", c, before, after, "")
}

// settled refuses a change of the resource while a run moves its tenant. The caller has locked the resource: a run that begins meanwhile
// waits for that lock, see HoldResources.
func (s *Store) settled(ctx context.Context, tx *database.Tx, tenant, name string) error {
	if s.busy == nil {
		return nil
	}
	run, err := s.busy(ctx, tx, tenant)
	if err != nil || run == "" {
		return err
	}
	return omni.Errorf(omni.CodeConflict, "resource %s cannot change now: the run %s of %s is alive", name, run, tenant).
		WithHint("wait for it to end (omnictl failover watch %s), or abort it and trigger another after the change", run)
}

// HoldResources keeps a tenant's resources from being changed or deleted by others until the transaction ends: what makes a run does so
// before it looks at them.
func (s *Store) HoldResources(ctx context.Context, tx *database.Tx, tenant string) error {
	if tx.Kind() != database.Postgres {
		return nil // SQLite has one writer at a time
	}
	return tx.Query(ctx, holdResources, []any{tenant}, func(scan func(...any) error) error {
		var name string
		return scan(&name)
	})
}

// DeleteResource removes a resource with its placements. CodeReferenced while others depend on it, named; CodeConflict while a run of the
// tenant is alive.
func (s *Store) DeleteResource(ctx context.Context, tx *database.Tx, tenant, name string) error {
	old, err := getResource(ctx, tx, locked(tx, selectResource), tenant, name)
	if err != nil {
		return err
	}
	if err := s.settled(ctx, tx, tenant, name); err != nil {
		return err
	}
	var readers []string
	err = tx.Query(ctx, selectReaders, []any{tenant, name}, func(scan func(...any) error) error {
		var reader string
		err := scan(&reader)
		readers = append(readers, reader)
		return err
	})
	if err != nil {
		return err
	}
	if len(readers) > 0 {
		return omni.Errorf(omni.CodeReferenced, "resource %s is needed by %s", name, strings.Join(readers, ", ")).
			WithHint("delete these first, or take %s out of their dependsOn", name)
	}
	for _, p := range old.Placements {
		if err := removePlacement(ctx, tx, old, p); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, deleteResource, tenant, name); err != nil {
		return err
	}
	return s.resourceChanged(ctx, tx, &old, old, "deleted")
}

// CheckGraph says whether the tenant's resources depend only on resources that exist, and without a cycle. It belongs at
// the end of a transaction that has applied resources, since a manifest may name them in any order.
func (s *Store) CheckGraph(ctx context.Context, tx *database.Tx, tenant string) error {
	needs := map[string][]string{}
	var order []string
	err := tx.Query(ctx, selectGraph, []any{tenant}, func(scan func(...any) error) error {
		var name string
		var other *string
		if err := scan(&name, &other); err != nil {
			return err
		}
		if _, seen := needs[name]; !seen {
			needs[name] = nil
			order = append(order, name)
		}
		if other != nil {
			needs[name] = append(needs[name], *other)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range order {
		for _, other := range needs[name] {
			if _, known := needs[other]; !known {
				message := fmt.Sprintf("there is no resource %q in tenant %s", other, tenant)
				return faults{{Path: "spec.dependsOn", Message: message}}.err("resource", name)
			}
		}
	}
	_, err = LevelsOf(needs)
	return err
}
