package audit

import (
	"context"
	"crypto/hmac"
	"encoding/hex"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// verifyBatch is how many entries are verified at a time; it bounds the memory of Verify.
const verifyBatch = 512

// Report is what Verify found.
type Report struct {
	Tenant   string   `json:"tenant"`
	Entries  int64    `json:"entries"`
	Root     string   `json:"root,omitempty"` // hex; what the checkpoint should sign, as far as the entries are good
	OK       bool     `json:"ok"`
	FirstBad *Bad     `json:"first_bad,omitempty"`
	Logs     []Report `json:"logs,omitempty"` // of VerifyAll: one a log
}

// Bad is the first thing that is wrong with a log.
type Bad struct {
	Tenant string `json:"tenant,omitempty"`
	Index  int64  `json:"index"` // of the entry; that of the next entry when only the checkpoint is wrong
	Reason string `json:"reason"`
}

// VerifyAll verifies every log. Its Logs are in the order of the tenants, the platform's first; FirstBad is that of the first bad log.
func (s *Service) VerifyAll(ctx context.Context) (Report, error) {
	all := Report{OK: true, Logs: []Report{}}
	after, first := "", true
	for {
		var tenants []string
		err := s.db.Read(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) (err error) {
			tenants, err = logs(ctx, tx, after, first, verifyBatch)
			return err
		})
		if err != nil {
			return Report{}, err
		}
		for _, tenant := range tenants {
			r, err := s.Verify(ctx, tenant)
			if err != nil {
				return Report{}, err
			}
			all.Entries += r.Entries
			all.OK = all.OK && r.OK
			if all.FirstBad == nil {
				all.FirstBad = r.FirstBad
			}
			all.Logs = append(all.Logs, r)
		}
		if len(tenants) < verifyBatch {
			return all, nil
		}
		after, first = tenants[len(tenants)-1], false
	}
}

// Verify recomputes the log of tenant ("" is the platform's) from the bytes of its records, in one consistent view of the
// store and in bounded memory, and compares it with the stored hashes, the seals and the signed checkpoint. An error means
// that it could not look; a log that is not whole is a Report with FirstBad.
func (s *Service) Verify(ctx context.Context, tenant string) (Report, error) {
	var report Report
	err := s.db.Read(ctx, scope(tenant), func(ctx context.Context, tx *database.Tx) error {
		report = Report{Tenant: tenant}
		entries, err := countEntries(ctx, tx, tenant)
		if err != nil {
			return err
		}
		h, err := readHead(ctx, tx, tenant)
		if err != nil {
			return err
		}
		v := &verification{keys: s.keys, tenant: tenant, tree: &edge{}}
		if err := v.walk(ctx, tx); err != nil {
			return err
		}
		if v.bad == nil {
			v.checkHead(h)
		}
		root := v.tree.root()
		report.Entries, report.Root = entries, hex.EncodeToString(root[:])
		report.FirstBad, report.OK = v.bad, v.bad == nil
		return nil
	})
	return report, err
}

// verification is one walk along a log; tree has all good entries so far.
type verification struct {
	keys   *keys
	tenant string
	tree   *edge
	hashes map[int64]tlog.Hash // stored ones of the current batch
	bad    *Bad
}

func (v *verification) fail(format string, args ...any) {
	v.bad = &Bad{Tenant: v.tenant, Index: v.tree.size, Reason: fmt.Sprintf(format, args...)}
}

// errStop ends a query early, once something bad is known.
var errStop = errors.New("stop")

func (v *verification) walk(ctx context.Context, tx *database.Tx) error {
	for {
		start := v.tree.size
		var err error
		v.hashes, err = hashRange(ctx, tx, v.tenant, tlog.StoredHashIndex(0, start), tlog.StoredHashIndex(0, start+verifyBatch))
		if err != nil {
			return err
		}
		rows := 0
		err = entriesFrom(ctx, tx, v.tenant, start, verifyBatch, func(e storedEntry, broken bool) error {
			rows++
			if v.entry(e, broken); v.bad != nil {
				return errStop
			}
			return nil
		})
		if errors.Is(err, errStop) {
			return nil
		}
		if err != nil || rows < verifyBatch {
			return err
		}
	}
}

// entry checks the next row and adds it to the tree.
func (v *verification) entry(e storedEntry, broken bool) {
	want := v.tree.size
	switch {
	case broken:
		v.fail("the row cannot be read: a column was changed")
		return
	case e.index != want:
		v.fail("the entry is missing: the next one is %d", e.index)
		return
	}
	leaf := tlog.RecordHash(e.record)
	first := tlog.StoredHashIndex(0, want)
	sealed := hmac.Equal(e.seal, v.keys.sealOf(v.tenant, want, leaf))
	stored, ok := v.hashes[first]
	switch {
	case !ok:
		v.fail("the hash of the entry is missing or malformed")
		return
	case stored != leaf && sealed:
		v.fail("the stored hash of the entry was changed")
		return
	case stored != leaf:
		v.fail("the record was changed: it does not have the hash that was stored with it")
		return
	case !sealed:
		v.fail("the seal does not fit: the entry was rewritten, moved, or written under another audit key")
		return
	}
	if v.copies(e); v.bad != nil {
		return
	}
	next := *v.tree
	for level, hash := range next.add(leaf) {
		if stored, ok := v.hashes[first+int64(level)]; !ok || stored != hash {
			v.fail("the stored hash of the %d entries that end here was changed", int64(1)<<level)
			return
		}
	}
	*v.tree = next
}

// copies checks the columns beside the record.
func (v *verification) copies(e storedEntry) {
	rec, err := decode(e.record)
	switch {
	case err != nil: // sealed, and still not a record: our own fault
		v.fail("the record is not one: %v", err)
	case copiesOf(rec) != e.copies:
		v.fail("a column of the entry was changed: it differs from the record")
	case rec.Action == actionBroken:
		v.fail("the log was changed before this entry was appended: %s", rec.Reason)
	}
}

// checkHead compares what the entries add up to with the log's row and the signed checkpoint.
func (v *verification) checkHead(h head) {
	if h.note == "" && h.size == 0 && v.tree.size == 0 {
		return // nothing was ever appended
	}
	c, err := v.keys.open(v.tenant, h.note)
	switch {
	case err != nil:
		v.fail("%v", err)
	case c.Size > v.tree.size:
		v.fail("the entry is missing: the log was cut off, its signed checkpoint covers %d entries", c.Size)
	case c.Size < v.tree.size:
		v.bad = &Bad{Tenant: v.tenant, Index: c.Size, Reason: fmt.Sprintf("the entry is not covered by the signed checkpoint, which ends with %d entries", c.Size)}
	case c.Root != v.tree.root():
		v.fail("the entries do not lead to the signed root: the log was rewritten")
	case h.size != c.Size:
		v.fail("the log's size was changed to %d", h.size)
	}
}
