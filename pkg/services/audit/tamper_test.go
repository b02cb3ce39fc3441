package audit_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/services/audit"
)

const logSize = 21

func TestEachChangedByteOfAStoredRowIsFoundAtItsEntry(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Audit, func(t *testing.T, db *database.DB) {
		s := newService(t, db)
		fill(t, db, s, "acme", logSize)
		const index = 9
		for _, column := range []string{"record", "seal"} {
			var whole []byte
			readOne(t, db, fmt.Sprintf(`select %s from audit_entries where tenant = 'acme' and idx = %d`, column, index), &whole)
			step := 1
			if len(whole) > 64 {
				step = 5
			}
			for i := 0; i < len(whole); i += step {
				changed := append([]byte(nil), whole...)
				changed[i] ^= 1
				set := fmt.Sprintf(`update audit_entries set %s = $1 where tenant = 'acme' and idx = %d`, column, index)
				exec(t, db, set, changed)
				wantBad(t, verify(t, s, "acme"), index, "")
				exec(t, db, set, whole)
			}
		}
		for _, column := range []string{"record_id", "actor", "action", "object"} {
			var whole string
			readOne(t, db, fmt.Sprintf(`select %s from audit_entries where tenant = 'acme' and idx = %d`, column, index), &whole)
			for i := range len(whole) {
				changed := []byte(whole)
				changed[i] ^= 1
				set := fmt.Sprintf(`update audit_entries set %s = $1 where tenant = 'acme' and idx = %d`, column, index)
				exec(t, db, set, string(changed))
				wantBad(t, verify(t, s, "acme"), index, "a column")
				exec(t, db, set, whole)
			}
		}
		if r := verify(t, s, "acme"); !r.OK || r.Entries != logSize {
			t.Fatalf("put back as it was: %+v", r)
		}
		exec(t, db, `update audit_entries set at = $1 where tenant = 'acme' and idx = 3`, database.Time(epoch))
		wantBad(t, verify(t, s, "acme"), 3, "a column")
		if db.Kind() == database.SQLite { // which takes anything
			exec(t, db, `update audit_entries set at = 'nonsense' where tenant = 'acme' and idx = 3`)
			wantBad(t, verify(t, s, "acme"), 3, "cannot be read")
		}
	})
}

func readOne(t *testing.T, db *database.DB, query string, dest any) {
	t.Helper()
	if err := db.Read(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		return tx.QueryRow(ctx, query, nil, dest)
	}); err != nil {
		t.Fatal(err)
	}
}

func TestEachChangedHashIsFoundAtTheEntryThatCompletesIt(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Audit, func(t *testing.T, db *database.DB) {
		s := newService(t, db)
		fill(t, db, s, "acme", logSize)
		for index := range tlog.StoredHashIndex(0, logSize) {
			level, n := tlog.SplitStoredHashIndex(index)
			entry := (n+1)<<level - 1
			var whole []byte
			readOne(t, db, fmt.Sprintf(`select hash from audit_hashes where tenant = 'acme' and idx = %d`, index), &whole)
			changed := append([]byte(nil), whole...)
			changed[index%32] ^= 0x80
			set := fmt.Sprintf(`update audit_hashes set hash = $1 where tenant = 'acme' and idx = %d`, index)
			exec(t, db, set, changed)
			wantBad(t, verify(t, s, "acme"), entry, "stored hash")
			exec(t, db, set, whole[:31])
			wantBad(t, verify(t, s, "acme"), entry, "hash")
			exec(t, db, set, whole)
		}
	})
}

func TestVerifyNamesWhatIsMissingOrForeign(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Audit, func(t *testing.T, db *database.DB) {
		s := newService(t, db)
		cases := []struct {
			name, statement string
			index           int64
			reason          string
		}{
			{"a gap", `delete from audit_entries where tenant = $1 and idx = 5`, 5, "missing"},
			{"the first entry", `delete from audit_entries where tenant = $1 and idx = 0`, 0, "missing"},
			{"a cut tail", `delete from audit_entries where tenant = $1 and idx >= 19`, 19, "cut off"},
			{"everything cut", `delete from audit_entries where tenant = $1`, 0, "cut off"},
			{"the log's row", `delete from audit_logs where tenant = $1`, 21, "checkpoint"},
			{"its size", `update audit_logs set size = 20 where tenant = $1`, 21, "size"},
			{"its signature", `update audit_logs set note = replace(note, 'omnicloud.audit/', 'omnicloud.audit/x') where tenant = $1`, 21, "signature"},
			{"no signature", `update audit_logs set note = '' where tenant = $1`, 21, "signature"},
			{"an entry of its own number", `update audit_entries set idx = 40 where tenant = $1 and idx = 20`, 20, "missing"},
			{"two entries exchanged", `update audit_entries set idx = 60 - idx where tenant = $1 and idx >= 19`, 19, "missing"},
			{"a hash", `delete from audit_hashes where tenant = $1 and idx = 0`, 0, "hash"},
		}
		for i, c := range cases {
			tenant := fmt.Sprintf("tenant-%d", i)
			fill(t, db, s, tenant, logSize)
			exec(t, db, c.statement, tenant)
			t.Run(c.name, func(t *testing.T) { wantBad(t, verify(t, s, tenant), c.index, c.reason) })
		}
		fill(t, db, s, "one", 3)
		fill(t, db, s, "two", 3)
		exec(t, db, `update audit_logs set note = (select note from audit_logs where tenant = 'one') where tenant = 'two'`)
		wantBad(t, verify(t, s, "two"), 3, "another log")
		wantBad(t, verify(t, newService(t, db), "one"), 0, "another audit key")
		all, err := s.VerifyAll(t.Context())
		if err != nil || all.OK || all.FirstBad.Tenant != "tenant-0" {
			t.Errorf("VerifyAll: %+v, %v", all.FirstBad, err)
		}
	})
}

// A forger who knows how the log is made, but has not the key, computes every hash anew.
func TestARewrittenHistoryIsFoundWhereItBegins(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Audit, func(t *testing.T, db *database.DB) {
		s, forger := newService(t, db), newService(t, db)
		fill(t, db, s, "acme", logSize)
		fill(t, db, s, "other", logSize)
		genuine := make([][]byte, logSize)
		for i := range genuine {
			readOne(t, db, fmt.Sprintf(`select seal from audit_entries where tenant = 'acme' and idx = %d`, i), &genuine[i])
		}
		write(t, db, func(ctx context.Context, tx *database.Tx) error {
			for _, q := range []string{
				`delete from audit_entries where tenant = 'acme'`, `delete from audit_hashes where tenant = 'acme'`, `delete from audit_logs where tenant = 'acme'`,
			} {
				if _, err := tx.Exec(ctx, q); err != nil {
					return err
				}
			}
			for i := range logSize {
				rec := record("acme", i)
				if i >= 12 {
					rec.Actor = "key:innocent"
				}
				if err := forger.Append(ctx, tx, rec); err != nil {
					return err
				}
			}
			return nil
		})
		// What it left alone up to entry 11 keeps its genuine seals, which it copied before.
		for i, seal := range genuine {
			exec(t, db, `update audit_entries set seal = $1 where tenant = 'acme' and idx = $2`, seal, i)
		}
		wantBad(t, verify(t, s, "acme"), 12, "another audit key")
		if r := verify(t, s, "other"); !r.OK {
			t.Errorf("the other log: %+v", r.FirstBad)
		}
		err := db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			return s.Append(ctx, tx, record("acme", 99))
		})
		if !omni.Is(err, omni.CodeRefused) {
			t.Errorf("appending to a log of another key: %v", err)
		}
	})
}

func TestAnAppendToAChangedLogLeavesTheEvidenceInIt(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Audit, func(t *testing.T, db *database.DB) {
		s := newService(t, db)
		cases := map[string][]string{
			"tail cut":            {`delete from audit_entries where tenant = $1 and idx >= 18`},
			"tail and size cut":   {`delete from audit_entries where tenant = $1 and idx >= 18`, `update audit_logs set size = 18 where tenant = $1`},
			"log's row removed":   {`delete from audit_logs where tenant = $1`},
			"edge hash changed":   {`update audit_hashes set hash = (select hash from audit_hashes h where h.tenant = $1 and h.idx = 0) where tenant = $1 and idx = 30`},
			"edge hashes removed": {`delete from audit_hashes where tenant = $1`},
			"signature removed":   {`update audit_logs set note = 'x' where tenant = $1`},
		}
		i := 0
		for name, statements := range cases {
			i++
			tenant := fmt.Sprintf("tenant-%d", i)
			fill(t, db, s, tenant, logSize)
			for _, statement := range statements {
				exec(t, db, statement, tenant)
			}
			write(t, db, func(ctx context.Context, tx *database.Tx) error { return s.Append(ctx, tx, record(tenant, 50)) })
			if r := verify(t, s, tenant); r.OK {
				t.Errorf("%s: forgotten by the next append", name)
			}
			list, err := s.List(t.Context(), tenant, audit.Filter{Action: "audit.broken"}, omni.PageRequest{})
			if err != nil || len(list.Items) != 1 {
				t.Errorf("%s: no evidence in the log: %v, %v", name, list.Items, err)
			}
		}
	})
}

func TestProofsHoldForEveryEntryAndEverySize(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Audit, func(t *testing.T, db *database.DB) {
		s := newService(t, db)
		roots := map[int64]tlog.Hash{}
		for n := range int64(logSize) {
			write(t, db, func(ctx context.Context, tx *database.Tx) error { return s.Append(ctx, tx, record("acme", int(n))) })
			r := verify(t, s, "acme")
			if !r.OK {
				t.Fatalf("%+v", r.FirstBad)
			}
			roots[n+1] = hash(t, r.Root)
		}
		root := roots[logSize]
		for n := range int64(logSize) {
			p, err := s.Prove(t.Context(), "acme", n)
			if err != nil {
				t.Fatal(err)
			}
			var path tlog.RecordProof
			for _, step := range p.Path {
				path = append(path, hash(t, step))
			}
			if err := tlog.CheckRecord(path, logSize, root, n, tlog.RecordHash(p.Record)); err != nil {
				t.Errorf("entry %d: %v", n, err)
			}
			proof, _, err := s.ProveConsistency(t.Context(), "acme", n+1)
			if err != nil {
				t.Fatal(err)
			}
			if err := tlog.CheckTree(proof, logSize, root, n+1, roots[n+1]); err != nil {
				t.Errorf("size %d: %v", n+1, err)
			}
		}
		if _, err := s.Prove(t.Context(), "acme", logSize); !omni.Is(err, omni.CodeNotFound) {
			t.Errorf("an entry behind the end: %v", err)
		}
	})
}

func hash(t *testing.T, text string) tlog.Hash {
	t.Helper()
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != tlog.HashSize {
		t.Fatalf("%q is no hash: %v", text, err)
	}
	return tlog.Hash(raw)
}

func BenchmarkVerify10000(b *testing.B) {
	db := databasetest.Open(b, database.Audit)
	s, err := audit.New(audit.Options{DB: db, DataDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	for from := 0; from < 10_000; from += 500 {
		if err := db.Write(b.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			for i := range 500 {
				if err := s.Append(ctx, tx, record("acme", from+i)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if r, err := s.Verify(b.Context(), "acme"); err != nil || !r.OK {
			b.Fatalf("%+v, %v", r, err)
		}
	}
}
