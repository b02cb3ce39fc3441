package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/omnicloud/omnicloud/pkg/services/audit"
	"github.com/omnicloud/omnicloud/pkg/services/auth"
	"github.com/omnicloud/omnicloud/pkg/services/billing"
	"github.com/omnicloud/omnicloud/pkg/services/tenants"
)

// Tenants lists the tenants that the key may see, by name.
func (c *Client) Tenants(ctx context.Context) ([]tenants.Tenant, error) {
	return all[tenants.Tenant](ctx, c, call{method: http.MethodGet, path: "tenants"}, maxList)
}

// Tenant gives one tenant.
func (c *Client) Tenant(ctx context.Context, name string) (tenants.Tenant, error) {
	var t tenants.Tenant
	return t, c.do(ctx, call{method: http.MethodGet, path: path("tenants", name)}, &t)
}

// TenantFields are the fields of a tenant that can be set; nil leaves one as it is.
type TenantFields struct {
	Name            string            `json:"name,omitempty"` // only to create
	Labels          map[string]string `json:"labels,omitempty"`
	DisplayName     *string           `json:"display_name,omitempty"`
	BillingCurrency *string           `json:"billing_currency,omitempty"`
}

// CreateTenant makes a tenant.
func (c *Client) CreateTenant(ctx context.Context, f TenantFields) (tenants.Tenant, error) {
	var t tenants.Tenant
	return t, c.do(ctx, call{method: http.MethodPost, path: "tenants", body: f}, &t)
}

// UpdateTenant changes some fields of a tenant.
func (c *Client) UpdateTenant(ctx context.Context, name string, f TenantFields) (tenants.Tenant, error) {
	var t tenants.Tenant
	return t, c.do(ctx, call{method: http.MethodPatch, path: path("tenants", name), body: f}, &t)
}

// DeleteTenant removes a tenant; with cascade, also all that it owns.
func (c *Client) DeleteTenant(ctx context.Context, name string, cascade bool) error {
	q := url.Values{}
	if cascade {
		q.Set("cascade", "true")
	}
	return c.do(ctx, call{method: http.MethodDelete, path: path("tenants", name), query: q}, nil)
}

// WhoAmI says what the key is and may do.
func (c *Client) WhoAmI(ctx context.Context) (auth.WhoAmI, error) {
	var who auth.WhoAmI
	return who, c.do(ctx, call{method: http.MethodGet, path: "whoami"}, &who)
}

// KeyRequest asks for an API key.
type KeyRequest struct {
	Name      string   `json:"name"`
	Tenant    string   `json:"tenant,omitempty"`
	Roles     []string `json:"roles"`
	ExpiresIn string   `json:"expires_in,omitempty"` // such as 720h; left out, until it is revoked
}

// CreateKey makes a key; the answer holds its token, which is never shown again.
func (c *Client) CreateKey(ctx context.Context, r KeyRequest) (auth.NewKey, error) {
	var key auth.NewKey
	return key, c.do(ctx, call{method: http.MethodPost, path: "keys", body: r}, &key)
}

// Keys lists the keys that the asking key may see: those that are not revoked, or all.
func (c *Client) Keys(ctx context.Context, tenant string, revoked bool) ([]auth.Key, error) {
	q := query("tenant", tenant)
	if revoked {
		q.Set("revoked", "true")
	}
	return all[auth.Key](ctx, c, call{method: http.MethodGet, path: "keys", query: q}, maxList)
}

// RotateKey gives a key a new token; the old one stays valid for overlap, such as "24h" ("" is the server's default).
func (c *Client) RotateKey(ctx context.Context, id, overlap string) (auth.NewKey, error) {
	body := map[string]string{}
	if overlap != "" {
		body["overlap"] = overlap
	}
	var key auth.NewKey
	return key, c.do(ctx, call{method: http.MethodPost, path: path("keys", id, "rotate"), body: body}, &key)
}

// RevokeKey ends a key at once.
func (c *Client) RevokeKey(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: path("keys", id)}, nil)
}

// Roles lists the roles with all that they grant.
func (c *Client) Roles(ctx context.Context) ([]auth.Role, error) {
	return all[auth.Role](ctx, c, call{method: http.MethodGet, path: "roles"}, maxList)
}

// AuditFilter selects audit entries; "" selects everything.
type AuditFilter struct{ Tenant, Action, Object, Actor, Since, Until, Order string }

// Audit lists audit entries, at most bound.
func (c *Client) Audit(ctx context.Context, f AuditFilter, bound int) ([]audit.Entry, error) {
	q := query("tenant", f.Tenant, "action", f.Action, "object", f.Object, "actor", f.Actor, "since", f.Since, "until", f.Until,
		"order", f.Order, "limit", strconv.Itoa(min(bound, 1000)))
	return all[audit.Entry](ctx, c, call{method: http.MethodGet, path: "audit", query: q}, bound)
}

// VerifyAudit recomputes a tenant's log ("" is all that the key may see).
func (c *Client) VerifyAudit(ctx context.Context, tenant string) (audit.Report, error) {
	var report audit.Report
	return report, c.do(ctx, call{method: http.MethodGet, path: "audit/verify", query: query("tenant", tenant)}, &report)
}

// UsageFilter selects usage; "" selects everything. By is what the totals are grouped by.
type UsageFilter struct{ Tenant, Region, Run, From, To, By string }

// Usage lists metered intervals with their totals, at most bound of them.
func (c *Client) Usage(ctx context.Context, f UsageFilter, bound int) (billing.Report, error) {
	q := query("tenant", f.Tenant, "region", f.Region, "run", f.Run, "from", f.From, "to", f.To, "by", f.By)
	var whole billing.Report
	for {
		var page billing.Report
		if err := c.do(ctx, call{method: http.MethodGet, path: "usage", query: q}, &page); err != nil {
			return billing.Report{}, err
		}
		page.Items = append(whole.Items, page.Items...)
		whole = page
		if whole.Next == "" || len(whole.Items) >= bound {
			return whole, nil
		}
		q.Set("after", whole.Next)
	}
}

// Service is one of the fifteen, as the server that was asked sees it.
type Service struct {
	Name          string  `json:"name"`
	Status        string  `json:"status"` // ok, degraded, stopped or absent
	Leader        string  `json:"leader,omitempty"`
	Version       string  `json:"version,omitempty"`
	UptimeSeconds float64 `json:"uptime_seconds"`
	Message       string  `json:"message,omitempty"`
}

// Services lists the fifteen.
func (c *Client) Services(ctx context.Context) ([]Service, error) {
	return all[Service](ctx, c, call{method: http.MethodGet, path: "services"}, maxList)
}
