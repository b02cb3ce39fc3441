package infra

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// Move is a role to be set, as SetRole sets it. Type is the resource's, for the event.
type Move struct {
	Tenant, Resource, Type, Region string
	Role                           Role
	Run                            string
	Epoch                          int64
}

// MoveLater is SetRole at the end of the transaction, in one statement with all others of it: a run of thousands of steps
// commits hundreds at a time. What SetRole would refuse fails the commit. Until then the transaction sees the old role; a
// placement is moved at most once in it.
func (s *Store) MoveLater(ctx context.Context, tx *database.Tx, m Move) error {
	if !slices.Contains(Roles(), m.Role) {
		return omni.Errorf(omni.CodeInvalid, "role: %q is not a role", clip(string(m.Role)))
	}
	l := s.later(tx)
	l.moves = append(l.moves, m)
	r := Resource{Tenant: m.Tenant, Name: m.Resource, Type: m.Type}
	return placementChanged(ctx, tx, r, Placement{Region: m.Region, Role: m.Role, Run: m.Run})
}

// ServeLater is SetServing at the end of the transaction, as MoveLater is SetRole.
func (s *Store) ServeLater(ctx context.Context, tx *database.Tx, tenant, resource, region, run string) error {
	l := s.later(tx)
	l.serves = append(l.serves, serve{tenant, resource, region})
	c := Changed{Tenant: tenant, Name: resource, Change: "served", Run: run}
	return events.Append(ctx, tx, events.New(EventResourceChanged, "resource/"+tenant+"/"+resource, tenant, c))
}

type serve struct{ tenant, resource, region string }

type laterKey struct{}

// later gathers what a transaction moves.
type later struct {
	s      *Store
	moves  []Move
	serves []serve
}

func (s *Store) later(tx *database.Tx) *later {
	return tx.Attach(laterKey{}, func() database.Flusher { return &later{s: s} }).(*later)
}

// laterChunk bounds the parameters of a statement.
const laterChunk = 500

// Flush implements database.Flusher.
func (l *later) Flush(ctx context.Context, tx *database.Tx) error {
	moves, serves := l.moves, l.serves
	l.moves, l.serves = nil, nil
	// One order for all, so that two transactions do not wait for each other's rows.
	slices.SortFunc(moves, func(a, b Move) int {
		return strings.Compare(a.Tenant+"/"+a.Resource+"/"+a.Region, b.Tenant+"/"+b.Resource+"/"+b.Region)
	})
	slices.SortFunc(serves, func(a, b serve) int { return strings.Compare(a.tenant+"/"+a.resource, b.tenant+"/"+b.resource) })
	for part := range slices.Chunk(moves, laterChunk) {
		if err := l.move(ctx, tx, part); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(serves, laterChunk) {
		if err := l.serve(ctx, tx, part); err != nil {
			return err
		}
	}
	return nil
}

func (l *later) move(ctx context.Context, tx *database.Tx, moves []Move) error {
	args := []any{database.Time(tx.Now())}
	for _, m := range moves {
		args = append(args, m.Tenant, m.Resource, m.Region, string(m.Role), m.Run, m.Epoch)
	}
	n, err := tx.Exec(ctx, movePlacements(len(moves)), args...)
	if omni.Is(err, omni.CodeConflict) {
		return omni.Errorf(omni.CodeConflict, "one of %d resources is active in another region already; never two at once", len(moves)).WithCause(err)
	}
	if err != nil || n == int64(len(moves)) {
		return err
	}
	for _, m := range moves {
		if err := l.s.unmoved(ctx, tx, m.Tenant, m.Resource, m.Region, m.Role, m.Run, m.Epoch); err != nil {
			return err
		}
	}
	return nil
}

func (l *later) serve(ctx context.Context, tx *database.Tx, serves []serve) error {
	args := []any{database.Time(tx.Now())}
	for _, s := range serves {
		args = append(args, s.tenant, s.resource, s.region)
	}
	n, err := tx.Exec(ctx, serveResources(len(serves)), args...)
	if err != nil || n == int64(len(serves)) {
		return err
	}
	for _, s := range serves {
		if err := l.s.serves(ctx, tx, s.tenant, s.resource, s.region); err != nil {
			return err
		}
	}
	return nil
}

// serves says whether a resource serves from region, and why not.
func (s *Store) serves(ctx context.Context, tx *database.Tx, tenant, resource, region string) error {
	r, err := s.Resource(ctx, tx, tenant, resource)
	if err == nil && r.Serving != region {
		err = omni.Errorf(omni.CodeNotFound, "resource %s has no placement in %s", resource, clip(region))
	}
	return err
}

// rows writes n rows of parameters from $2 on, with the types of their columns.
func rows(n int, types ...string) string {
	var b strings.Builder
	at := 2
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteByte('(')
		for j, typ := range types {
			if j > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "cast($%d as %s)", at, typ)
			at++
		}
		b.WriteByte(')')
	}
	return b.String()
}
