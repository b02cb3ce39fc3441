package dns

import (
	"context"
	"net/http"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

type listInput struct {
	Tenant string `query:"tenant" doc:"whose zones; left out, all tenants', or those of the key's tenant"`
	rest.PageParams
}

type zoneInput struct {
	Tenant string `query:"tenant" doc:"the tenant that owns the zone; may be left out with a key of that tenant"`
	Name   string `path:"name" doc:"of the zone"`
}

type deleteInput struct {
	Tenant  string `query:"tenant" doc:"the tenant that owns the zone; may be left out with a key of that tenant"`
	Name    string `path:"name" doc:"of the zone"`
	IfMatch string `header:"If-Match" doc:"delete only this version (its ETag)"`
}

type recordsInput struct {
	Tenant string `query:"tenant" doc:"the tenant that owns the zone; may be left out with a key of that tenant"`
	Name   string `path:"name" doc:"of the zone"`
	rest.PageParams
}

// Routes adds the service's routes to api.
func (s *Service) Routes(api *rest.API) {
	read := func(path, id, summary string) rest.Route {
		return rest.Route{Method: http.MethodGet, Path: path, ID: id, Summary: summary, Tag: "dns", Permission: "zones.read"}
	}
	rest.Handle(api, read("/api/v1/zones", "zones-list", "List DNS zones"),
		func(ctx context.Context, in *listInput) (*rest.ListOutput[Zone], error) {
			tenant, _, err := rest.TenantOrAll(ctx, in.Tenant)
			if err != nil {
				return nil, err
			}
			page, err := s.Zones(ctx, tenant, in.Request())
			return &rest.ListOutput[Zone]{Body: page}, err
		})
	rest.Handle(api, read("/api/v1/zones/{name}", "zones-get", "Show a DNS zone"),
		func(ctx context.Context, in *zoneInput) (*rest.ItemOutput[Zone], error) {
			tenant, err := rest.Tenant(ctx, in.Tenant)
			if err != nil {
				return nil, err
			}
			z, err := s.Zone(ctx, tenant, in.Name)
			return &rest.ItemOutput[Zone]{ETag: rest.ETag(z.Version), Body: z}, err
		})
	rest.Handle(api, rest.Route{
		Method: http.MethodDelete, Path: "/api/v1/zones/{name}", ID: "zones-delete", Summary: "Delete a DNS zone with its records",
		Tag: "dns", Permission: "zones.write", Status: http.StatusNoContent,
	}, s.deleteRoute)
	rest.Handle(api, read("/api/v1/zones/{name}/records", "zones-records", "List the record sets of a DNS zone, as they are answered"),
		func(ctx context.Context, in *recordsInput) (*rest.ListOutput[RecordSet], error) {
			tenant, err := rest.Tenant(ctx, in.Tenant)
			if err != nil {
				return nil, err
			}
			page, err := s.Records(ctx, tenant, in.Name, in.Request())
			return &rest.ListOutput[RecordSet]{Body: page}, err
		})
}

func (s *Service) deleteRoute(ctx context.Context, in *deleteInput) (*rest.Empty, error) {
	tenant, err := rest.Tenant(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	return &rest.Empty{}, s.db.Write(ctx, scope(tenant), func(ctx context.Context, tx *database.Tx) error {
		z, err := s.StoredZone(ctx, tx, tenant, in.Name)
		if err != nil {
			return err
		}
		if err := rest.CheckMatch(in.IfMatch, z.Version); err != nil {
			return err
		}
		return s.DeleteZone(ctx, tx, tenant, in.Name)
	})
}
