package config

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// tenants says whether there is a tenant that takes new objects.
type tenants interface {
	Exists(ctx context.Context, name string) (bool, error)
}

// Options are what a Service needs.
type Options struct {
	// Databases are those of the kinds, in the order in which an apply commits them: tenants, then infra.
	Databases []*database.DB
	Kinds     []Kind
	Tenants   tenants
}

// Service applies manifests. It is safe for concurrent use.
type Service struct {
	Registry
	databases []*database.DB
	tenants   tenants
}

// New makes the service.
func New(o Options) *Service {
	return &Service{Registry: NewRegistry(o.Kinds...), databases: o.Databases, tenants: o.Tenants}
}

// Item is what became, or would become, of one object. Fields are told by Diff only.
type Item struct {
	Kind    string       `json:"kind"`
	Tenant  string       `json:"tenant,omitempty"`
	Name    string       `json:"name"`
	Outcome omni.Outcome `json:"outcome"`
	Fields  []Difference `json:"fields,omitempty"`
}

// Result is what became of a manifest. Items are in the order in which they were applied.
type Result struct {
	Items     []Item `json:"items"`
	Created   int    `json:"created"`
	Updated   int    `json:"updated"`
	Unchanged int    `json:"unchanged"`
	DryRun    bool   `json:"dry_run,omitempty"` // nothing was kept
}

// ApplyResult is Result.
type ApplyResult = Result

// errRehearsed rolls a transaction back whose work was only tried.
var errRehearsed = errors.New("only tried")

// Validate checks manifests as far as that can be done: permissions, tenants, and by trying them without keeping anything.
func (s *Service) Validate(ctx context.Context, m Manifests) (Result, error) {
	return s.rehearse(ctx, m, false)
}

// Plan says what Apply would do.
func (s *Service) Plan(ctx context.Context, m Manifests) (Result, error) {
	return s.rehearse(ctx, m, false)
}

// Diff says what Apply would do, and which fields of which objects would change.
func (s *Service) Diff(ctx context.Context, m Manifests) (Result, error) {
	return s.rehearse(ctx, m, true)
}

// Apply makes everything as the manifests say, or nothing.
func (s *Service) Apply(ctx context.Context, m Manifests) (ApplyResult, error) {
	if err := s.check(ctx, m); err != nil {
		return Result{}, err
	}
	batches := s.batches(m)
	if len(batches) > 1 { // one batch is one transaction, which keeps everything or nothing by itself
		for _, b := range batches {
			if err := s.try(ctx, b, false); err != nil {
				return Result{}, err
			}
		}
	}
	for i, b := range batches {
		b.remember = i < len(batches)-1
		if err := s.commit(ctx, b); err != nil {
			return Result{}, s.takeBack(ctx, batches[:i], err)
		}
	}
	return summed(batches, false), nil
}

func (s *Service) rehearse(ctx context.Context, m Manifests, fields bool) (Result, error) {
	if err := s.check(ctx, m); err != nil {
		return Result{}, err
	}
	batches := s.batches(m)
	for _, b := range batches {
		if err := s.try(ctx, b, fields); err != nil {
			return Result{}, err
		}
	}
	return summed(batches, true), nil
}

// check finds what can be told without a transaction: what the request's key may not apply, and tenants that do not exist.
func (s *Service) check(ctx context.Context, m Manifests) error {
	if err := s.permitted(ctx, m); err != nil {
		return err
	}
	known := map[string]bool{}
	for _, o := range m.Objects {
		if o.Kind == tenantKind {
			known[o.Metadata.Name] = true
		}
	}
	var f faults
	for _, o := range m.Objects {
		name := o.Metadata.Tenant
		if name == "" {
			continue
		}
		exists, asked := known[name]
		if !asked {
			var err error
			if exists, err = s.tenants.Exists(ctx, name); err != nil {
				return err
			}
			known[name] = exists
		}
		if !exists {
			f.add(o.file, o.where("metadata.tenant"), "metadata.tenant", "there is no tenant %s, neither in the store nor in this manifest", quoted(name))
		}
	}
	return f.err()
}

// permitted refuses what the request's key may not apply.
func (s *Service) permitted(ctx context.Context, m Manifests) error {
	id := omni.RequestFrom(ctx).Identity
	for _, o := range m.Objects {
		kind := s.kinds[o.Kind]
		place := o.where("metadata")
		refuse := func(message string) error {
			return omni.Errorf(omni.CodeForbidden, "%s: %s", o, message).
				WithFields(omni.FieldError{Path: "metadata", Message: message, File: o.file, Line: place.line, Column: place.column}).
				WithHint("use a key of the platform, or one with a role that grants it")
		}
		if id.Tenant != "" && o.Metadata.Tenant != id.Tenant {
			return refuse("not permitted: the key is bound to the tenant " + id.Tenant)
		}
		if kind.Permission != "" && !slices.Contains(id.Permissions, kind.Permission) && !slices.Contains(id.Permissions, "*") {
			return refuse("not permitted: the key lacks the permission " + kind.Permission)
		}
	}
	return nil
}

// batches sorts the objects by database, and within one by the order of their kinds.
func (s *Service) batches(m Manifests) []*batch {
	var out []*batch
	for _, db := range s.databases {
		b := &batch{db: db}
		for _, o := range m.Objects {
			if s.kinds[o.Kind].Database == db.Name() {
				b.objects = append(b.objects, o)
			}
		}
		slices.SortStableFunc(b.objects, func(x, y Object) int {
			return cmp.Compare(s.kinds[x.Kind].Order, s.kinds[y.Kind].Order)
		})
		if len(b.objects) > 0 {
			out = append(out, b)
		}
	}
	return out
}

func summed(batches []*batch, dry bool) Result {
	out := Result{Items: []Item{}, DryRun: dry}
	for _, b := range batches {
		for _, d := range b.done {
			out.Items = append(out.Items, d.item)
			switch d.item.Outcome {
			case omni.Created:
				out.Created++
			case omni.Updated:
				out.Updated++
			case omni.Unchanged:
				out.Unchanged++
			}
		}
	}
	return out
}
