package failover

import (
	"context"
	"fmt"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// EventPolicyChanged is the type of the event that a policy was created, updated or deleted.
const EventPolicyChanged = "omni.policy.changed"

// Policy gives a tenant's policy; CodeNotFound when it has none of that name.
func (s *Service) Policy(ctx context.Context, tx *database.Tx, tenant, name string) (Policy, error) {
	return getPolicy(ctx, tx, selectPolicy, tenant, name)
}

func getPolicy(ctx context.Context, tx *database.Tx, query, tenant, name string) (Policy, error) {
	list, err := queryPolicies(ctx, tx, query, tenant, name)
	if err == nil && len(list) == 0 {
		err = omni.Errorf(omni.CodeNotFound, "there is no policy %q", clip(name))
	}
	if err != nil {
		return Policy{}, err
	}
	return list[0], nil
}

// Policies gives a page of policies, by tenant and name; tenant "" means all tenants'. After is TENANT/NAME.
func (s *Service) Policies(ctx context.Context, tx *database.Tx, tenant string, req omni.PageRequest) (omni.Page[Policy], error) {
	afterTenant, afterName := splitCursor(req.After)
	list, err := queryPolicies(ctx, tx, selectPolicies, tenant, afterTenant, afterName, req.Size()+1)
	page := omni.Page[Policy]{Items: append([]Policy{}, list...)}
	if len(list) > req.Size() {
		page.Items = page.Items[:req.Size()]
		last := page.Items[len(page.Items)-1]
		page.Next = last.Tenant + "/" + last.Name
	}
	return page, err
}

func splitCursor(after string) (tenant, name string) {
	for i := range len(after) {
		if after[i] == '/' {
			return after[:i], after[i+1:]
		}
	}
	return "", ""
}

// ApplyPolicy makes the tenant's policy what its manifest says. A tenant has one policy. CodeInvalid names every field that
// is wrong; the regions must exist. CodeConflict for a change while a run of the tenant is alive.
func (s *Service) ApplyPolicy(ctx context.Context, tx *database.Tx, meta omni.Metadata, spec PolicySpec) (omni.Outcome, error) {
	if err := ValidatePolicy(meta, spec); err != nil {
		return "", err
	}
	spec = spec.WithDefaults()
	if err := s.knownRegions(ctx, tx, meta.Name, spec); err != nil {
		return "", err
	}
	labels, err := encode(meta.Labels)
	if err != nil {
		return "", err
	}
	text, err := encode(spec)
	if err != nil {
		return "", err
	}
	old, err := getPolicy(ctx, tx, locked(tx, selectPolicy), meta.Tenant, meta.Name)
	if omni.Is(err, omni.CodeNotFound) {
		return omni.Created, s.createPolicy(ctx, tx, meta, labels, text)
	}
	if err != nil {
		return "", err
	}
	oldLabels, err := encode(old.Labels)
	if err != nil {
		return "", err
	}
	oldText, err := encode(old.Spec)
	if err != nil || (oldLabels == labels && oldText == text) {
		return omni.Unchanged, err
	}
	if err := s.settled(ctx, tx, meta.Tenant, meta.Name); err != nil {
		return "", err
	}
	if _, err := tx.Exec(ctx, updatePolicy, meta.Tenant, meta.Name, labels, text, database.Time(tx.Now())); err != nil {
		return "", err
	}
	return omni.Updated, s.policyChanged(ctx, tx, &old, meta.Tenant, meta.Name, "update")
}

func (s *Service) createPolicy(ctx context.Context, tx *database.Tx, meta omni.Metadata, labels, text string) error {
	others, err := queryPolicies(ctx, tx, selectOwn, meta.Tenant)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return omni.Errorf(omni.CodeConflict, "tenant %s has the policy %s already, and can have one only", meta.Tenant, others[0].Name).
			WithHint("change that one, or delete it first")
	}
	if _, err := tx.Exec(ctx, insertPolicy, meta.Tenant, meta.Name, labels, text, database.Time(tx.Now())); err != nil {
		return err
	}
	return s.policyChanged(ctx, tx, nil, meta.Tenant, meta.Name, "create")
}

// knownRegions refuses regions that do not exist, and a trigger that the primary's zones could never pull.
func (s *Service) knownRegions(ctx context.Context, tx *database.Tx, policy string, spec PolicySpec) error {
	var list []omni.FieldError
	check := func(path, name string) (infra.Region, error) {
		r, err := s.infra.Region(ctx, tx, name)
		if omni.Is(err, omni.CodeNotFound) {
			list = append(list, omni.FieldError{Path: path, Message: fmt.Sprintf("there is no region %q", name)})
			return r, nil
		}
		return r, err
	}
	primary, err := check("spec.primary", spec.Primary)
	if err != nil {
		return err
	}
	for i, name := range spec.Targets {
		if _, err := check(fmt.Sprintf("spec.targets[%d]", i), name); err != nil {
			return err
		}
	}
	voters := 0
	for _, zone := range primary.Spec.Zones {
		if len(zone.Probes) > 0 {
			voters++
		}
	}
	if primary.Name != "" && spec.Trigger.Zones > voters {
		list = append(list, omni.FieldError{
			Path:    "spec.trigger.zones",
			Message: fmt.Sprintf("%d zones must agree, but only %d of %s have probes: it would never count as down", spec.Trigger.Zones, voters, primary.Name),
		})
	}
	return policyError(policy, list)
}

// policyChanged reports a change; old is nil when the policy is new.
func (s *Service) policyChanged(ctx context.Context, tx *database.Tx, old *Policy, tenant, name, verb string) error {
	rec := omni.AuditRecord{Tenant: tenant, Action: "policy." + verb, Object: "policy/" + name}
	change := map[string]any{"tenant": tenant, "name": name, "change": verb + "d"}
	if old != nil {
		rec.Before = events.Digest(*old)
	}
	if verb != "delete" {
		now, err := s.Policy(ctx, tx, tenant, name)
		if err != nil {
			return err
		}
		rec.After = events.Digest(now)
		change["version"] = now.Version
	}
	if err := events.Audit(ctx, tx, rec); err != nil {
		return err
	}
	return events.Append(ctx, tx, events.New(EventPolicyChanged, "policy/"+tenant+"/"+name, tenant, change))
}

// settled refuses a change of the policy while a run moves its tenant. The caller has locked the policy, and what makes a run holds it.
func (s *Service) settled(ctx context.Context, tx *database.Tx, tenant, name string) error {
	run, err := s.Busy(ctx, tx, tenant)
	if err != nil || run == "" {
		return err
	}
	return omni.Errorf(omni.CodeConflict, "policy %s cannot change now: the run %s of %s is alive", name, run, tenant).
		WithHint("wait for it to end (omnictl failover watch %s), or abort it", run)
}

// hold keeps the tenant's policy and resources as they are until the transaction ends.
func (s *Service) hold(ctx context.Context, tx *database.Tx, tenant string) error {
	if tx.Kind() == database.Postgres { // SQLite has one writer at a time
		if _, err := queryPolicies(ctx, tx, selectOwn+` for key share`, tenant); err != nil {
			return err
		}
	}
	return s.infra.HoldResources(ctx, tx, tenant)
}

// DeletePolicy removes a tenant's policy: nothing of it moves by itself any more. CodeConflict while a run of the tenant is alive.
func (s *Service) DeletePolicy(ctx context.Context, tx *database.Tx, tenant, name string) error {
	old, err := getPolicy(ctx, tx, locked(tx, selectPolicy), tenant, name)
	if err != nil {
		return err
	}
	if err := s.settled(ctx, tx, tenant, name); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, deletePolicy, tenant, name); err != nil {
		return err
	}
	return s.policyChanged(ctx, tx, &old, tenant, name, "delete")
}

// policyOf gives the tenant's policy; nil when it has none.
func policyOf(ctx context.Context, tx *database.Tx, tenant string) (*Policy, error) {
	list, err := queryPolicies(ctx, tx, selectOwn, tenant)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}
