package dns

import (
	"context"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// StoredZone gives one zone within the caller's transaction; CodeNotFound when it does not exist, or is another tenant's.
func (s *Service) StoredZone(ctx context.Context, tx *database.Tx, tenant, name string) (Zone, error) {
	return getZone(ctx, tx, tenant, name)
}

// StoredZones gives a page of a tenant's zones by name within the caller's transaction.
func (s *Service) StoredZones(ctx context.Context, tx *database.Tx, tenant string, page omni.PageRequest) (omni.Page[Zone], error) {
	zones, err := queryZones(ctx, tx, `where tenant = $1 and name > $2 order by name limit $3`, tenant, page.After, page.Size()+1)
	return pageOf(zones, page, func(z Zone) string { return z.Name }), err
}
