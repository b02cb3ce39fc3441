package failover

import (
	"context"
	"net/http"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/rest"
)

type runsInput struct {
	rest.TenantParam
	rest.PageParams
	Status string `query:"status" enum:"awaiting_approval,running,paused,succeeded,failed,aborted,rolled_back" doc:"only runs in this state"`
}

type runInputID struct {
	rest.TenantParam
	ID string `path:"id" maxLength:"64" doc:"the run's id"`
}

type reasonBody struct {
	Reason string `json:"reason,omitempty" maxLength:"1000" doc:"why; kept in the audit trail"`
}

type controlInput struct {
	rest.TenantParam
	ID   string `path:"id" maxLength:"64" doc:"the run's id"`
	Body *reasonBody
}

type triggerInput struct{ Body TriggerRequest }

type freezeInput struct{ Body *reasonBody }

type policiesInput struct {
	rest.TenantParam
	rest.PageParams
}

type policyInput struct {
	rest.TenantParam
	Name    string `path:"name" maxLength:"63" doc:"the policy's name"`
	IfMatch string `header:"If-Match" doc:"the ETag that it must still have"`
}

type regionInput struct {
	Name string `path:"name" maxLength:"63" doc:"the region's name"`
}

// Routes adds what HTTP offers of runs, plans, policies and automation, and the health of regions.
func (s *Service) Routes(api *rest.API) {
	rest.Handle(api, rest.Route{
		Method: http.MethodPost, Path: "/api/v1/failover-plans", ID: "plan-failover", Summary: "Say what a failover or failback would do",
		Tag: "failovers", Permission: "failovers.read",
	}, s.handlePlan)
	rest.Handle(api, rest.Route{
		Method: http.MethodPost, Path: "/api/v1/failovers", ID: "trigger-failover", Summary: "Start a failover or failback",
		Tag: "failovers", Permission: "failovers.trigger", Status: http.StatusCreated,
	}, s.handleTrigger)
	rest.Handle(api, rest.Route{
		Method: http.MethodGet, Path: "/api/v1/failovers", ID: "list-failovers", Summary: "List runs without their steps, newest first",
		Tag: "failovers", Permission: "failovers.read",
	}, s.handleRuns)
	rest.Handle(api, rest.Route{
		Method: http.MethodGet, Path: "/api/v1/failovers/{id}", ID: "get-failover", Summary: "Show a run with its steps",
		Tag: "failovers", Permission: "failovers.read",
	}, s.handleRun)
	for _, c := range []struct {
		verb, summary, permission string
		do                        func(ctx context.Context, tenant, id, reason string) (Run, error)
	}{
		{"approve", "Agree to a run that waits for it", "failovers.approve", s.Approve},
		{"pause", "Stop a run behind the steps that are at work", "failovers.control", s.Pause},
		{"resume", "Let a paused run go on; failed steps are tried anew", "failovers.control", s.Resume},
		{"abort", "End a run where it is; nothing is undone", "failovers.control", s.Abort},
	} {
		rest.Handle(api, rest.Route{
			Method: http.MethodPost, Path: "/api/v1/failovers/{id}/" + c.verb, ID: c.verb + "-failover", Summary: c.summary,
			Tag: "failovers", Permission: c.permission,
		}, func(ctx context.Context, in *controlInput) (*rest.ItemOutput[Run], error) {
			tenant, _, err := rest.TenantOrAll(ctx, in.Tenant)
			if err != nil {
				return nil, err
			}
			return runOutput(c.do(ctx, tenant, in.ID, in.Body.reason()))
		})
	}
	s.automationRoutes(api)
	s.policyRoutes(api)
	rest.Handle(api, rest.Route{
		Method: http.MethodGet, Path: "/api/v1/regions/{name}/health", ID: "get-region-health",
		Summary: "Judge a region now, with the votes of its zones", Tag: "regions", Permission: "regions.read",
	}, func(ctx context.Context, in *regionInput) (*rest.ItemOutput[Verdict], error) {
		v, err := s.RegionHealth(ctx, in.Name)
		return rest.Item(v), err
	})
}

func (s *Service) automationRoutes(api *rest.API) {
	const path = "/api/v1/automation/freeze"
	rest.Handle(api, rest.Route{
		Method: http.MethodGet, Path: path, ID: "get-freeze", Summary: "Say whether automation is frozen, and what keeps runs from starting",
		Tag: "automation", Permission: "failovers.read",
	}, func(ctx context.Context, _ *struct{}) (*rest.ItemOutput[Freeze], error) {
		f, err := s.Automation(ctx)
		if tenant := omni.RequestFrom(ctx).Identity.Tenant; tenant != "" {
			f.Blocked = ownBlocked(f.Blocked, tenant)
		}
		return rest.Item(f), err
	})
	rest.Handle(api, rest.Route{
		Method: http.MethodPost, Path: path, ID: "freeze-automation", Summary: "Keep runs from starting by themselves",
		Tag: "automation", Permission: "automation.freeze",
	}, func(ctx context.Context, in *freezeInput) (*rest.ItemOutput[Freeze], error) {
		if err := platformOnly(ctx); err != nil {
			return nil, err
		}
		f, err := s.SetFrozen(ctx, true, in.Body.reason())
		return rest.Item(f), err
	})
	rest.Handle(api, rest.Route{
		Method: http.MethodDelete, Path: path, ID: "unfreeze-automation", Summary: "Let runs start by themselves again",
		Tag: "automation", Permission: "automation.freeze", Status: http.StatusOK,
	}, func(ctx context.Context, _ *struct{}) (*rest.ItemOutput[Freeze], error) {
		if err := platformOnly(ctx); err != nil {
			return nil, err
		}
		f, err := s.SetFrozen(ctx, false, "")
		return rest.Item(f), err
	})
}

func ownBlocked(list []Blocked, tenant string) []Blocked {
	own := []Blocked{}
	for _, b := range list {
		if b.Tenant == tenant {
			own = append(own, b)
		}
	}
	return own
}

// platformOnly keeps a tenant's key from what concerns every tenant, whatever its permissions are.
func platformOnly(ctx context.Context) error {
	if omni.RequestFrom(ctx).Identity.Tenant != "" {
		return omni.Errorf(omni.CodeForbidden, "automation is frozen for all tenants at once: a tenant's key cannot do that")
	}
	return nil
}

func (s *Service) policyRoutes(api *rest.API) {
	rest.Handle(api, rest.Route{
		Method: http.MethodGet, Path: "/api/v1/policies", ID: "list-policies", Summary: "List failover policies",
		Tag: "policies", Permission: "policies.read",
	}, s.handlePolicies)
	rest.Handle(api, rest.Route{
		Method: http.MethodGet, Path: "/api/v1/policies/{name}", ID: "get-policy", Summary: "Show a failover policy",
		Tag: "policies", Permission: "policies.read",
	}, s.handlePolicy)
	rest.Handle(api, rest.Route{
		Method: http.MethodDelete, Path: "/api/v1/policies/{name}", ID: "delete-policy", Summary: "Delete a failover policy",
		Tag: "policies", Permission: "policies.write", Status: http.StatusNoContent,
	}, s.handleDeletePolicy)
}

func (b *reasonBody) reason() string {
	if b == nil {
		return ""
	}
	return b.Reason
}

func runOutput(run Run, err error) (*rest.ItemOutput[Run], error) {
	return &rest.ItemOutput[Run]{ETag: rest.ETag(run.Version), Body: run}, err
}

func (s *Service) handlePlan(ctx context.Context, in *triggerInput) (*rest.ItemOutput[Plan], error) {
	r := in.Body.Request()
	var err error
	if r.Tenant, err = rest.Tenant(ctx, r.Tenant); err != nil {
		return nil, err
	}
	plan, err := s.PlanFor(ctx, r)
	return rest.Item(plan), err
}

func (s *Service) handleTrigger(ctx context.Context, in *triggerInput) (*rest.ItemOutput[Run], error) {
	t := in.Body
	var err error
	if t.Tenant, err = rest.Tenant(ctx, t.Tenant); err != nil {
		return nil, err
	}
	return runOutput(s.Trigger(ctx, t))
}

func (s *Service) handleRuns(ctx context.Context, in *runsInput) (*rest.ListOutput[Run], error) {
	tenant, _, err := rest.TenantOrAll(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	page, err := s.Runs(ctx, tenant, Status(in.Status), in.Request())
	return rest.List(page), err
}

func (s *Service) handleRun(ctx context.Context, in *runInputID) (*rest.ItemOutput[Run], error) {
	tenant, _, err := rest.TenantOrAll(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	return runOutput(s.Run(ctx, tenant, in.ID))
}

func (s *Service) handlePolicies(ctx context.Context, in *policiesInput) (*rest.ListOutput[Policy], error) {
	tenant, _, err := rest.TenantOrAll(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	var page omni.Page[Policy]
	err = s.db.Read(ctx, scope(tenant), func(ctx context.Context, tx *database.Tx) (err error) {
		page, err = s.Policies(ctx, tx, tenant, in.Request())
		return err
	})
	return rest.List(page), err
}

func (s *Service) handlePolicy(ctx context.Context, in *policyInput) (*rest.ItemOutput[Policy], error) {
	tenant, err := rest.Tenant(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	var p Policy
	err = s.db.Read(ctx, database.Tenant(tenant), func(ctx context.Context, tx *database.Tx) (err error) {
		p, err = s.Policy(ctx, tx, tenant, in.Name)
		return err
	})
	return &rest.ItemOutput[Policy]{ETag: rest.ETag(p.Version), Body: p}, err
}

func (s *Service) handleDeletePolicy(ctx context.Context, in *policyInput) (*rest.Empty, error) {
	tenant, err := rest.Tenant(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	return &rest.Empty{}, s.db.Write(ctx, database.Tenant(tenant), func(ctx context.Context, tx *database.Tx) error {
		p, err := s.Policy(ctx, tx, tenant, in.Name)
		if err != nil {
			return err
		}
		if err := rest.CheckMatch(in.IfMatch, p.Version); err != nil {
			return err
		}
		return s.DeletePolicy(ctx, tx, tenant, in.Name)
	})
}
