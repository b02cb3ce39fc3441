package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/omnicloud/omnicloud/pkg/services/config"
)

// Apply makes everything as the manifests say, or nothing.
func (c *Client) Apply(ctx context.Context, files []config.File, dryRun bool) (config.Result, error) {
	q := url.Values{}
	if dryRun {
		q.Set("dry_run", "true")
	}
	var result config.Result
	return result, c.do(ctx, call{method: http.MethodPost, path: "manifests/apply", query: q, body: map[string]any{"files": files}, asks: dryRun}, &result)
}

// Diff says which fields an apply would change.
func (c *Client) Diff(ctx context.Context, files []config.File) (config.Result, error) {
	var result config.Result
	return result, c.do(ctx, call{method: http.MethodPost, path: "manifests/diff", body: map[string]any{"files": files}, asks: true}, &result)
}

// Kinds lists the kinds of manifests.
func (c *Client) Kinds(ctx context.Context) ([]config.KindInfo, error) {
	return all[config.KindInfo](ctx, c, call{method: http.MethodGet, path: "kinds"}, maxList)
}

// Explain tells what can stand at a path of a kind's manifest.
func (c *Client) Explain(ctx context.Context, kind, field string) (config.Explanation, error) {
	var out config.Explanation
	return out, c.do(ctx, call{method: http.MethodGet, path: path("kinds", kind), query: query("path", field)}, &out)
}

// Objects lists the objects of a kind (by its plural) as the server gives them.
func (c *Client) Objects(ctx context.Context, plural, tenant string) ([]json.RawMessage, error) {
	return all[json.RawMessage](ctx, c, call{method: http.MethodGet, path: path(plural), query: query("tenant", tenant)}, maxList)
}

// Object gives one object of a kind as the server gives it.
func (c *Client) Object(ctx context.Context, plural, tenant, name string) (json.RawMessage, error) {
	var out json.RawMessage
	return out, c.do(ctx, call{method: http.MethodGet, path: path(plural, name), query: query("tenant", tenant)}, &out)
}

// DeleteObject removes one object of a kind.
func (c *Client) DeleteObject(ctx context.Context, plural, tenant, name string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: path(plural, name), query: query("tenant", tenant)}, nil)
}
