package audit_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/databasetest"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
	"github.com/omnicloud/omnicloud/pkg/services/audit"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

func newService(t *testing.T, db *database.DB) *audit.Service {
	t.Helper()
	s, err := audit.New(audit.Options{DB: db, DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func record(tenant string, n int) omni.AuditRecord {
	return omni.AuditRecord{
		ID: fmt.Sprintf("aud_%04d", n), Tenant: tenant, Actor: "key:ops", Action: []string{"failover.trigger", "failover.approve", "region.cordon"}[n%3],
		Object: fmt.Sprintf("failover/run_%d", n), Reason: "because <it> & that", RequestID: "req_1", At: epoch.Add(time.Duration(n) * time.Second),
		Detail: map[string]any{"n": n, "big": json.Number("9007199254740993")},
	}
}

func write(t *testing.T, db *database.DB, fn func(context.Context, *database.Tx) error) {
	t.Helper()
	if err := db.Write(t.Context(), database.Platform(), fn); err != nil {
		t.Fatal(err)
	}
}

// fill appends n records in transactions of a few each, as the relay does.
func fill(t *testing.T, db *database.DB, s *audit.Service, tenant string, n int) {
	t.Helper()
	for from := 0; from < n; from += 7 {
		write(t, db, func(ctx context.Context, tx *database.Tx) error {
			for i := from; i < min(n, from+7); i++ {
				if err := s.Append(ctx, tx, record(tenant, i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

func exec(t *testing.T, db *database.DB, query string, args ...any) {
	t.Helper()
	write(t, db, func(ctx context.Context, tx *database.Tx) error {
		n, err := tx.Exec(ctx, query, args...)
		if err == nil && n == 0 {
			return fmt.Errorf("%s touched nothing", query)
		}
		return err
	})
}

func verify(t *testing.T, s *audit.Service, tenant string) audit.Report {
	t.Helper()
	r, err := s.Verify(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantBad(t *testing.T, r audit.Report, index int64, reason string) {
	t.Helper()
	if r.OK || r.FirstBad == nil {
		t.Fatalf("a changed log verifies: want entry %d bad (%s)", index, reason)
	}
	if r.FirstBad.Index != index || !strings.Contains(r.FirstBad.Reason, reason) {
		t.Fatalf("first bad is %+v, want entry %d and %q", *r.FirstBad, index, reason)
	}
}

func TestRecordsOfTheOutboxAreAppendedOnce(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Audit, func(t *testing.T, db *database.DB) {
		s := newService(t, db)
		ctx := omni.WithRequest(t.Context(), omni.Request{Identity: omni.Identity{Actor: "key:ops", KeyID: "key_1"}, ID: "req_9"})
		for _, tenant := range []string{"acme", "", "acme", "globex"} {
			if err := db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
				return events.Audit(ctx, tx, omni.AuditRecord{Tenant: tenant, Action: "thing.change", Object: "thing/x"})
			}); err != nil {
				t.Fatal(err)
			}
		}
		relay := events.NewRelay(db, []events.Consumer{s.Consumer()}, events.RelayOptions{})
		for range 2 {
			if err := relay.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		all, err := s.VerifyAll(t.Context())
		if err != nil || !all.OK || all.Entries != 4 || len(all.Logs) != 3 {
			t.Fatalf("VerifyAll: %+v, %v", all, err)
		}
		page, err := s.List(t.Context(), "acme", audit.Filter{}, omni.PageRequest{})
		if err != nil || len(page.Items) != 2 || page.Items[0].Index != 1 || page.Items[0].Actor != "key:ops" || page.Items[0].RequestID != "req_9" {
			t.Fatalf("List: %+v, %v", page, err)
		}
	})
}

func TestAListIsFilteredAndPaged(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Audit, func(t *testing.T, db *database.DB) {
		s := newService(t, db)
		fill(t, db, s, "acme", 30)
		fill(t, db, s, "globex", 3)
		cases := []struct {
			name   string
			filter audit.Filter
			want   []int64
		}{
			{"action", audit.Filter{Action: "region.cordon"}, []int64{29, 26, 23, 20, 17, 14, 11, 8, 5, 2}},
			{"actions of a noun", audit.Filter{Action: "region."}, []int64{29, 26, 23, 20, 17, 14, 11, 8, 5, 2}},
			{"object", audit.Filter{Object: "failover/run_7"}, []int64{7}},
			{"objects of a kind", audit.Filter{Object: "fail/"}, nil},
			{"actor", audit.Filter{Actor: "key:other"}, nil},
			{"half-open in time", audit.Filter{Since: epoch.Add(3 * time.Second), Until: epoch.Add(5 * time.Second)}, []int64{4, 3}},
			{"oldest first", audit.Filter{Oldest: true, Until: epoch.Add(3 * time.Second)}, []int64{0, 1, 2}},
		}
		for _, c := range cases {
			var got []int64
			page := omni.PageRequest{Limit: 4}
			for {
				list, err := s.List(t.Context(), "acme", c.filter, page)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range list.Items {
					got = append(got, e.Index)
				}
				if page.After = list.Next; page.After == "" {
					break
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("%s: got %v, want %v", c.name, got, c.want)
			}
		}
		if _, err := s.List(t.Context(), "acme", audit.Filter{}, omni.PageRequest{After: "x"}); !omni.Is(err, omni.CodeInvalid) {
			t.Errorf("a wrong cursor: %v", err)
		}
	})
}

func TestTheKeyIsMadeOnceAndKeptFromOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := audit.New(audit.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	second, err := audit.New(audit.Options{DataDir: dir})
	if err != nil || first.PublicKey() != second.PublicKey() {
		t.Fatalf("the second start has another key, or none: %v", err)
	}
	path := filepath.Join(dir, audit.KeyFile)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the key file: %v, %v", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("the directory holds %d files, want the key only", len(entries))
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.New(audit.Options{DataDir: dir}); !omni.Is(err, omni.CodeRefused) {
		t.Errorf("a key that others can read: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.New(audit.Options{DataDir: dir}); !omni.Is(err, omni.CodeRefused) {
		t.Errorf("a key file of nonsense: %v", err)
	}
}

func TestConcurrentAppendsMakeOneLogWithoutGaps(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, database.Audit, func(t *testing.T, db *database.DB) {
		s := newService(t, db)
		var group errgroup.Group
		for worker := range 4 {
			group.Go(func() error {
				for i := range 15 {
					err := db.Write(t.Context(), database.Platform(), func(ctx context.Context, tx *database.Tx) error {
						return s.Append(ctx, tx, record("acme", worker*100+i))
					})
					if err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		if r := verify(t, s, "acme"); !r.OK || r.Entries != 60 {
			t.Errorf("%+v, %+v", r, r.FirstBad)
		}
	})
}
