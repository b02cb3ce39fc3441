package tenants

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

type nameInput struct {
	Name string `path:"name" doc:"the tenant's name"`
}

type createInput struct {
	Body struct {
		Name            string            `json:"name" doc:"1 to 63 of a–z, 0–9 and '-'"`
		Labels          map[string]string `json:"labels,omitempty" doc:"free pairs of text"`
		DisplayName     string            `json:"display_name,omitempty" doc:"what people call it"`
		BillingCurrency string            `json:"billing_currency,omitempty" doc:"active ISO 4217 code with a minor unit; default USD"`
	}
}

type changeInput struct {
	Name    string `path:"name" doc:"the tenant's name"`
	IfMatch string `header:"If-Match" doc:"the ETag that the tenant must still have"`
	Body    struct {
		Labels          *map[string]string `json:"labels,omitempty" doc:"free pairs of text; replaces all of them"`
		DisplayName     *string            `json:"display_name,omitempty" doc:"what people call it"`
		BillingCurrency *string            `json:"billing_currency,omitempty" doc:"active ISO 4217 code with a minor unit"`
	}
}

type deleteInput struct {
	Name    string `path:"name" doc:"the tenant's name"`
	IfMatch string `header:"If-Match" doc:"the ETag that the tenant must still have"`
	Cascade bool   `query:"cascade" doc:"also remove all that it owns"`
}

// Routes declares the service's routes.
func (s *Service) Routes(api *rest.API) {
	const path, one, tag = "/api/v1/tenants", "/api/v1/tenants/{name}", "tenants"
	rest.Handle(api, rest.Route{Method: http.MethodGet, Path: path, ID: "list-tenants", Summary: "List the tenants", Tag: tag, Permission: "tenants.read"},
		func(ctx context.Context, in *rest.PageParams) (*rest.ListOutput[Tenant], error) {
			page, err := s.List(ctx, in.Request())
			return &rest.ListOutput[Tenant]{Body: page}, err
		})
	rest.Handle(api, rest.Route{Method: http.MethodPost, Path: path, ID: "create-tenant", Summary: "Create a tenant", Tag: tag, Permission: "tenants.write", Status: http.StatusCreated},
		func(ctx context.Context, in *createInput) (*rest.ItemOutput[Tenant], error) {
			b := in.Body
			return item(s.Create(ctx, omni.Metadata{Name: b.Name, Labels: b.Labels}, TenantSpec{DisplayName: b.DisplayName, BillingCurrency: b.BillingCurrency}))
		})
	rest.Handle(api, rest.Route{Method: http.MethodGet, Path: one, ID: "get-tenant", Summary: "Show a tenant", Tag: tag, Permission: "tenants.read"},
		func(ctx context.Context, in *nameInput) (*rest.ItemOutput[Tenant], error) {
			return item(s.Get(ctx, in.Name))
		})
	rest.Handle(api, rest.Route{Method: http.MethodPut, Path: one, ID: "replace-tenant", Summary: "Replace a tenant's fields", Tag: tag, Permission: "tenants.write"}, s.change(true))
	rest.Handle(api, rest.Route{Method: http.MethodPatch, Path: one, ID: "update-tenant", Summary: "Change some of a tenant's fields", Tag: tag, Permission: "tenants.write"}, s.change(false))
	rest.Handle(api, rest.Route{Method: http.MethodDelete, Path: one, ID: "delete-tenant", Summary: "Delete a tenant", Tag: tag, Permission: "tenants.write", Status: http.StatusNoContent},
		func(ctx context.Context, in *deleteInput) (*rest.Empty, error) {
			version, _, err := rest.ParseIfMatch(in.IfMatch)
			if err != nil {
				return nil, err
			}
			return &rest.Empty{}, s.Delete(ctx, in.Name, in.Cascade, version)
		})
}

func (s *Service) change(replace bool) func(context.Context, *changeInput) (*rest.ItemOutput[Tenant], error) {
	return func(ctx context.Context, in *changeInput) (*rest.ItemOutput[Tenant], error) {
		version, _, err := rest.ParseIfMatch(in.IfMatch)
		if err != nil {
			return nil, err
		}
		b := in.Body
		return item(s.Update(ctx, in.Name, Change{Labels: b.Labels, DisplayName: b.DisplayName, BillingCurrency: b.BillingCurrency, Replace: replace}, version))
	}
}

func item(t Tenant, err error) (*rest.ItemOutput[Tenant], error) {
	if err != nil {
		return nil, inRequest(err)
	}
	return &rest.ItemOutput[Tenant]{ETag: rest.ETag(t.Version), Body: t}, nil
}

// inRequest names fields as the request does, where the rules name them as a manifest does.
func inRequest(err error) error {
	var e *omni.Error
	if !errors.As(err, &e) || len(e.Fields) == 0 {
		return err
	}
	names := strings.NewReplacer("metadata.", "", "spec.displayName", "display_name", "spec.billingCurrency", "billing_currency")
	out := *e
	out.Message = names.Replace(e.Message)
	out.Fields = slices.Clone(e.Fields)
	for i := range out.Fields {
		out.Fields[i].Path = names.Replace(out.Fields[i].Path)
	}
	return &out
}
