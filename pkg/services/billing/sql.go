package billing

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// place is the key of a placement.
type place struct{ tenant, resource, region string }

// change is a row of usage_changes.
type change struct {
	place
	at, seq       int64
	until         *int64
	event         string
	kind, role    string
	run, untilRun string
}

// lockPlace makes the changes of one placement come one after another.
func lockPlace(ctx context.Context, tx *database.Tx, p place) error {
	_, err := tx.Exec(ctx, `insert into usage_placements (tenant, resource, region, changes) values ($1, $2, $3, 1)
		on conflict (tenant, resource, region) do update set changes = usage_placements.changes + 1`, p.tenant, p.resource, p.region)
	return err
}

func known(ctx context.Context, tx *database.Tx, tenant, event string) (bool, error) {
	var n int64
	err := tx.QueryRow(ctx, `select count(*) from usage_changes where tenant = $1 and event_id = $2`, []any{tenant, event}, &n)
	return n > 0, err
}

// before finds the last change at or before the moment at.
func before(ctx context.Context, tx *database.Tx, p place, at int64) (c change, found bool, err error) {
	c.place = p
	err = tx.QueryRow(ctx, `select at_us, seq, until_us, until_run from usage_changes
		where tenant = $1 and resource = $2 and region = $3 and at_us <= $4 order by at_us desc, seq desc limit 1`,
		[]any{p.tenant, p.resource, p.region, at}, &c.at, &c.seq, &c.until, &c.untilRun)
	if omni.Is(err, omni.CodeNotFound) {
		return c, false, nil
	}
	return c, err == nil, err
}

// after finds the first change behind the moment at.
func after(ctx context.Context, tx *database.Tx, p place, at int64) (c change, found bool, err error) {
	err = tx.QueryRow(ctx, `select at_us, run from usage_changes
		where tenant = $1 and resource = $2 and region = $3 and at_us > $4 order by at_us, seq limit 1`,
		[]any{p.tenant, p.resource, p.region, at}, &c.at, &c.run)
	if omni.Is(err, omni.CodeNotFound) {
		return c, false, nil
	}
	return c, err == nil, err
}

func insertChange(ctx context.Context, tx *database.Tx, c change) error {
	_, err := tx.Exec(ctx, `insert into usage_changes
		(tenant, resource, region, at_us, seq, until_us, event_id, type, role, run, until_run)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		c.tenant, c.resource, c.region, c.at, c.seq, c.until, c.event, c.kind, c.role, c.run, c.untilRun)
	return err
}

// endChange has a change last until the moment when another one begins.
func endChange(ctx context.Context, tx *database.Tx, c change, until int64, run string) error {
	_, err := tx.Exec(ctx, `update usage_changes set until_us = $6, until_run = $7
		where tenant = $1 and resource = $2 and region = $3 and at_us = $4 and seq = $5`,
		c.tenant, c.resource, c.region, c.at, c.seq, until, run)
	return err
}

// selection is the part of a query that both listing and summing use. from and to are the bounds to which intervals are cut.
type selection struct {
	where    []string
	args     []any
	from, to int64
}

func (s *selection) add(condition string, args ...any) {
	for _, arg := range args {
		s.args = append(s.args, arg)
		condition = strings.Replace(condition, "$?", fmt.Sprintf("$%d", len(s.args)), 1)
	}
	s.where = append(s.where, condition)
}

func selectionOf(f Filter, now time.Time) *selection {
	s := &selection{to: now.UnixMicro()}
	if !f.From.IsZero() {
		s.from = max(0, f.From.UnixMicro())
	}
	if !f.To.IsZero() {
		s.to = min(s.to, f.To.UnixMicro())
	}
	if s.from >= s.to { // an empty span has no usage, also not of what still lasts
		s.add(`1 = 0`)
	}
	s.add(`role in ('active', 'standby')`)
	s.add(`at_us < $?`, s.to)
	s.add(`(until_us is null or (until_us > at_us and until_us > $?))`, s.from)
	if f.Tenant != "" {
		s.add(`tenant = $?`, f.Tenant)
	}
	if f.Region != "" {
		s.add(`region = $?`, f.Region)
	}
	if f.Run != "" {
		s.add(`(run = $? or until_run = $?)`, f.Run, f.Run)
	}
	return s
}

// cursor is where a page of intervals ends: they are sorted by start, then by placement.
type cursor struct {
	At       int64  `json:"a"`
	Tenant   string `json:"t"`
	Resource string `json:"n"`
	Region   string `json:"r"`
	Seq      int64  `json:"s"`
}

func listUsage(ctx context.Context, tx *database.Tx, s selection, c *cursor, limit int) ([]change, error) {
	s.where, s.args = append([]string(nil), s.where...), append([]any(nil), s.args...)
	if c != nil {
		s.add(`(at_us, tenant, resource, region, seq) > ($?, $?, $?, $?, $?)`, c.At, c.Tenant, c.Resource, c.Region, c.Seq)
	}
	s.args = append(s.args, limit)
	query := fmt.Sprintf(`select tenant, resource, region, at_us, seq, until_us, type, role, run, until_run from usage_changes
		where %s order by at_us, tenant, resource, region, seq limit $%d`, strings.Join(s.where, " and "), len(s.args))
	var list []change
	err := tx.Query(ctx, query, s.args, func(scan func(...any) error) error {
		var c change
		err := scan(&c.tenant, &c.resource, &c.region, &c.at, &c.seq, &c.until, &c.kind, &c.role, &c.run, &c.untilRun)
		list = append(list, c)
		return err
	})
	return list, err
}

// sumUsage gives whole seconds by group, counted as Seconds does. column is one of the table's own names.
func sumUsage(ctx context.Context, tx *database.Tx, s selection, column string, limit int) (map[string]int64, []string, error) {
	args := append([]any(nil), s.args...)
	n := len(args)
	args = append(args, s.from, s.to, limit)
	query := fmt.Sprintf(`select %[1]s, cast(sum(
			(case when until_us is null or until_us > cast($%[3]d as bigint) then cast($%[3]d as bigint) else until_us end + 999999) / 1000000
			- (case when at_us < cast($%[2]d as bigint) then cast($%[2]d as bigint) else at_us end + 999999) / 1000000) as bigint)
		from usage_changes where %[5]s group by %[1]s order by %[1]s limit $%[4]d`,
		column, n+1, n+2, n+3, strings.Join(s.where, " and "))
	totals := map[string]int64{}
	var order []string
	err := tx.Query(ctx, query, args, func(scan func(...any) error) error {
		var group string
		var quantity int64
		err := scan(&group, &quantity)
		totals[group] = quantity
		order = append(order, group)
		return err
	})
	return totals, order, err
}

// regionsOf lists the regions in which run has changed a placement of tenant.
func regionsOf(ctx context.Context, tx *database.Tx, tenant, run string) (map[string]bool, error) {
	regions := map[string]bool{}
	err := tx.Query(ctx, `select distinct region from usage_changes where tenant = $1 and run = $2`, []any{tenant, run},
		func(scan func(...any) error) error {
			var region string
			err := scan(&region)
			regions[region] = true
			return err
		})
	return regions, err
}
