package billing

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/omnicloud/omnicloud/pkg/infra"
	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// Options is what the service needs.
type Options struct {
	DB  *database.DB // billing
	Now func() time.Time
}

// Service is the billing service. It is safe for concurrent use.
type Service struct {
	db  *database.DB
	now func() time.Time
}

// New makes the service.
func New(opts Options) *Service { return &Service{db: opts.DB, now: opts.Now} }

// Consumer books each change of a placement, once.
func (s *Service) Consumer() events.Consumer {
	return events.Consumer{
		Name: "billing", Types: []string{infra.EventPlacementChanged}, Database: s.db,
		Handle: func(ctx context.Context, tx *database.Tx, e events.Event) error {
			var changed infra.PlacementChanged
			if err := json.Unmarshal(e.Data, &changed); err != nil {
				return fmt.Errorf("event %s holds no change of a placement: %w", e.ID, err)
			}
			if changed.At.IsZero() {
				changed.At = e.Time
			}
			return s.Book(ctx, tx, e.ID, changed)
		},
	}
}

// Book puts a change of a placement at its moment: what lasted then ends there, and the new role lasts until the next
// change that is known. An event id that is booked already changes nothing.
func (s *Service) Book(ctx context.Context, tx *database.Tx, event string, changed infra.PlacementChanged) error {
	p := place{tenant: changed.Tenant, resource: changed.Resource, region: changed.Region}
	at := changed.At.UnixMicro()
	if event == "" || p.tenant == "" || p.resource == "" || p.region == "" || at <= 0 {
		return omni.Errorf(omni.CodeInvalid, "a change of a placement needs an event id, a tenant, a resource, a region and a time after 1970")
	}
	if err := lockPlace(ctx, tx, p); err != nil {
		return err
	}
	if booked, err := known(ctx, tx, p.tenant, event); err != nil || booked {
		return err
	}
	c := change{place: p, at: at, event: event, kind: changed.Type, role: string(changed.Role), run: changed.Run}
	earlier, found, err := before(ctx, tx, p, at)
	if err != nil {
		return err
	}
	if found {
		if err := endChange(ctx, tx, earlier, at, c.run); err != nil {
			return err
		}
		if earlier.at == at {
			c.seq = earlier.seq + 1
		}
	}
	later, found, err := after(ctx, tx, p, at)
	if err != nil {
		return err
	}
	if found {
		c.until, c.untilRun = &later.at, later.run
	}
	return insertChange(ctx, tx, c)
}

// maxTotals bounds the groups of totals in one report.
const maxTotals = 10_000

// Usage lists intervals, oldest first, and sums them. Those that still last count up to now; what lies behind now does not.
func (s *Service) Usage(ctx context.Context, f Filter, page omni.PageRequest, now time.Time) (Report, error) {
	column, err := groupColumn(f.By)
	if err != nil {
		return Report{}, err
	}
	after, err := decodeCursor(page.After)
	if err != nil {
		return Report{}, err
	}
	scope := database.Platform()
	if f.Tenant != "" {
		scope = database.Tenant(f.Tenant)
	}
	report := Report{AsOf: now.UTC()}
	err = s.db.Read(ctx, scope, func(ctx context.Context, tx *database.Tx) error {
		selected := selectionOf(f, now)
		list, err := listUsage(ctx, tx, *selected, after, page.Size()+1)
		if err != nil {
			return err
		}
		report.Next = ""
		if len(list) > page.Size() {
			list = list[:page.Size()]
			report.Next = encodeCursor(list[len(list)-1])
		}
		report.Items = make([]UsageRow, 0, len(list))
		for _, c := range list {
			report.Items = append(report.Items, c.row(selected.from, selected.to))
		}
		totals, order, err := sumUsage(ctx, tx, *selected, column, maxTotals)
		if err != nil {
			return err
		}
		report.Totals = make([]Total, 0, len(order))
		for _, group := range order {
			report.Totals = append(report.Totals, totalOf(column, group, totals[group]))
		}
		return nil
	})
	return report, err
}

// Settled says whether the books show that run has changed placements in each of the regions: what it ended, and
// what it began, is then metered.
func (s *Service) Settled(ctx context.Context, tenant, run string, regions []string) (bool, error) {
	settled := false
	err := s.db.Read(ctx, database.Tenant(tenant), func(ctx context.Context, tx *database.Tx) error {
		seen, err := regionsOf(ctx, tx, tenant, run)
		if err != nil {
			return err
		}
		settled = true
		for _, region := range regions {
			settled = settled && seen[region]
		}
		return nil
	})
	return settled, err
}

// row cuts the interval to [from, to).
func (c change) row(from, to int64) UsageRow {
	start, end := max(c.at, from), to
	row := UsageRow{
		Tenant: c.tenant, Region: c.region, Resource: c.resource, Type: c.kind, Role: c.role, Run: c.run, EndRun: c.untilRun, Unit: Unit,
		StartedAt: time.UnixMicro(start).UTC(),
	}
	if c.until != nil {
		end = min(*c.until, to)
		ended := time.UnixMicro(end).UTC()
		row.EndedAt = &ended
	}
	row.Quantity = Seconds(start, end)
	return row
}

func groupColumn(by string) (string, error) {
	switch by {
	case "":
		return "region", nil
	case "region", "run", "resource", "role", "tenant":
		return by, nil
	}
	return "", omni.Errorf(omni.CodeInvalid, "by: %.40q is nothing to group usage by", by).
		WithFields(omni.FieldError{Path: "by", Message: "must be region, run, resource, role or tenant"})
}

func totalOf(column, group string, quantity int64) Total {
	t := Total{Unit: Unit, Quantity: quantity}
	switch column {
	case "region":
		t.Region = group
	case "run":
		t.Run = group
	case "resource":
		t.Resource = group
	case "role":
		t.Role = group
	case "tenant":
		t.Tenant = group
	}
	return t
}

func encodeCursor(c change) string {
	raw, err := json.Marshal(cursor{At: c.at, Tenant: c.tenant, Resource: c.resource, Region: c.region, Seq: c.seq})
	if err != nil {
		return "" // cannot be: it is text and integers
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

func decodeCursor(text string) (*cursor, error) {
	if text == "" {
		return nil, nil
	}
	var c cursor
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil {
		return nil, omni.Errorf(omni.CodeInvalid, "after: not a cursor of this list").
			WithFields(omni.FieldError{Path: "after", Message: "must be the next of an earlier page"})
	}
	return &c, nil
}
