package audit

import (
	"context"
	"net/http"
	"time"

	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

type listInput struct {
	Tenant string    `query:"tenant" doc:"whose log; left out, it is the platform's, or that of the key's tenant"`
	Action string    `query:"action" doc:"noun.verb, or all below a noun: failover."`
	Object string    `query:"object" doc:"kind/name, or all of a kind: failover/"`
	Actor  string    `query:"actor" doc:"who did it, such as key:ops"`
	Since  time.Time `query:"since" doc:"at or after (RFC 3339)"`
	Until  time.Time `query:"until" doc:"before (RFC 3339)"`
	Order  string    `query:"order" enum:"newest,oldest" default:"newest" doc:"which come first"`
	rest.PageParams
}

type verifyInput struct {
	Tenant string `query:"tenant" doc:"whose log; left out, all logs, or that of the key's tenant"`
}

type proofInput struct {
	Tenant string `query:"tenant" doc:"whose log; left out, it is the platform's, or that of the key's tenant"`
	Index  int64  `query:"index" minimum:"0" doc:"of the entry"`
}

// Routes adds the service's routes to api.
func (s *Service) Routes(api *rest.API) {
	read := func(path, id, summary string) rest.Route {
		return rest.Route{Method: http.MethodGet, Path: path, ID: id, Summary: summary, Tag: "audit", Permission: "audit.read"}
	}
	rest.Handle(api, read("/api/v1/audit", "audit-list", "List the entries of an audit log"),
		func(ctx context.Context, in *listInput) (*rest.ListOutput[Entry], error) {
			tenant, _, err := rest.TenantOrAll(ctx, in.Tenant)
			if err != nil {
				return nil, err
			}
			page, err := s.List(ctx, tenant, Filter{
				Action: in.Action, Object: in.Object, Actor: in.Actor, Since: in.Since, Until: in.Until, Oldest: in.Order == "oldest",
			}, in.Request())
			return &rest.ListOutput[Entry]{Body: page}, err
		})
	rest.Handle(api, read("/api/v1/audit/verify", "audit-verify", "Verify an audit log, or all of them, against their signed checkpoints"),
		func(ctx context.Context, in *verifyInput) (*rest.ItemOutput[Report], error) {
			tenant, all, err := rest.TenantOrAll(ctx, in.Tenant)
			if err != nil {
				return nil, err
			}
			var report Report
			if all {
				report, err = s.VerifyAll(ctx)
			} else {
				report, err = s.Verify(ctx, tenant)
			}
			return &rest.ItemOutput[Report]{Body: report}, err
		})
	rest.Handle(api, read("/api/v1/audit/proof", "audit-proof", "Prove that an entry is in an audit log"),
		func(ctx context.Context, in *proofInput) (*rest.ItemOutput[Proof], error) {
			tenant, _, err := rest.TenantOrAll(ctx, in.Tenant)
			if err != nil {
				return nil, err
			}
			proof, err := s.Prove(ctx, tenant, in.Index)
			return &rest.ItemOutput[Proof]{Body: proof}, err
		})
}
