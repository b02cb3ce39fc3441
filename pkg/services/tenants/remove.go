package tenants

import (
	"context"
	"strings"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// Delete removes a tenant. While it owns anything that is refused (CodeReferenced), unless cascade is set: then all
// that it owns is removed first, everywhere. A cascade that fails halfway leaves the tenant marked as being deleted; deleting it
// again, with cascade, goes on. version is as for Update.
func (s *Service) Delete(ctx context.Context, name string, cascade bool, version int64) error {
	if err := visible(ctx, name); err != nil {
		return err
	}
	if err := platformOnly(ctx, "delete a tenant"); err != nil {
		return err
	}
	was, err := s.beginDelete(ctx, name, cascade, version)
	if err != nil {
		return err
	}
	if cascade {
		if err := s.remover.RemoveAll(ctx, name); err != nil {
			return omni.Errorf(omni.CodeOf(err), "not everything that the tenant %s owns could be removed: %w", name, err).
				WithHint("remove the cause, then delete it again with --cascade: it goes on with what is left")
		}
	}
	if err := s.ownsNothing(ctx, name); err != nil {
		if !cascade && !was.Deleting { // a plain deletion that is refused must leave nothing changed
			return s.unmark(ctx, name, err)
		}
		return err
	}
	return s.db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		return s.DeleteTenant(ctx, tx, name)
	})
}

// beginDelete marks the tenant, so that it takes no new objects while those that it owns are looked for. It gives the tenant
// as it was before. The mark of a plain deletion lasts a moment and is no change that anybody is told of; that of a cascade
// may last, and has its audit record.
func (s *Service) beginDelete(ctx context.Context, name string, cascade bool, version int64) (was Tenant, err error) {
	err = s.db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		t, found, err := lockTenant(ctx, tx, name)
		switch {
		case err != nil:
			return err
		case !found:
			return missing(name)
		case version != 0 && version != t.Version:
			return stale(t)
		}
		was = t
		if was.Deleting {
			return nil
		}
		t.Deleting = true
		if err := updateTenant(ctx, tx, t); err != nil || !cascade {
			return err
		}
		return record(ctx, tx, "deleting", &was, t)
	})
	return was, err
}

// unmark takes the mark back and returns why.
func (s *Service) unmark(ctx context.Context, name string, why error) error {
	err := s.db.Write(context.WithoutCancel(ctx), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		t, found, err := lockTenant(ctx, tx, name)
		if err != nil || !found {
			return err
		}
		t.Deleting = false
		return updateTenant(ctx, tx, t)
	})
	if err != nil {
		return omni.Errorf(omni.CodeOf(err), "%s; and the tenant stays marked as being deleted: %w", why.Error(), err).
			WithHint("delete it again")
	}
	return why
}

// ownsNothing is CodeReferenced, and says what there is, while the tenant owns something.
func (s *Service) ownsNothing(ctx context.Context, name string) error {
	count, kinds, err := s.owned.Owned(ctx, name)
	if err != nil {
		return err
	}
	if count == 0 {
		return nil
	}
	return omni.Errorf(omni.CodeReferenced, "the tenant %s still owns %d objects (%s)", name, count, strings.Join(kinds, ", ")).
		WithHint("delete them first, or all at once: omnictl tenants delete %s --cascade", name)
}
