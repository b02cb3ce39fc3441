package client

import (
	"context"
	"net/http"

	"github.com/omnicloud/omnicloud/pkg/failover"
)

// maxList bounds a list that is read to its end, in items.
const maxList = 100_000

// Plan asks what a failover or failback would do, and does nothing.
func (c *Client) Plan(ctx context.Context, r failover.TriggerRequest) (failover.Plan, error) {
	var plan failover.Plan
	return plan, c.do(ctx, call{method: http.MethodPost, path: "failover-plans", body: r, asks: true}, &plan)
}

// Trigger starts a run. The answer comes when it is stored, not when it is over.
func (c *Client) Trigger(ctx context.Context, r failover.TriggerRequest) (failover.Run, error) {
	var run failover.Run
	return run, c.do(ctx, call{method: http.MethodPost, path: "failovers", body: r}, &run)
}

// Failover gives a run with its steps.
func (c *Client) Failover(ctx context.Context, id string) (failover.Run, error) {
	var run failover.Run
	return run, c.do(ctx, call{method: http.MethodGet, path: path("failovers", id)}, &run)
}

// Failovers lists runs, newest first, without their steps; tenant and status may be "" for all. At most bound are read.
func (c *Client) Failovers(ctx context.Context, tenant, status string, bound int) ([]failover.Run, error) {
	return all[failover.Run](ctx, c, call{method: http.MethodGet, path: "failovers", query: query("tenant", tenant, "status", status)}, bound)
}

// ControlFailover does what verb says to a run: approve, pause, resume or abort.
func (c *Client) ControlFailover(ctx context.Context, id, verb, reason string) (failover.Run, error) {
	var run failover.Run
	body := map[string]string{"reason": reason}
	return run, c.do(ctx, call{method: http.MethodPost, path: path("failovers", id, verb), body: body}, &run)
}

// RegionHealth judges a region now, with the votes.
func (c *Client) RegionHealth(ctx context.Context, region string) (failover.Verdict, error) {
	var verdict failover.Verdict
	return verdict, c.do(ctx, call{method: http.MethodGet, path: path("regions", region, "health")}, &verdict)
}

// Freeze keeps runs from starting by themselves.
func (c *Client) Freeze(ctx context.Context, reason string) (failover.Freeze, error) {
	var state failover.Freeze
	body := map[string]string{"reason": reason}
	return state, c.do(ctx, call{method: http.MethodPost, path: "automation/freeze", body: body}, &state)
}

// Frozen says whether automation is frozen.
func (c *Client) Frozen(ctx context.Context) (failover.Freeze, error) {
	var state failover.Freeze
	return state, c.do(ctx, call{method: http.MethodGet, path: "automation/freeze"}, &state)
}

// Unfreeze lets runs start by themselves again.
func (c *Client) Unfreeze(ctx context.Context) (failover.Freeze, error) {
	var state failover.Freeze
	return state, c.do(ctx, call{method: http.MethodDelete, path: "automation/freeze"}, &state)
}
