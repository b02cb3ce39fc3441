package daemon

import (
	"context"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// driverExec is the driver that runs programs as omnid's own user, who may read every tenant's data and the first key.
const driverExec = "exec"

// keepPrograms refuses a resource whose programs a tenant's key would choose: what runs on omnid's machine is the platform's to say. A
// tenant may still change all else of a resource, as long as its exec placements have the config that they have.
func (d *daemon) keepPrograms(ctx context.Context, tx *database.Tx, meta omni.Metadata, spec infra.ResourceSpec) error {
	if omni.RequestFrom(ctx).Identity.Tenant == "" {
		return nil
	}
	known := map[string]string{} // region → digest of its config
	stored, err := d.infra.Resource(ctx, tx, meta.Tenant, meta.Name)
	if err != nil && !omni.Is(err, omni.CodeNotFound) {
		return err
	}
	for _, p := range stored.Placements {
		if p.Driver == driverExec {
			known[p.Region] = events.Digest(p.Config)
		}
	}
	for _, p := range spec.Placements {
		if p.Driver != driverExec {
			continue
		}
		// A config that has no digest cannot be written as JSON, and is nobody's.
		if digest := events.Digest(p.Config); digest != "" && digest == known[p.Region] {
			continue
		}
		return omni.Errorf(omni.CodeForbidden, "resource %s: the driver exec runs a program on omnid's machine, which a tenant's key cannot choose", meta.Name).
			WithFields(omni.FieldError{Path: "spec.placements[region=" + p.Region + "].config", Message: "runs a program on omnid's machine, so only a key of the platform may set it"}).
			WithHint("have the platform's operator apply it, or use the driver http")
	}
	return nil
}
