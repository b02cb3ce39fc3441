package infra

import (
	"context"
	"slices"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// Roles lists the roles that a placement can have.
func Roles() []Role { return []Role{Active, Standby, Fenced, Stopped} }

// SetRole gives a placement its role, for a run under a leader's epoch. Setting what is set already by the same run changes
// nothing. CodeStale when a later epoch has moved the placement; CodeConflict when another placement of the resource
// is active. It writes the event omni.placement.changed; the audit record is the step's.
func (s *Store) SetRole(ctx context.Context, tx *database.Tx, tenant, resource, region string, role Role, run string, epoch int64) error {
	if !slices.Contains(Roles(), role) {
		return omni.Errorf(omni.CodeInvalid, "role: %q is not a role", clip(string(role)))
	}
	r, err := readRoles(ctx, tx, tenant, resource)
	if err != nil {
		return err
	}
	p, ok := r.Placement(region)
	if !ok {
		return omni.Errorf(omni.CodeNotFound, "resource %s has no placement in %s", clip(resource), clip(region))
	}
	if epoch < p.Epoch {
		return omni.Errorf(omni.CodeStale, "%s in %s was moved by a later leader (epoch %d, not %d)", resource, region, p.Epoch, epoch)
	}
	if active, any := r.Active(); any && role == Active && active.Region != region {
		return omni.Errorf(omni.CodeConflict, "%s is active in %s already; never two at once", resource, active.Region)
	}
	if p.Role == role && p.Run == run && p.Epoch == epoch {
		return nil
	}
	since := p.Since
	if p.Role != role {
		since = tx.Now()
	}
	n, err := tx.Exec(ctx, movePlacement, tenant, resource, region, string(role), run, epoch, database.Time(since))
	if err != nil {
		return err
	}
	if n != 1 {
		return omni.Errorf(omni.CodeStale, "%s in %s was moved by a later leader", resource, region)
	}
	if p.Role == role && p.Run == run { // a step's repeat under a new leader: only the epoch has grown
		return nil
	}
	p.Role, p.Run = role, run
	return placementChanged(ctx, tx, r, p)
}

// readRoles reads the little of a resource that SetRole needs, in one statement, since a run sets thousands of roles.
func readRoles(ctx context.Context, tx *database.Tx, tenant, resource string) (Resource, error) {
	query := selectRoles
	if tx.Kind() == database.Postgres {
		query += ` for update of p`
	}
	r := Resource{Tenant: tenant, Name: resource}
	err := tx.Query(ctx, query, []any{tenant, resource}, func(scan func(...any) error) error {
		var p Placement
		var since database.Time
		err := scan(&p.Region, &p.Role, &p.Epoch, &p.Run, &since, &r.Type)
		p.Since = since.Std()
		r.Placements = append(r.Placements, p)
		return err
	})
	if err == nil && len(r.Placements) == 0 {
		err = notFound("resource", resource)
	}
	return r, err
}

// SetServing sends users and dependents of a resource to its placement in region, for a run. Doing so again changes nothing.
func (s *Store) SetServing(ctx context.Context, tx *database.Tx, tenant, resource, region, run string) error {
	n, err := tx.Exec(ctx, serveResource, tenant, resource, region, database.Time(tx.Now()))
	if err != nil {
		return err
	}
	if n == 0 {
		r, err := s.Resource(ctx, tx, tenant, resource)
		if err == nil && r.Serving != region {
			err = omni.Errorf(omni.CodeNotFound, "resource %s has no placement in %s", resource, clip(region))
		}
		return err
	}
	c := Changed{Tenant: tenant, Name: resource, Change: "served", Run: run}
	return events.Append(ctx, tx, events.New(EventResourceChanged, "resource/"+tenant+"/"+resource, tenant, c))
}
