package billing

import (
	"context"
	"net/http"
	"time"

	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

type usageInput struct {
	Tenant string    `query:"tenant" doc:"whose usage; left out, all tenants', or that of the key's tenant"`
	Region string    `query:"region" doc:"only in this region"`
	Run    string    `query:"run" doc:"intervals that this run began or ended"`
	From   time.Time `query:"from" doc:"intervals are cut to begin here (RFC 3339)"`
	To     time.Time `query:"to" doc:"intervals are cut to end here, exclusive (RFC 3339)"`
	By     string    `query:"by" enum:"region,run,resource,role,tenant" default:"region" doc:"what the totals are grouped by"`
	rest.PageParams
}

// Routes adds the service's routes to api.
func (s *Service) Routes(api *rest.API) {
	rest.Handle(api, rest.Route{
		Method: http.MethodGet, Path: "/api/v1/usage", ID: "usage-list", Summary: "List and sum the usage of placements", Tag: "billing",
		Permission: "usage.read",
	}, func(ctx context.Context, in *usageInput) (*rest.ItemOutput[Report], error) {
		tenant, _, err := rest.TenantOrAll(ctx, in.Tenant)
		if err != nil {
			return nil, err
		}
		f := Filter{Tenant: tenant, Region: in.Region, Run: in.Run, From: in.From, To: in.To, By: in.By}
		report, err := s.Usage(ctx, f, in.Request(), s.now())
		return &rest.ItemOutput[Report]{Body: report}, err
	})
}
