package infra

import (
	"context"
	"net/http"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

type regionInput struct {
	Name string `path:"name" maxLength:"63" doc:"the region's name"`
}

type cordonInput struct {
	Name string `path:"name" maxLength:"63" doc:"the region's name"`
	Body *struct {
		Reason string `json:"reason,omitempty" maxLength:"1000" doc:"why; shown to everybody who asks"`
	}
}

type resourcesInput struct {
	rest.TenantParam
	rest.PageParams
}

type resourceInput struct {
	rest.TenantParam
	Name    string `path:"name" maxLength:"63" doc:"the resource's name"`
	IfMatch string `header:"If-Match" doc:"the ETag that it must still have"`
}

// handlers are the store behind HTTP: each request is one transaction.
type handlers struct {
	db    *database.DB
	store *Store
}

// Routes adds what HTTP offers of regions and resources. They are created and changed by manifests.
func Routes(api *rest.API, db *database.DB, store *Store) {
	h := handlers{db: db, store: store}
	rest.Handle(api, rest.Route{
		Method: http.MethodGet, Path: "/api/v1/regions", ID: "list-regions", Summary: "List the regions",
		Tag: "regions", Permission: "regions.read",
	}, h.listRegions)
	rest.Handle(api, rest.Route{
		Method: http.MethodGet, Path: "/api/v1/regions/{name}", ID: "get-region", Summary: "Show a region",
		Tag: "regions", Permission: "regions.read",
	}, h.getRegion)
	rest.Handle(api, rest.Route{
		Method: http.MethodDelete, Path: "/api/v1/regions/{name}", ID: "delete-region", Summary: "Delete a region that has no placements",
		Tag: "regions", Permission: "regions.write", Status: http.StatusNoContent,
	}, h.deleteRegion)
	rest.Handle(api, rest.Route{
		Method: http.MethodPost, Path: "/api/v1/regions/{name}/cordon", ID: "cordon-region", Summary: "Keep failovers away from a region",
		Tag: "regions", Permission: "regions.write",
	}, h.cordon)
	rest.Handle(api, rest.Route{
		Method: http.MethodPost, Path: "/api/v1/regions/{name}/uncordon", ID: "uncordon-region", Summary: "Let failovers into a region again",
		Tag: "regions", Permission: "regions.write",
	}, h.uncordon)
	rest.Handle(api, rest.Route{
		Method: http.MethodGet, Path: "/api/v1/resources", ID: "list-resources", Summary: "List a tenant's resources",
		Tag: "resources", Permission: "resources.read",
	}, h.listResources)
	rest.Handle(api, rest.Route{
		Method: http.MethodGet, Path: "/api/v1/resources/{name}", ID: "get-resource", Summary: "Show a resource with its placements",
		Tag: "resources", Permission: "resources.read",
	}, h.getResource)
	rest.Handle(api, rest.Route{
		Method: http.MethodDelete, Path: "/api/v1/resources/{name}", ID: "delete-resource", Summary: "Delete a resource that no other needs",
		Tag: "resources", Permission: "resources.write", Status: http.StatusNoContent,
	}, h.deleteResource)
}

func (h handlers) listRegions(ctx context.Context, in *rest.PageParams) (*rest.ListOutput[Region], error) {
	var list omni.Page[Region]
	err := h.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) (err error) {
		list, err = h.store.Regions(ctx, tx, in.Request())
		return err
	})
	return rest.List(list), err
}

func (h handlers) getRegion(ctx context.Context, in *regionInput) (*rest.ItemOutput[Region], error) {
	var region Region
	err := h.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) (err error) {
		region, err = h.store.Region(ctx, tx, in.Name)
		return err
	})
	return &rest.ItemOutput[Region]{ETag: rest.ETag(region.Version), Body: region}, err
}

func (h handlers) deleteRegion(ctx context.Context, in *regionInput) (*rest.Empty, error) {
	return &rest.Empty{}, h.db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		return h.store.DeleteRegion(ctx, tx, in.Name)
	})
}

func (h handlers) cordon(ctx context.Context, in *cordonInput) (*rest.ItemOutput[Region], error) {
	reason := ""
	if in.Body != nil {
		reason = in.Body.Reason
	}
	return h.changeRegion(ctx, func(ctx context.Context, tx *database.Tx) (Region, error) {
		return h.store.Cordon(ctx, tx, in.Name, reason)
	})
}

func (h handlers) uncordon(ctx context.Context, in *regionInput) (*rest.ItemOutput[Region], error) {
	return h.changeRegion(ctx, func(ctx context.Context, tx *database.Tx) (Region, error) {
		return h.store.Uncordon(ctx, tx, in.Name)
	})
}

func (h handlers) changeRegion(ctx context.Context, fn func(context.Context, *database.Tx) (Region, error)) (*rest.ItemOutput[Region], error) {
	var region Region
	err := h.db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) (err error) {
		region, err = fn(ctx, tx)
		return err
	})
	return &rest.ItemOutput[Region]{ETag: rest.ETag(region.Version), Body: region}, err
}

func (h handlers) listResources(ctx context.Context, in *resourcesInput) (*rest.ListOutput[Resource], error) {
	tenant, err := rest.Tenant(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	var list omni.Page[Resource]
	err = h.db.Read(ctx, database.Tenant(tenant), func(ctx context.Context, tx *database.Tx) (err error) {
		list, err = h.store.Resources(ctx, tx, tenant, in.Request())
		return err
	})
	return rest.List(list), err
}

func (h handlers) getResource(ctx context.Context, in *resourceInput) (*rest.ItemOutput[Resource], error) {
	tenant, err := rest.Tenant(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	var r Resource
	err = h.db.Read(ctx, database.Tenant(tenant), func(ctx context.Context, tx *database.Tx) (err error) {
		r, err = h.store.Resource(ctx, tx, tenant, in.Name)
		return err
	})
	return &rest.ItemOutput[Resource]{ETag: rest.ETag(r.Version), Body: r}, err
}

func (h handlers) deleteResource(ctx context.Context, in *resourceInput) (*rest.Empty, error) {
	tenant, err := rest.Tenant(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	return &rest.Empty{}, h.db.Write(ctx, database.Tenant(tenant), func(ctx context.Context, tx *database.Tx) error {
		r, err := h.store.Resource(ctx, tx, tenant, in.Name)
		if err != nil {
			return err
		}
		if err := rest.CheckMatch(in.IfMatch, r.Version); err != nil {
			return err
		}
		return h.store.DeleteResource(ctx, tx, tenant, in.Name)
	})
}
