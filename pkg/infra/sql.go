package infra

import (
	"context"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

const (
	regionColumns = `name, labels, spec, cordoned, cordon_reason, version, created_at, updated_at`

	selectRegion  = `select ` + regionColumns + ` from regions where name = $1`
	selectRegions = `select ` + regionColumns + ` from regions where name > $1 order by name limit $2`
	insertRegion  = `insert into regions (` + regionColumns + `) values ($1, $2, $3, false, '', 1, $4, $4)`
	updateRegion  = `update regions set labels = $2, spec = $3, version = version + 1, updated_at = $4 where name = $1`
	cordonRegion  = `update regions set cordoned = $2, cordon_reason = $3, version = version + 1, updated_at = $4 where name = $1`
	deleteRegion  = `delete from regions where name = $1`
	regionUsers   = `select tenant, resource from placements where region = $1 order by tenant, resource limit 3`

	resourceColumns = `tenant, name, type, labels, serving, version, created_at, updated_at`

	selectResource  = `select ` + resourceColumns + ` from resources where tenant = $1 and name = $2`
	selectResources = `select ` + resourceColumns + ` from resources where tenant = $1 and name > $2 order by name limit $3`
	selectAll       = `select ` + resourceColumns + ` from resources where tenant = $1 order by name`
	holdResources   = `select name from resources where tenant = $1 order by name for key share`
	insertResource  = `insert into resources (` + resourceColumns + `) values ($1, $2, $3, $4, $5, 1, $6, $6)`
	updateResource  = `update resources set type = $3, labels = $4, version = version + 1, updated_at = $5 where tenant = $1 and name = $2`
	serveResource   = `update resources set serving = $3, version = version + 1, updated_at = $4
		where tenant = $1 and name = $2 and serving <> $3 and exists (
			select 1 from placements p where p.tenant = $1 and p.resource = $2 and p.region = $3)`
	deleteResource = `delete from resources where tenant = $1 and name = $2`

	placementColumns = `resource, region, role, driver, address, config, lease_us, epoch, run, since`

	// Placements and dependencies of the resources from $2 to $3; both ends belong to it.
	selectPlacements = `select ` + placementColumns + ` from placements
		where tenant = $1 and resource >= $2 and resource <= $3 order by resource, region`
	selectNeeds = `select resource, needs from dependencies
		where tenant = $1 and resource >= $2 and resource <= $3 order by resource, needs`
	insertPlacement = `insert into placements (tenant, ` + placementColumns + `) values ($1, $2, $3, $4, $5, $6, $7, $8, 0, '', $9)`
	updatePlacement = `update placements set driver = $4, address = $5, config = $6, lease_us = $7
		where tenant = $1 and resource = $2 and region = $3`
	// The unique index on active placements refuses a second one.
	movePlacement = `update placements set role = $4, run = $5, epoch = $6, since = case when role = $4 then since else $7 end
		where tenant = $1 and resource = $2 and region = $3 and epoch <= $6 and (role <> $4 or run <> $5)
		returning (select r.type from resources r where r.tenant = $1 and r.name = $2)`
	raiseEpoch      = `update placements set epoch = $4 where tenant = $1 and resource = $2 and region = $3 and epoch < $4`
	deletePlacement = `delete from placements where tenant = $1 and resource = $2 and region = $3`
	clearNeeds      = `delete from dependencies where tenant = $1 and resource = $2`
	insertNeed      = `insert into dependencies (tenant, resource, needs) values ($1, $2, $3)`
	selectReaders   = `select resource from dependencies where tenant = $1 and needs = $2 order by resource limit 4`
	selectGraph     = `select r.name, d.needs from resources r
		left join dependencies d on d.tenant = r.tenant and d.resource = r.name
		where r.tenant = $1 order by r.name, d.needs`
	selectTenantsIn = `select distinct tenant from placements where region = $1 and role = 'active' and tenant > $2 order by tenant limit $3`
)

// movePlacements is movePlacement for n placements: $1 now, then tenant, resource, region, role, run and epoch of each.
func movePlacements(n int) string {
	return `update placements as p set role = v.column4, run = v.column5, epoch = v.column6,
			since = case when p.role = v.column4 then p.since else $1 end
		from (values ` + rows(n, "text", "text", "text", "text", "text", "bigint") + `) as v
		where p.tenant = v.column1 and p.resource = v.column2 and p.region = v.column3 and p.epoch <= v.column6
			and (p.role <> v.column4 or p.run <> v.column5)`
}

// serveResources is serveResource for n resources: $1 now, then tenant, resource and region of each.
func serveResources(n int) string {
	return `update resources as r set serving = v.column3, version = version + 1, updated_at = $1
		from (values ` + rows(n, "text", "text", "text") + `) as v
		where r.tenant = v.column1 and r.name = v.column2 and r.serving <> v.column3 and exists (
			select 1 from placements p where p.tenant = r.tenant and p.resource = r.name and p.region = v.column3)`
}

// locked gives a select that keeps its row from changing until the transaction ends. SQLite has one writer at a time anyway.
func locked(tx *database.Tx, query string) string {
	if tx.Kind() == database.Postgres {
		return query + ` for update`
	}
	return query
}

func scanRegion(scan func(dest ...any) error) (Region, error) {
	var (
		r                Region
		labels, spec     string
		created, updated database.Time
	)
	if err := scan(&r.Name, &labels, &spec, &r.Cordoned, &r.CordonReason, &r.Version, &created, &updated); err != nil {
		return Region{}, err
	}
	r.CreatedAt, r.UpdatedAt = created.Std(), updated.Std()
	if err := decode(labels, "region "+r.Name, &r.Labels); err != nil {
		return Region{}, err
	}
	return r, decode(spec, "region "+r.Name, &r.Spec)
}

func scanResource(scan func(dest ...any) error) (Resource, error) {
	var (
		r                Resource
		labels           string
		created, updated database.Time
	)
	if err := scan(&r.Tenant, &r.Name, &r.Type, &labels, &r.Serving, &r.Version, &created, &updated); err != nil {
		return Resource{}, err
	}
	r.CreatedAt, r.UpdatedAt = created.Std(), updated.Std()
	r.DependsOn, r.Placements = []string{}, []Placement{}
	return r, decode(labels, "resource "+r.Name, &r.Labels)
}

func scanPlacement(scan func(dest ...any) error) (resource string, p Placement, err error) {
	var (
		config  string
		leaseUS int64
		since   database.Time
	)
	err = scan(&resource, &p.Region, &p.Role, &p.Driver, &p.Address, &config, &leaseUS, &p.Epoch, &p.Run, &since)
	if err != nil {
		return "", Placement{}, err
	}
	p.Lease, p.Since = omni.Duration(leaseUS*1000), since.Std()
	return resource, p, decode(config, "a placement of "+resource, &p.Config)
}

// complete reads the placements and dependencies of resources, which are sorted by name and of one tenant.
func complete(ctx context.Context, tx *database.Tx, tenant string, resources []Resource) error {
	if len(resources) == 0 {
		return nil
	}
	index := make(map[string]*Resource, len(resources))
	for i := range resources {
		index[resources[i].Name] = &resources[i]
	}
	span := []any{tenant, resources[0].Name, resources[len(resources)-1].Name}
	err := tx.Query(ctx, selectPlacements, span, func(scan func(...any) error) error {
		name, p, err := scanPlacement(scan)
		if r := index[name]; r != nil {
			r.Placements = append(r.Placements, p)
		}
		return err
	})
	if err != nil {
		return err
	}
	return tx.Query(ctx, selectNeeds, span, func(scan func(...any) error) error {
		var name, needs string
		err := scan(&name, &needs)
		if r := index[name]; r != nil {
			r.DependsOn = append(r.DependsOn, needs)
		}
		return err
	})
}
