package auth

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

type createInput struct {
	Body struct {
		Name      string        `json:"name" doc:"unique among the tenant's keys"`
		Tenant    string        `json:"tenant,omitempty" doc:"the tenant that the key is bound to; left out for a key of the platform"`
		Roles     []string      `json:"roles" doc:"names of roles"`
		ExpiresAt time.Time     `json:"expires_at,omitzero" doc:"when it ends; left out, it does not"`
		ExpiresIn omni.Duration `json:"expires_in,omitempty" doc:"or how long it lasts, such as 720h"`
	}
}

type listInput struct {
	rest.PageParams
	Tenant  string `query:"tenant" doc:"only this tenant's keys"`
	Revoked bool   `query:"revoked" doc:"also those that are revoked"`
}

type keyInput struct {
	ID string `path:"id" doc:"the key's id, key_…"`
}

type rotateInput struct {
	ID   string `path:"id" doc:"the key's id, key_…"`
	Body struct {
		Overlap *omni.Duration `json:"overlap,omitempty" doc:"how long the earlier tokens stay valid; default 24h, at most 720h"`
	}
}

type canInput struct {
	Body struct {
		Permission string `json:"permission" doc:"noun.verb, such as failovers.trigger"`
		Tenant     string `json:"tenant,omitempty" doc:"in this tenant"`
	}
}

// RoleView is a role with all that it grants.
type RoleView struct {
	Role
	Grants []Grant `json:"grants"` // inherited ones included, with where they come from
}

// Routes declares the service's routes.
func (s *Service) Routes(api *rest.API) {
	const keys, tag = "/api/v1/keys", "auth"
	rest.Handle(api, rest.Route{Method: http.MethodGet, Path: "/api/v1/whoami", ID: "whoami", Summary: "Show the key in use", Tag: tag, Permission: rest.Authenticated},
		func(ctx context.Context, _ *struct{}) (*rest.ItemOutput[WhoAmI], error) { return item(s.WhoAmI(ctx)) })
	rest.Handle(api, rest.Route{Method: http.MethodPost, Path: "/api/v1/can-i", ID: "can-i", Summary: "Ask whether the key in use may do something", Tag: tag, Permission: rest.Authenticated, Status: http.StatusOK},
		func(ctx context.Context, in *canInput) (*rest.ItemOutput[Decision], error) {
			return item(s.CanI(ctx, in.Body.Permission, in.Body.Tenant), nil)
		})
	rest.Handle(api, rest.Route{Method: http.MethodGet, Path: "/api/v1/roles", ID: "list-roles", Summary: "List the roles", Tag: tag, Permission: rest.Authenticated},
		func(_ context.Context, _ *struct{}) (*rest.ListOutput[RoleView], error) {
			return rest.List(omni.Page[RoleView]{Items: s.RoleViews()}), nil
		})
	rest.Handle(api, rest.Route{Method: http.MethodGet, Path: keys, ID: "list-keys", Summary: "List the API keys", Tag: tag, Permission: "keys.read"},
		func(ctx context.Context, in *listInput) (*rest.ListOutput[Key], error) {
			tenant, all, err := rest.TenantOrAll(ctx, in.Tenant)
			if err != nil {
				return nil, err
			}
			if all {
				tenant = "*"
			}
			page, err := s.List(ctx, tenant, in.Revoked, in.Request())
			return rest.List(page), err
		})
	rest.Handle(api, rest.Route{Method: http.MethodPost, Path: keys, ID: "create-key", Summary: "Create an API key; its token is shown this once", Tag: tag, Permission: "keys.write", Status: http.StatusCreated, Secret: true},
		func(ctx context.Context, in *createInput) (*rest.ItemOutput[NewKey], error) {
			b := in.Body
			if b.ExpiresIn != 0 {
				if !b.ExpiresAt.IsZero() {
					return nil, omni.Errorf(omni.CodeInvalid, "expires_in: cannot stand beside expires_at").
						WithFields(omni.FieldError{Path: "expires_in", Message: "cannot stand beside expires_at"})
				}
				b.ExpiresAt = s.now().Add(b.ExpiresIn.Std())
			}
			return item(s.Create(ctx, KeySpec{Name: b.Name, Tenant: b.Tenant, Roles: b.Roles, ExpiresAt: b.ExpiresAt}))
		})
	rest.Handle(api, rest.Route{Method: http.MethodPost, Path: keys + "/{id}/rotate", ID: "rotate-key", Summary: "Give an API key a new token, shown this once", Tag: tag, Permission: "keys.write", Status: http.StatusOK, Secret: true},
		func(ctx context.Context, in *rotateInput) (*rest.ItemOutput[NewKey], error) {
			overlap := DefaultOverlap
			if in.Body.Overlap != nil {
				overlap = *in.Body.Overlap
			}
			return item(s.Rotate(ctx, in.ID, overlap.Std()))
		})
	rest.Handle(api, rest.Route{Method: http.MethodDelete, Path: keys + "/{id}", ID: "revoke-key", Summary: "Revoke an API key", Tag: tag, Permission: "keys.write", Status: http.StatusNoContent},
		func(ctx context.Context, in *keyInput) (*rest.Empty, error) {
			return &rest.Empty{}, s.Revoke(ctx, in.ID)
		})
}

// RoleViews gives every role with what it grants.
func (s *Service) RoleViews() []RoleView {
	views := []RoleView{}
	for _, r := range s.roles.Roles() {
		views = append(views, RoleView{Role: r, Grants: s.roles.Grants(r.Name)})
	}
	return views
}

// CanI says whether the request's key holds a permission, and for a tenant whether it reaches that one.
func (s *Service) CanI(ctx context.Context, permission, tenant string) Decision {
	id := omni.RequestFrom(ctx).Identity
	d := Decision{Permission: permission, Tenant: tenant}
	switch {
	case tenant != "" && id.Tenant != "" && tenant != id.Tenant:
		d.Reason = "the key is bound to the tenant " + id.Tenant
	case !Allows(id.Permissions, permission):
		d.Reason = fmt.Sprintf("no role of the key grants %s", shown(permission))
	default:
		d.Allowed, d.Reason = true, "granted by the key's roles"
	}
	return d
}

func item[T any](v T, err error) (*rest.ItemOutput[T], error) {
	if err != nil {
		return nil, err
	}
	return rest.Item(v), nil
}
