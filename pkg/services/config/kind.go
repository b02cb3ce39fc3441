package config

import (
	"cmp"
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// APIVersion stands in every manifest.
const APIVersion = "omni/v1"

// tenantKind is the kind whose objects count as tenants for the others of the same manifest.
const tenantKind = "Tenant"

// Kind tells how objects of one kind are read and kept. The functions run in the caller's transaction, on the database
// that Database names.
type Kind struct {
	Name     string // such as Resource
	Plural   string // such as resources, as in routes
	Tenanted bool   // its objects belong to a tenant
	Database database.Name
	// Order sorts kinds: what others refer to comes first. Within a kind, objects keep the order of their files.
	Order int
	Doc   string
	// Permission is what applying it needs besides manifests.apply; "" is nothing.
	Permission string

	// New gives a pointer to an empty spec. Its fields' tags yaml (or json) name them, those without omitempty must be
	// given, and doc explains them.
	New   func() any
	Apply func(ctx context.Context, tx *database.Tx, meta omni.Metadata, spec any) (omni.Outcome, error)
	// Check runs once for each tenant that was touched, after all objects of a manifest are applied. It may be nil.
	Check  func(ctx context.Context, tx *database.Tx, tenant string) error
	Get    func(ctx context.Context, tx *database.Tx, tenant, name string) (any, error)
	List   func(ctx context.Context, tx *database.Tx, tenant string, page omni.PageRequest) (omni.Page[any], error)
	Delete func(ctx context.Context, tx *database.Tx, tenant, name string) error
	// Manifest gives a stored object in the form of a manifest. Without it, differences name no fields.
	Manifest func(object any) (omni.Metadata, any)
}

// spec gives the type of the kind's spec.
func (k Kind) spec() reflect.Type { return reflect.TypeOf(k.New()).Elem() }

// Registry finds kinds by name.
type Registry struct{ kinds map[string]Kind }

// NewRegistry makes a registry of kinds.
func NewRegistry(kinds ...Kind) Registry {
	r := Registry{kinds: make(map[string]Kind, len(kinds))}
	for _, k := range kinds {
		r.kinds[k.Name] = k
	}
	return r
}

// Kinds gives all, in the order in which they are applied.
func (r Registry) Kinds() []Kind {
	return slices.SortedFunc(maps.Values(r.kinds), func(a, b Kind) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), strings.Compare(a.Name, b.Name))
	})
}

// Kind finds one by its name or its plural, in any case; a missing one is CodeNotFound.
func (r Registry) Kind(name string) (Kind, error) {
	for _, k := range r.kinds {
		if strings.EqualFold(k.Name, name) || strings.EqualFold(k.Plural, name) {
			return k, nil
		}
	}
	return Kind{}, omni.Errorf(omni.CodeNotFound, "there is no kind %s", quoted(name)).WithHint("there are: %s", strings.Join(r.names(), ", "))
}

func (r Registry) names() []string {
	var names []string
	for _, k := range r.Kinds() {
		names = append(names, k.Name)
	}
	return names
}
