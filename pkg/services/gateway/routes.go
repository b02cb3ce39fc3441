package gateway

import (
	"context"
	"net/http"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

// Routes adds the list of services to the API. The health endpoints are not routes: Wrap answers them before keys and limits.
func (g *Gateway) Routes(api *rest.API) {
	rest.Handle(api, rest.Route{
		Method: http.MethodGet, Path: "/api/v1/services", ID: "list-services", Tag: "services",
		Summary: "List the services with their state", Permission: "services.read",
	}, func(ctx context.Context, _ *struct{}) (*rest.ListOutput[Service], error) {
		services, err := g.Services(ctx)
		if err != nil {
			return nil, err
		}
		return rest.List(omni.Page[Service]{Items: services}), nil
	})
}
