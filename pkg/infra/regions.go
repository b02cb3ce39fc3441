package infra

import (
	"context"
	"strings"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// Region gives a region; CodeNotFound when there is none of that name.
func (s *Store) Region(ctx context.Context, tx *database.Tx, name string) (Region, error) {
	return getRegion(ctx, tx, selectRegion, name)
}

func getRegion(ctx context.Context, tx *database.Tx, query, name string) (Region, error) {
	found := false
	var region Region
	err := tx.Query(ctx, query, []any{name}, func(scan func(...any) error) error {
		var err error
		region, err = scanRegion(scan)
		found = true
		return err
	})
	if err == nil && !found {
		err = notFound("region", name)
	}
	return region, err
}

// Regions gives a page of the regions, by name.
func (s *Store) Regions(ctx context.Context, tx *database.Tx, req omni.PageRequest) (omni.Page[Region], error) {
	var list []Region
	err := tx.Query(ctx, selectRegions, []any{req.After, req.Size() + 1}, func(scan func(...any) error) error {
		r, err := scanRegion(scan)
		list = append(list, r)
		return err
	})
	return page(list, req.Size(), func(r Region) string { return r.Name }), err
}

// AllRegions gives every region, by name.
func (s *Store) AllRegions(ctx context.Context, tx *database.Tx) ([]Region, error) {
	var all []Region
	for req := (omni.PageRequest{Limit: omni.MaxPage}); ; {
		p, err := s.Regions(ctx, tx, req)
		if err != nil {
			return nil, err
		}
		all = append(all, p.Items...)
		if p.Next == "" {
			return all, nil
		}
		req.After = p.Next
	}
}

// ApplyRegion makes the region what its manifest says; fields left out get their defaults. Cordoning stays as it is.
// CodeInvalid names every field that is wrong.
func (s *Store) ApplyRegion(ctx context.Context, tx *database.Tx, meta omni.Metadata, spec RegionSpec) (omni.Outcome, error) {
	if err := ValidateRegion(meta, spec); err != nil {
		return "", err
	}
	spec = spec.WithDefaults()
	labels, err := encode(meta.Labels)
	if err != nil {
		return "", err
	}
	text, err := encode(spec)
	if err != nil {
		return "", err
	}
	old, err := getRegion(ctx, tx, locked(tx, selectRegion), meta.Name)
	if omni.Is(err, omni.CodeNotFound) {
		if _, err := tx.Exec(ctx, insertRegion, meta.Name, labels, text, database.Time(tx.Now())); err != nil {
			return "", err
		}
		return omni.Created, s.regionChanged(ctx, tx, Region{}, meta.Name, string(omni.Created), "")
	}
	if err != nil {
		return "", err
	}
	sameLabels, err := stored(old.Labels, labels)
	if err != nil {
		return "", err
	}
	sameSpec, err := stored(old.Spec, text)
	if err != nil || (sameLabels && sameSpec) {
		return omni.Unchanged, err
	}
	if _, err := tx.Exec(ctx, updateRegion, meta.Name, labels, text, database.Time(tx.Now())); err != nil {
		return "", err
	}
	return omni.Updated, s.regionChanged(ctx, tx, old, meta.Name, string(omni.Updated), "")
}

// stored says whether a value, as it was read, would be written as this text.
func stored(v any, text string) (bool, error) {
	was, err := encode(v)
	return was == text, err
}

// regionChanged reports a change; old has no name when the region is new.
func (s *Store) regionChanged(ctx context.Context, tx *database.Tx, old Region, name, what, reason string) error {
	var before, after any
	if old.Name != "" {
		before = old
	}
	c := Changed{Name: name, Change: what, Version: old.Version + 1}
	if what != "deleted" {
		now, err := s.Region(ctx, tx, name)
		if err != nil {
			return err
		}
		after = now
	}
	return change(ctx, tx, "region", c, before, after, reason)
}

// Cordon closes a region to failovers, and says why. Doing so again only replaces the reason.
func (s *Store) Cordon(ctx context.Context, tx *database.Tx, name, reason string) (Region, error) {
	return s.setCordon(ctx, tx, name, true, reason)
}

// Uncordon opens a region to failovers again.
func (s *Store) Uncordon(ctx context.Context, tx *database.Tx, name string) (Region, error) {
	return s.setCordon(ctx, tx, name, false, "")
}

func (s *Store) setCordon(ctx context.Context, tx *database.Tx, name string, cordoned bool, reason string) (Region, error) {
	var f faults
	f.text("reason", reason, 1000)
	if err := f.err("region", name); err != nil {
		return Region{}, err
	}
	old, err := getRegion(ctx, tx, locked(tx, selectRegion), name)
	if err != nil || (old.Cordoned == cordoned && old.CordonReason == reason) {
		return old, err
	}
	if _, err := tx.Exec(ctx, cordonRegion, name, cordoned, reason, database.Time(tx.Now())); err != nil {
		return Region{}, err
	}
	what := "uncordoned"
	if cordoned {
		what = "cordoned"
	}
	if err := s.regionChanged(ctx, tx, old, name, what, reason); err != nil {
		return Region{}, err
	}
	return s.Region(ctx, tx, name)
}

// DeleteRegion removes a region. CodeReferenced while placements are in it, named.
func (s *Store) DeleteRegion(ctx context.Context, tx *database.Tx, name string) error {
	old, err := getRegion(ctx, tx, locked(tx, selectRegion), name)
	if err != nil {
		return err
	}
	var users []string
	err = tx.Query(ctx, regionUsers, []any{name}, func(scan func(...any) error) error {
		var tenant, resource string
		err := scan(&tenant, &resource)
		users = append(users, tenant+"/"+resource)
		return err
	})
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return omni.Errorf(omni.CodeReferenced, "region %s still has placements, such as %s", name, strings.Join(users, ", ")).
			WithHint("take the region out of these resources first")
	}
	if _, err := tx.Exec(ctx, deleteRegion, name); err != nil {
		return err
	}
	return s.regionChanged(ctx, tx, old, name, "deleted", "")
}
