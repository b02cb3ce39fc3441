package tenants

import (
	"context"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// owned tells what a tenant still owns: how many objects, and of which kinds.
type owned interface {
	Owned(ctx context.Context, tenant string) (count int, kinds []string, err error)
}

// remover removes all that a tenant owns, in reverse order of dependency. Called again after a failure it goes on with
// what is left.
type remover interface {
	RemoveAll(ctx context.Context, tenant string) error
}

// keys revokes every API key of a tenant, in the transaction that deletes the tenant.
type keys interface {
	RevokeTenant(ctx context.Context, tx *database.Tx, tenant string) error
}

// Options are what a Service needs. Without Keys, no keys are revoked with a tenant.
type Options struct {
	DB      *database.DB // tenants
	Owned   owned
	Remover remover
	Keys    keys
}

// Service keeps the tenants. It is safe for concurrent use.
type Service struct {
	db      *database.DB
	owned   owned
	remover remover
	keys    keys
}

// New makes the service.
func New(o Options) *Service {
	return &Service{db: o.DB, owned: o.Owned, remover: o.Remover, keys: o.Keys}
}

// visible answers for a key that is bound to another tenant as if name did not exist.
func visible(ctx context.Context, name string) error {
	if own := omni.RequestFrom(ctx).Identity.Tenant; own != "" && own != name {
		return missing(name)
	}
	return nil
}

func missing(name string) error {
	return omni.Errorf(omni.CodeNotFound, "there is no tenant %s", shorten(name)).WithHint("omnictl tenants list shows those that exist")
}

// Get gives a tenant; one that the request's key may not see is CodeNotFound, like one that does not exist.
func (s *Service) Get(ctx context.Context, name string) (t Tenant, err error) {
	if err := visible(ctx, name); err != nil {
		return Tenant{}, err
	}
	err = s.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		t, err = s.Tenant(ctx, tx, name)
		return err
	})
	return t, err
}

// List gives the tenants that the request's key may see, by name.
func (s *Service) List(ctx context.Context, page omni.PageRequest) (out omni.Page[Tenant], err error) {
	if own := omni.RequestFrom(ctx).Identity.Tenant; own != "" {
		t, err := s.Get(ctx, own)
		if omni.Is(err, omni.CodeNotFound) || page.After >= own {
			return omni.Page[Tenant]{Items: []Tenant{}}, nil
		}
		return omni.Page[Tenant]{Items: []Tenant{t}}, err
	}
	err = s.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		out, err = s.Tenants(ctx, tx, page)
		return err
	})
	return out, err
}

// Exists says whether there is a tenant of that name that takes new objects.
func (s *Service) Exists(ctx context.Context, name string) (exists bool, err error) {
	err = s.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		t, found, err := selectTenant(ctx, tx, name)
		exists = found && !t.Deleting
		return err
	})
	return exists, err
}

// Hold keeps a tenant from being deleted until tx, on the tenants database, ends. A missing one is CodeNotFound, one that
// is being deleted CodeConflict.
func (s *Service) Hold(ctx context.Context, tx *database.Tx, name string) error {
	t, found, err := shareTenant(ctx, tx, name)
	switch {
	case err != nil:
		return err
	case !found:
		return missing(name)
	case t.Deleting:
		return beingDeleted(name)
	}
	return nil
}

func beingDeleted(name string) error {
	return omni.Errorf(omni.CodeConflict, "the tenant %s is being deleted", name).
		WithHint("let the deletion end (omnictl tenants delete %s --cascade goes on with it), then create it again", name)
}

// Create makes a tenant; one that exists is CodeConflict. Keys that are bound to a tenant may not.
func (s *Service) Create(ctx context.Context, meta omni.Metadata, spec TenantSpec) (t Tenant, err error) {
	if err := platformOnly(ctx, "create tenants"); err != nil {
		return Tenant{}, err
	}
	err = s.db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		want, err := checked(meta, spec, tx.Now())
		if err != nil {
			return err
		}
		if _, found, err := lockTenant(ctx, tx, want.Name); err != nil || found {
			if err == nil {
				err = omni.Errorf(omni.CodeConflict, "the tenant %s exists already", want.Name).WithHint("change it with omnictl tenants update %s", want.Name)
			}
			return err
		}
		t, err = s.create(ctx, tx, want)
		return err
	})
	return t, err
}

// Change is what an update changes; nil leaves a field as it is. Replace writes every field: those that are nil return to
// their defaults.
type Change struct {
	Labels          *map[string]string
	DisplayName     *string
	BillingCurrency *string
	Replace         bool
}

// Update changes a tenant. version is what its ETag must be (CodeStale otherwise); 0 takes any.
func (s *Service) Update(ctx context.Context, name string, c Change, version int64) (t Tenant, err error) {
	if err := visible(ctx, name); err != nil {
		return Tenant{}, err
	}
	err = s.db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		old, err := s.lock(ctx, tx, name, version)
		if err != nil {
			return err
		}
		meta, spec := old.Manifest()
		if c.Replace {
			meta, spec = omni.Metadata{Name: name}, TenantSpec{}
		}
		if c.Labels != nil {
			meta.Labels = *c.Labels
		}
		if c.DisplayName != nil {
			spec.DisplayName = *c.DisplayName
		}
		if c.BillingCurrency != nil {
			spec.BillingCurrency = *c.BillingCurrency
		}
		want, err := checked(meta, spec, tx.Now())
		if err != nil {
			return err
		}
		if t = old; old.same(want) {
			return nil
		}
		t, err = s.update(ctx, tx, old, want)
		return err
	})
	return t, err
}

// lock reads a tenant for a change of it.
func (s *Service) lock(ctx context.Context, tx *database.Tx, name string, version int64) (Tenant, error) {
	t, found, err := lockTenant(ctx, tx, name)
	switch {
	case err != nil:
		return Tenant{}, err
	case !found:
		return Tenant{}, missing(name)
	case t.Deleting:
		return Tenant{}, beingDeleted(name)
	case version != 0 && version != t.Version:
		return Tenant{}, stale(t)
	}
	return t, nil
}

func stale(t Tenant) error {
	return omni.Errorf(omni.CodeStale, "the tenant %s has changed since it was read: it is at version %d", t.Name, t.Version).
		WithHint("read it again, and repeat the change on what it is now")
}

func platformOnly(ctx context.Context, what string) error {
	if omni.RequestFrom(ctx).Identity.Tenant == "" {
		return nil
	}
	return omni.Errorf(omni.CodeForbidden, "a key that is bound to a tenant cannot %s", what).WithHint("use a key of the platform")
}

// record writes the audit record and the event of a change, in its transaction.
func record(ctx context.Context, tx *database.Tx, change string, before *Tenant, after Tenant) error {
	rec := omni.AuditRecord{Tenant: after.Name, Action: "tenant." + verb(change), Object: "tenant/" + after.Name}
	if before != nil {
		rec.Before = events.Digest(*before)
	}
	if change != "deleted" {
		rec.After = events.Digest(after)
	}
	if err := events.Audit(ctx, tx, rec); err != nil {
		return err
	}
	return events.Append(ctx, tx, events.New(EventChanged, "tenant/"+after.Name, after.Name, Changed{Tenant: after, Change: change}))
}

func verb(change string) string {
	return map[string]string{"created": "create", "updated": "update", "deleting": "drain", "deleted": "delete"}[change]
}
