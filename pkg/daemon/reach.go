package daemon

import (
	"context"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// reach tells what a driver does from omnid's machine and as omnid: what a tenant's key must not choose. A program could read every
// tenant's data and the first key; a request could be sent to whatever trusts omnid's network.
func reach(driver string) string {
	switch driver {
	case "exec":
		return "runs a program on omnid's machine"
	case "http":
		return "sends requests from omnid's machine"
	}
	return ""
}

// keepReach refuses a resource by which a tenant's key would choose what omnid runs or calls: that is the platform's to say. A tenant may
// still change all else of a resource, as long as these placements have the config that they have.
func (d *daemon) keepReach(ctx context.Context, tx *database.Tx, meta omni.Metadata, spec infra.ResourceSpec) error {
	if omni.RequestFrom(ctx).Identity.Tenant == "" {
		return nil
	}
	known := map[string]string{} // region and driver → digest of the config
	stored, err := d.infra.Resource(ctx, tx, meta.Tenant, meta.Name)
	if err != nil && !omni.Is(err, omni.CodeNotFound) {
		return err
	}
	for _, p := range stored.Placements {
		known[p.Region+"/"+p.Driver] = events.Digest(p.Config)
	}
	for _, p := range spec.Placements {
		does := reach(p.Driver)
		if does == "" {
			continue
		}
		// A config that has no digest cannot be written as JSON, and is nobody's.
		if digest := events.Digest(p.Config); digest != "" && digest == known[p.Region+"/"+p.Driver] {
			continue
		}
		return omni.Errorf(omni.CodeForbidden, "resource %s: the driver %s %s, which a tenant's key cannot choose", meta.Name, p.Driver, does).
			WithFields(omni.FieldError{Path: "spec.placements[region=" + p.Region + "].config", Message: does + ", so only a key of the platform may set it"}).
			WithHint("have the platform's operator apply it")
	}
	return nil
}
