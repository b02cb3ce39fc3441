package daemon

import (
	"context"

	"github.com/omnicloud/omnicloud/pkg/failover"
	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/services/config"
	"github.com/omnicloud/omnicloud/pkg/services/dns"
	"github.com/omnicloud/omnicloud/pkg/services/tenants"
)

// kinds are the kinds of manifests. To add one, write its entry here.
func (d *daemon) kinds() []config.Kind {
	return []config.Kind{d.tenantKind(), d.regionKind(), d.resourceKind(), d.policyKind(), d.zoneKind()}
}

func (d *daemon) tenantKind() config.Kind {
	return config.Kind{
		Name: "Tenant", Plural: "tenants", Database: database.Tenants, Order: 10, Permission: "tenants.write",
		Doc: "A customer of the platform, or a part of one, that owns resources and is billed for them.",
		New: func() any { return new(tenants.TenantSpec) },
		Apply: func(ctx context.Context, tx *database.Tx, meta omni.Metadata, spec any) (omni.Outcome, error) {
			return d.tenants.ApplyTenant(ctx, tx, meta, *spec.(*tenants.TenantSpec))
		},
		Get: func(ctx context.Context, tx *database.Tx, _, name string) (any, error) {
			return d.tenants.Tenant(ctx, tx, name)
		},
		List: func(ctx context.Context, tx *database.Tx, _ string, page omni.PageRequest) (omni.Page[any], error) {
			return anyPage(d.tenants.Tenants(ctx, tx, page))
		},
		Delete: func(ctx context.Context, tx *database.Tx, _, name string) error {
			return d.tenants.DeleteTenant(ctx, tx, name)
		},
		Manifest: func(object any) (omni.Metadata, any) {
			t := object.(tenants.Tenant)
			return omni.Metadata{Name: t.Name, Labels: t.Labels}, tenants.TenantSpec{DisplayName: t.DisplayName, BillingCurrency: t.BillingCurrency}
		},
	}
}

func (d *daemon) regionKind() config.Kind {
	return config.Kind{
		Name: "Region", Plural: "regions", Database: database.Infra, Order: 20, Permission: "regions.write",
		Doc: "A place where placements run, with the zones whose probes say whether it is alive.",
		New: func() any { return new(infra.RegionSpec) },
		Apply: func(ctx context.Context, tx *database.Tx, meta omni.Metadata, spec any) (omni.Outcome, error) {
			return d.infra.ApplyRegion(ctx, tx, meta, *spec.(*infra.RegionSpec))
		},
		Get: func(ctx context.Context, tx *database.Tx, _, name string) (any, error) {
			return d.infra.Region(ctx, tx, name)
		},
		List: func(ctx context.Context, tx *database.Tx, _ string, page omni.PageRequest) (omni.Page[any], error) {
			return anyPage(d.infra.Regions(ctx, tx, page))
		},
		Delete: func(ctx context.Context, tx *database.Tx, _, name string) error {
			return d.infra.DeleteRegion(ctx, tx, name)
		},
		Manifest: func(object any) (omni.Metadata, any) {
			r := object.(infra.Region)
			return omni.Metadata{Name: r.Name, Labels: r.Labels}, r.Spec
		},
	}
}

func (d *daemon) resourceKind() config.Kind {
	return config.Kind{
		Name: "Resource", Plural: "resources", Tenanted: true, Database: database.Infra, Order: 30, Permission: "resources.write",
		Doc: "A logical thing of a tenant, such as its orders database, with a placement in each region that has it.",
		New: func() any { return new(infra.ResourceSpec) },
		Apply: func(ctx context.Context, tx *database.Tx, meta omni.Metadata, spec any) (omni.Outcome, error) {
			wanted := *spec.(*infra.ResourceSpec)
			if err := d.keepReach(ctx, tx, meta, wanted); err != nil {
				return "", err
			}
			return d.infra.ApplyResource(ctx, tx, meta, wanted)
		},
		Check: d.infra.CheckGraph,
		Get: func(ctx context.Context, tx *database.Tx, tenant, name string) (any, error) {
			return d.infra.Resource(ctx, tx, tenant, name)
		},
		List: func(ctx context.Context, tx *database.Tx, tenant string, page omni.PageRequest) (omni.Page[any], error) {
			return anyPage(d.infra.Resources(ctx, tx, tenant, page))
		},
		Delete:   d.infra.DeleteResource,
		Manifest: func(object any) (omni.Metadata, any) { return resourceManifest(object.(infra.Resource)) },
	}
}

// resourceManifest shows the roles as they are now: where a run has moved a placement, that is what a new object would start with.
func resourceManifest(r infra.Resource) (omni.Metadata, infra.ResourceSpec) {
	spec := infra.ResourceSpec{Type: r.Type, DependsOn: r.DependsOn}
	for _, p := range r.Placements {
		role := p.Role
		if role != infra.Active {
			role = infra.Standby
		}
		spec.Placements = append(spec.Placements, infra.PlacementSpec{
			Region: p.Region, Role: role, Driver: p.Driver, Address: p.Address, Config: p.Config, Lease: p.Lease,
		})
	}
	return omni.Metadata{Name: r.Name, Tenant: r.Tenant, Labels: r.Labels}, spec
}

func (d *daemon) policyKind() config.Kind {
	return config.Kind{
		Name: "FailoverPolicy", Plural: "policies", Tenanted: true, Database: database.Infra, Order: 40, Permission: "policies.write",
		Doc: "When a tenant's resources leave a region, and where they go.",
		New: func() any { return new(failover.PolicySpec) },
		Apply: func(ctx context.Context, tx *database.Tx, meta omni.Metadata, spec any) (omni.Outcome, error) {
			return d.failover.ApplyPolicy(ctx, tx, meta, *spec.(*failover.PolicySpec))
		},
		Get: func(ctx context.Context, tx *database.Tx, tenant, name string) (any, error) {
			return d.failover.Policy(ctx, tx, tenant, name)
		},
		List: func(ctx context.Context, tx *database.Tx, tenant string, page omni.PageRequest) (omni.Page[any], error) {
			return anyPage(d.failover.Policies(ctx, tx, tenant, page))
		},
		Delete: d.failover.DeletePolicy,
		Manifest: func(object any) (omni.Metadata, any) {
			p := object.(failover.Policy)
			return omni.Metadata{Name: p.Name, Tenant: p.Tenant, Labels: p.Labels}, p.Spec
		},
	}
}

func (d *daemon) zoneKind() config.Kind {
	return config.Kind{
		Name: "Zone", Plural: "zones", Tenanted: true, Database: database.Infra, Order: 50, Permission: "zones.write",
		Doc: "A DNS zone with its records; a record may follow a resource's active placement.",
		New: func() any { return new(dns.ZoneSpec) },
		Apply: func(ctx context.Context, tx *database.Tx, meta omni.Metadata, spec any) (omni.Outcome, error) {
			return d.dns.ApplyZone(ctx, tx, meta, *spec.(*dns.ZoneSpec))
		},
		Get: func(ctx context.Context, tx *database.Tx, tenant, name string) (any, error) {
			return d.dns.StoredZone(ctx, tx, tenant, name)
		},
		List: func(ctx context.Context, tx *database.Tx, tenant string, page omni.PageRequest) (omni.Page[any], error) {
			return anyPage(d.dns.StoredZones(ctx, tx, tenant, page))
		},
		Delete: d.dns.DeleteZone,
		Manifest: func(object any) (omni.Metadata, any) {
			z := object.(dns.Zone)
			return omni.Metadata{Name: z.Name, Tenant: z.Tenant, Labels: z.Labels}, z.Spec
		},
	}
}

// anyPage forgets what a page holds.
func anyPage[T any](page omni.Page[T], err error) (omni.Page[any], error) {
	out := omni.Page[any]{Next: page.Next, Items: make([]any, len(page.Items))}
	for i, item := range page.Items {
		out.Items[i] = item
	}
	return out, err
}
