package client

import (
	"context"
	"net/http"

	"github.com/omnicloud/omnicloud/pkg/infra"
)

// Regions lists all regions by name.
func (c *Client) Regions(ctx context.Context) ([]infra.Region, error) {
	return all[infra.Region](ctx, c, call{method: http.MethodGet, path: "regions"}, maxList)
}

// Region gives one region.
func (c *Client) Region(ctx context.Context, name string) (infra.Region, error) {
	var region infra.Region
	return region, c.do(ctx, call{method: http.MethodGet, path: path("regions", name)}, &region)
}

// Cordon keeps failovers away from a region; Uncordon lets them in again.
func (c *Client) Cordon(ctx context.Context, name, reason string) (infra.Region, error) {
	var region infra.Region
	body := map[string]string{"reason": reason}
	return region, c.do(ctx, call{method: http.MethodPost, path: path("regions", name, "cordon"), body: body}, &region)
}

// Uncordon lets failovers into a region again.
func (c *Client) Uncordon(ctx context.Context, name string) (infra.Region, error) {
	var region infra.Region
	return region, c.do(ctx, call{method: http.MethodPost, path: path("regions", name, "uncordon")}, &region)
}

// Resources lists a tenant's resources by name.
func (c *Client) Resources(ctx context.Context, tenant string) ([]infra.Resource, error) {
	return all[infra.Resource](ctx, c, call{method: http.MethodGet, path: "resources", query: query("tenant", tenant)}, maxList)
}

// Resource gives one resource.
func (c *Client) Resource(ctx context.Context, tenant, name string) (infra.Resource, error) {
	var resource infra.Resource
	return resource, c.do(ctx, call{method: http.MethodGet, path: path("resources", name), query: query("tenant", tenant)}, &resource)
}
