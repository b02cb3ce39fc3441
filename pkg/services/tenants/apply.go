package tenants

import (
	"context"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// ApplyTenant makes the tenant as a manifest says. Applying the same again changes nothing.
func (s *Service) ApplyTenant(ctx context.Context, tx *database.Tx, meta omni.Metadata, spec TenantSpec) (omni.Outcome, error) {
	want, err := checked(meta, spec, tx.Now())
	if err != nil {
		return "", err
	}
	old, found, err := lockTenant(ctx, tx, want.Name)
	switch {
	case err != nil:
		return "", err
	case !found:
		_, err := s.create(ctx, tx, want)
		return omni.Created, err
	case old.Deleting:
		return "", beingDeleted(want.Name)
	case old.same(want):
		return omni.Unchanged, nil
	}
	_, err = s.update(ctx, tx, old, want)
	return omni.Updated, err
}

// Tenant gives a tenant within tx; a missing one is CodeNotFound. It does not ask who is asking: Get does.
func (s *Service) Tenant(ctx context.Context, tx *database.Tx, name string) (Tenant, error) {
	t, found, err := selectTenant(ctx, tx, name)
	if err == nil && !found {
		err = missing(name)
	}
	return t, err
}

// Tenants gives a page of all tenants within tx, by name.
func (s *Service) Tenants(ctx context.Context, tx *database.Tx, page omni.PageRequest) (omni.Page[Tenant], error) {
	items, err := selectPage(ctx, tx, page.After, page.Size()+1)
	if err != nil {
		return omni.Page[Tenant]{}, err
	}
	out := omni.Page[Tenant]{Items: items}
	if len(items) > page.Size() {
		out.Items = items[:page.Size()]
		out.Next = out.Items[page.Size()-1].Name
	}
	return out, nil
}

// DeleteTenant removes the tenant's row and its keys within tx. It does not ask what the tenant owns: Delete does.
func (s *Service) DeleteTenant(ctx context.Context, tx *database.Tx, name string) error {
	t, found, err := lockTenant(ctx, tx, name)
	if err != nil {
		return err
	}
	if !found {
		return missing(name)
	}
	if s.keys != nil {
		if err := s.keys.RevokeTenant(ctx, tx, name); err != nil {
			return err
		}
	}
	if err := deleteTenant(ctx, tx, name); err != nil {
		return err
	}
	return record(ctx, tx, "deleted", &t, t)
}

func (s *Service) create(ctx context.Context, tx *database.Tx, t Tenant) (Tenant, error) {
	t.Version, t.CreatedAt, t.UpdatedAt = 1, tx.Now(), tx.Now()
	if err := insertTenant(ctx, tx, t); err != nil {
		return Tenant{}, err
	}
	return t, record(ctx, tx, "created", nil, t)
}

func (s *Service) update(ctx context.Context, tx *database.Tx, old, want Tenant) (Tenant, error) {
	want.Deleting, want.Version, want.CreatedAt, want.UpdatedAt = old.Deleting, old.Version+1, old.CreatedAt, tx.Now()
	if err := updateTenant(ctx, tx, want); err != nil {
		return Tenant{}, err
	}
	return want, record(ctx, tx, "updated", &old, want)
}
