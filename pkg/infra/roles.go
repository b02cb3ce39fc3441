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
	typ, err := move(ctx, tx, tenant, resource, region, role, run, epoch)
	if omni.Is(err, omni.CodeConflict) {
		return omni.Errorf(omni.CodeConflict, "%s is active in another region than %s already; never two at once", resource, region).WithCause(err)
	}
	if err != nil {
		return err
	}
	if typ == "" { // nothing was moved: it is so already, or must not be
		return s.unmoved(ctx, tx, tenant, resource, region, role, run, epoch)
	}
	return placementChanged(ctx, tx, Resource{Tenant: tenant, Name: resource, Type: typ}, Placement{Region: region, Role: role, Run: run})
}

// move is SetRole where all is as it should be, in the one statement that a run of thousands of steps can afford. It gives the
// resource's type, or "" when no row was moved.
func move(ctx context.Context, tx *database.Tx, tenant, resource, region string, role Role, run string, epoch int64) (typ string, err error) {
	args := []any{tenant, resource, region, string(role), run, epoch, database.Time(tx.Now())}
	err = tx.Query(ctx, movePlacement, args, func(scan func(...any) error) error { return scan(&typ) })
	return typ, err
}

// unmoved says why move has changed nothing. A step's repeat under a new leader only raises the epoch.
func (s *Store) unmoved(ctx context.Context, tx *database.Tx, tenant, resource, region string, role Role, run string, epoch int64) error {
	r, err := s.Resource(ctx, tx, tenant, resource)
	if err != nil {
		return err
	}
	p, ok := r.Placement(region)
	switch {
	case !ok:
		return omni.Errorf(omni.CodeNotFound, "resource %s has no placement in %s", clip(resource), clip(region))
	case epoch < p.Epoch:
		return omni.Errorf(omni.CodeStale, "%s in %s was moved by a later leader (epoch %d, not %d)", resource, region, p.Epoch, epoch)
	case p.Role != role || p.Run != run:
		return omni.Errorf(omni.CodeStale, "%s in %s was moved by somebody else at the same time", resource, region)
	case p.Epoch == epoch:
		return nil
	}
	_, err = tx.Exec(ctx, raiseEpoch, tenant, resource, region, epoch)
	return err
}

// SetServing sends users and dependents of a resource to its placement in region, for a run. Doing so again changes nothing.
func (s *Store) SetServing(ctx context.Context, tx *database.Tx, tenant, resource, region, run string) error {
	n, err := tx.Exec(ctx, serveResource, tenant, resource, region, database.Time(tx.Now()))
	if err != nil {
		return err
	}
	if n == 0 {
		return s.serves(ctx, tx, tenant, resource, region)
	}
	c := Changed{Tenant: tenant, Name: resource, Change: "served", Run: run}
	return events.Append(ctx, tx, events.New(EventResourceChanged, "resource/"+tenant+"/"+resource, tenant, c))
}
