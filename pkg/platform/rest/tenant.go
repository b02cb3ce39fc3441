package rest

import (
	"context"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Tenant decides for whom a request acts. A key that is bound to a tenant acts for it: asked is "" or the same, and any other is
// answered as one that does not exist. A platform key must ask for one.
func Tenant(ctx context.Context, asked string) (string, error) {
	tenant, all, err := TenantOrAll(ctx, asked)
	if err != nil {
		return "", err
	}
	if all {
		return "", omni.Errorf(omni.CodeInvalid, "tenant: is missing; this key belongs to no tenant, so the request must name one").
			WithFields(omni.FieldError{Path: "tenant", Message: "is missing"}).
			WithHint("add the query parameter tenant=NAME")
	}
	return tenant, nil
}

// TenantOrAll is Tenant for what a platform key may also see as a whole: all is true when it asked for none.
func TenantOrAll(ctx context.Context, asked string) (tenant string, all bool, err error) {
	bound := omni.RequestFrom(ctx).Identity.Tenant
	if asked != "" && bound != "" && asked != bound {
		return "", false, omni.Errorf(omni.CodeNotFound, "tenant %q: there is none of this name", shorten(asked, omni.MaxName)).
			WithHint("leave tenant out: this key acts for its own tenant")
	}
	if asked == "" {
		asked = bound
	}
	if asked == "" {
		return "", true, nil
	}
	if err := omni.CheckName("tenant", asked); err != nil {
		return "", false, err
	}
	return asked, false, nil
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
