package audit

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// head is the row of a log.
type head struct {
	size int64
	note string
}

// storedEntry is the row of an entry. copies are the columns to search by.
type storedEntry struct {
	index        int64
	record, seal []byte
	copies       copies
}

type copies struct {
	id, actor, action, object string
	at                        time.Time
}

func copiesOf(rec omni.AuditRecord) copies {
	return copies{
		id: rec.ID, actor: rec.Actor, action: rec.Action, object: rec.Object,
		at: rec.At.UTC().Truncate(time.Microsecond),
	}
}

// lockHead makes the log if need be and holds it until the transaction ends, so that appends come one after another.
func lockHead(ctx context.Context, tx *database.Tx, tenant string) (head, error) {
	var h head
	err := tx.QueryRow(ctx, `insert into audit_logs (tenant, size, note) values ($1, 0, '')
		on conflict (tenant) do update set size = audit_logs.size returning size, note`, []any{tenant}, &h.size, &h.note)
	return h, err
}

// readHead gives the zero head when there is no such log.
func readHead(ctx context.Context, tx *database.Tx, tenant string) (head, error) {
	var h head
	err := tx.QueryRow(ctx, `select size, note from audit_logs where tenant = $1`, []any{tenant}, &h.size, &h.note)
	if omni.Is(err, omni.CodeNotFound) {
		return head{}, nil
	}
	return h, err
}

func writeHead(ctx context.Context, tx *database.Tx, tenant string, h head) error {
	_, err := tx.Exec(ctx, `update audit_logs set size = $2, note = $3 where tenant = $1`, tenant, h.size, h.note)
	return err
}

// logs lists the tenants that have a log or entries, bounded by limit.
func logs(ctx context.Context, tx *database.Tx, after string, first bool, limit int) ([]string, error) {
	var tenants []string
	query := `select tenant from (select tenant from audit_logs union select tenant from audit_entries) as l
		where tenant > $1 order by tenant limit $2`
	if first {
		query = strings.Replace(query, "tenant > $1", "tenant >= $1", 1)
	}
	err := tx.Query(ctx, query, []any{after, limit}, func(scan func(...any) error) error {
		var tenant string
		err := scan(&tenant)
		tenants = append(tenants, tenant)
		return err
	})
	return tenants, err
}

// nextIndex is one more than the highest index of the log's entries.
func nextIndex(ctx context.Context, tx *database.Tx, tenant string) (int64, error) {
	var next int64
	err := tx.QueryRow(ctx, `select coalesce(max(idx) + 1, 0) from audit_entries where tenant = $1`, []any{tenant}, &next)
	return next, err
}

func countEntries(ctx context.Context, tx *database.Tx, tenant string) (int64, error) {
	var n int64
	err := tx.QueryRow(ctx, `select count(*) from audit_entries where tenant = $1`, []any{tenant}, &n)
	return n, err
}

func insertEntry(ctx context.Context, tx *database.Tx, tenant string, e storedEntry) error {
	_, err := tx.Exec(ctx, `insert into audit_entries (tenant, idx, record_id, at, actor, action, object, record, seal)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		tenant, e.index, e.copies.id, database.Time(e.copies.at), e.copies.actor, e.copies.action, e.copies.object, e.record, e.seal)
	return err
}

// insertHashes stores hashes from index from on. One that is there already can only be the rest of a broken log.
func insertHashes(ctx context.Context, tx *database.Tx, tenant string, from int64, hashes []tlog.Hash) error {
	var values strings.Builder
	args := []any{tenant}
	for i, h := range hashes {
		if i > 0 {
			values.WriteString(", ")
		}
		fmt.Fprintf(&values, "($1, $%d, $%d)", len(args)+1, len(args)+2)
		args = append(args, from+int64(i), h[:])
	}
	_, err := tx.Exec(ctx, `insert into audit_hashes (tenant, idx, hash) values `+values.String()+`
		on conflict (tenant, idx) do update set hash = excluded.hash`, args...)
	return err
}

// readHashes gives those of the hashes at indexes that are stored and well formed. There are at most 2×63 of them.
func readHashes(ctx context.Context, tx *database.Tx, tenant string, indexes []int64) (map[int64]tlog.Hash, error) {
	if len(indexes) == 0 {
		return nil, nil
	}
	args := []any{tenant}
	marks := make([]string, len(indexes))
	for i, index := range indexes {
		args = append(args, index)
		marks[i] = fmt.Sprintf("$%d", i+2)
	}
	return collectHashes(ctx, tx, `select idx, hash from audit_hashes where tenant = $1 and idx in (`+strings.Join(marks, ", ")+`)`, args)
}

// hashRange gives the stored hashes from index from to before index to.
func hashRange(ctx context.Context, tx *database.Tx, tenant string, from, to int64) (map[int64]tlog.Hash, error) {
	return collectHashes(ctx, tx, `select idx, hash from audit_hashes where tenant = $1 and idx >= $2 and idx < $3`, []any{tenant, from, to})
}

func collectHashes(ctx context.Context, tx *database.Tx, query string, args []any) (map[int64]tlog.Hash, error) {
	hashes := map[int64]tlog.Hash{}
	err := tx.Query(ctx, query, args, func(scan func(...any) error) error {
		var index int64
		var raw []byte
		if err := scan(&index, &raw); err != nil {
			return err
		}
		if len(raw) == tlog.HashSize {
			hashes[index] = tlog.Hash(raw)
		}
		return nil
	})
	return hashes, err
}

const entryColumns = `idx, record_id, at, actor, action, object, record, seal`

func scanEntry(scan func(...any) error) (storedEntry, error) {
	var e storedEntry
	var at database.Time
	err := scan(&e.index, &e.copies.id, &at, &e.copies.actor, &e.copies.action, &e.copies.object, &e.record, &e.seal)
	e.copies.at = at.Std()
	return e, err
}

// entriesFrom calls each for at most limit rows from index on, in order. broken tells that a row cannot even be read.
func entriesFrom(ctx context.Context, tx *database.Tx, tenant string, index int64, limit int,
	each func(e storedEntry, broken bool) error,
) error {
	return tx.Query(ctx, `select `+entryColumns+` from audit_entries where tenant = $1 and idx >= $2 order by idx limit $3`,
		[]any{tenant, index, limit}, func(scan func(...any) error) error {
			e, err := scanEntry(scan)
			return each(e, err != nil)
		})
}

// listEntries gives at most limit entries that f selects, behind the index after (nil: from the start of the order).
func listEntries(ctx context.Context, tx *database.Tx, tenant string, f Filter, after *int64, limit int) ([]Entry, error) {
	where := []string{"tenant = $1"}
	args := []any{tenant}
	add := func(condition string, arg any) {
		args = append(args, arg)
		where = append(where, strings.ReplaceAll(condition, "$?", fmt.Sprintf("$%d", len(args))))
	}
	selects := func(column, value, ending string) {
		switch {
		case value == "":
		case strings.HasSuffix(value, ending): // neither "like" nor a range: both depend on the collation
			add(fmt.Sprintf("substr(%s, 1, %d) = $?", column, utf8.RuneCountInString(value)), value)
		default:
			add(column+" = $?", value)
		}
	}
	selects("action", f.Action, ".")
	selects("object", f.Object, "/")
	if f.Actor != "" {
		add("actor = $?", f.Actor)
	}
	if !f.Since.IsZero() {
		add("at >= $?", database.Time(f.Since))
	}
	if !f.Until.IsZero() {
		add("at < $?", database.Time(f.Until))
	}
	order, beyond := "desc", "idx < $?"
	if f.Oldest {
		order, beyond = "asc", "idx > $?"
	}
	if after != nil {
		add(beyond, *after)
	}
	args = append(args, limit)
	query := fmt.Sprintf(`select %s from audit_entries where %s order by idx %s limit $%d`,
		entryColumns, strings.Join(where, " and "), order, len(args))
	var entries []Entry
	err := tx.Query(ctx, query, args, func(scan func(...any) error) error {
		e, err := scanEntry(scan)
		entries = append(entries, entryOf(e))
		return err
	})
	return entries, err
}
