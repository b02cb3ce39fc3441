package infra

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// The types of the events that the store writes, besides EventPlacementChanged.
const (
	EventRegionChanged   = "omni.region.changed"
	EventResourceChanged = "omni.resource.changed"
)

// Changed is the data of omni.region.changed and omni.resource.changed.
type Changed struct {
	Tenant  string `json:"tenant,omitempty"`
	Name    string `json:"name"`
	Change  string `json:"change"`            // created, updated, deleted, cordoned, uncordoned, served
	Version int64  `json:"version,omitempty"` // after the change; 0 when the change is a run's
	Run     string `json:"run,omitempty"`
}

// driverCheck says what is wrong with a placement's driver and config; paths are relative to the placement.
type driverCheck interface {
	Validate(driver string, config map[string]any) []omni.FieldError
}

// Options are what a Store needs.
type Options struct {
	Drivers driverCheck // nil takes any driver
	// Busy gives the run of the tenant that is alive, "" when there is none: its plan stands on the tenant's resources, which do not change
	// under it. Nil lets everything change.
	Busy func(ctx context.Context, tx *database.Tx, tenant string) (run string, err error)
}

// Store reads and writes regions and resources in the infra database. It holds no state of its own: each method works in the
// transaction that it is given.
type Store struct {
	drivers driverCheck
	busy    func(ctx context.Context, tx *database.Tx, tenant string) (run string, err error)
}

// NewStore makes a Store.
func NewStore(opts Options) *Store { return &Store{drivers: opts.Drivers, busy: opts.Busy} }

// change writes the audit record and the event of a change that an object has seen. before and after are its states, nil for
// none.
func change(ctx context.Context, tx *database.Tx, what string, c Changed, before, after any, reason string) error {
	rec := omni.AuditRecord{
		Tenant: c.Tenant,
		Action: what + "." + verb(c.Change),
		Object: what + "/" + c.Name,
		Reason: reason,
	}
	if before != nil {
		rec.Before = events.Digest(before)
	}
	if after != nil {
		rec.After = events.Digest(after)
	}
	if err := events.Audit(ctx, tx, rec); err != nil {
		return err
	}
	return events.Append(ctx, tx, events.New("omni."+what+".changed", what+"/"+c.Tenant+"/"+c.Name, c.Tenant, c))
}

func verb(changed string) string {
	switch changed {
	case string(omni.Created):
		return "create"
	case string(omni.Updated):
		return "update"
	case "deleted":
		return "delete"
	default:
		return strings.TrimSuffix(changed, "ed")
	}
}

// placementChanged writes the event by which billing opens and closes usage.
func placementChanged(ctx context.Context, tx *database.Tx, r Resource, p Placement) error {
	return events.Append(ctx, tx, events.New(EventPlacementChanged, "resource/"+r.Tenant+"/"+r.Name, r.Tenant, PlacementChanged{
		Tenant: r.Tenant, Resource: r.Name, Type: r.Type, Region: p.Region, Role: p.Role, Run: p.Run, At: tx.Now(),
	}))
}

// encode writes a value as JSON text for a column. What is stored has been read from JSON or YAML, or checked to be
// encodable, so that a failure is a fault of ours.
func encode(v any) (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("cannot store %T: %w", v, err)
	}
	return string(raw), nil
}

func decode(text, what string, into any) error {
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return omni.Errorf(omni.CodeInternal, "what is stored of %s cannot be read", what).WithCause(err)
	}
	return nil
}

// page cuts one item more than was asked for into a page whose cursor is the name of its last item.
func page[T any](items []T, size int, name func(T) string) omni.Page[T] {
	p := omni.Page[T]{Items: items}
	if len(items) > size {
		p.Items = slices.Clip(items[:size])
		p.Next = name(p.Items[size-1])
	}
	if p.Items == nil {
		p.Items = []T{}
	}
	return p
}

func notFound(kind, name string) error {
	return omni.Errorf(omni.CodeNotFound, "there is no %s %q", kind, clip(name))
}
