package shop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// world writes two regions' journals and a list of acknowledged orders by hand.
type world struct {
	t    *testing.T
	dir  string
	tick int64
	all  map[string]*journal
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), all: map[string]*journal{}}
	for _, region := range []string{East, West} {
		if err := os.MkdirAll(filepath.Join(w.dir, region, DB), 0o700); err != nil {
			t.Fatal(err)
		}
		j, err := openJournal(filepath.Join(w.dir, region, DB, "journal"), maxJournal)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = j.close() })
		w.all[region] = j
	}
	return w
}

// now makes a record of the next instant.
func (w *world) now(region string, term, epoch int64, id string) record {
	w.tick++
	r := record{Kind: kindOrder, ID: id, Item: "x", Region: region, Term: term, Epoch: epoch, Mono: w.tick, Boot: "b", Wall: time.Hour.Nanoseconds() - w.tick}
	if id == "" {
		r.Kind, r.Item = kindPromote, ""
	}
	return r
}

// put appends a record to the journals of some regions.
func (w *world) put(r record, regions ...string) {
	w.t.Helper()
	for _, region := range regions {
		if _, err := w.all[region].append(r); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) audit(acked ...string) AuditReport {
	w.t.Helper()
	text := ""
	for _, id := range acked {
		text += fmt.Sprintf("{\"id\":%q}\n", id)
	}
	if err := os.WriteFile(AcksFile(w.dir), []byte(text+`{"id":"tor`), 0o600); err != nil {
		w.t.Fatal(err)
	}
	r, err := Audit(RegionDir(w.dir, East), RegionDir(w.dir, West), AcksFile(w.dir))
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// moved is a clean failover: two orders in the east, one more there that was never acknowledged, then one in the west.
func moved(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.put(w.now(East, 1, 0, ""), East, West)
	w.put(w.now(East, 1, 0, "e1"), East, West)
	w.put(w.now(East, 1, 0, "e2"), East, West)
	w.put(w.now(East, 1, 0, "e3"), East)
	w.put(w.now(West, 2, 1, ""), West)
	w.put(w.now(West, 2, 1, "w1"), West)
	return w
}

func TestAudit(t *testing.T) {
	t.Run("finds nothing in a clean failover", func(t *testing.T) {
		r := moved(t).audit("e1", "e2", "w1")
		if r.Acknowledged != 3 || r.Lost != 0 || r.TwoWriters || r.Survivor != West || r.Stored != 3 || r.Duplicates != 0 {
			t.Fatalf("%+v", r)
		}
	})
	t.Run("finds an order that was acknowledged and is lost", func(t *testing.T) {
		r := moved(t).audit("e1", "e2", "e3", "w1")
		if r.Lost != 1 || len(r.LostIDs) != 1 || r.LostIDs[0] != "e3" || r.TwoWriters {
			t.Fatalf("%+v", r)
		}
	})
	t.Run("finds a write in the old region after the new term had begun", func(t *testing.T) {
		w := moved(t)
		w.put(w.now(East, 1, 0, "late"), East)
		if r := w.audit("e1"); !r.TwoWriters || !strings.Contains(r.Evidence[0], "after eu-west-1 had begun term 2") {
			t.Fatalf("%+v", r)
		}
	})
	t.Run("finds such a write also when it was put aside later", func(t *testing.T) {
		w := moved(t)
		w.put(w.now(East, 1, 0, "late"), East)
		if _, err := w.all[East].truncate(3); err != nil {
			t.Fatal(err)
		}
		if r := w.audit("e1"); !r.TwoWriters || r.PutAside != 2 {
			t.Fatalf("%+v", r)
		}
	})
	t.Run("finds two regions that wrote in the same term", func(t *testing.T) {
		w := newWorld(t)
		w.put(w.now(East, 1, 0, ""), East, West)
		w.put(w.now(West, 1, 0, "w1"), West)
		if r := w.audit(); !r.TwoWriters {
			t.Fatalf("%+v", r)
		}
	})
	t.Run("finds two databases of one region in one term", func(t *testing.T) {
		w := newWorld(t)
		w.put(w.now(East, 1, 0, ""), East, West)
		w.put(w.now(East, 1, 0, "a"), East)
		w.put(w.now(East, 1, 0, "b"), West)
		if r := w.audit(); !r.TwoWriters {
			t.Fatalf("%+v", r)
		}
	})
	t.Run("finds a promotion by a leader whose time was over", func(t *testing.T) {
		w := newWorld(t)
		w.put(w.now(East, 1, 5, ""), East, West)
		w.put(w.now(West, 2, 4, ""), West)
		if r := w.audit(); !r.TwoWriters {
			t.Fatalf("%+v", r)
		}
	})
	t.Run("takes a way back under the same epoch for what it is", func(t *testing.T) {
		w := newWorld(t)
		w.put(w.now(East, 1, 0, ""), East, West)
		w.put(w.now(West, 2, 1, ""), East, West)
		w.put(w.now(West, 2, 1, "w"), East, West)
		w.put(w.now(East, 3, 1, ""), East, West)
		w.put(w.now(East, 3, 1, "e"), East, West)
		if r := w.audit("w", "e"); r.TwoWriters || r.Lost != 0 {
			t.Fatalf("%+v", r)
		}
	})
	t.Run("refuses a list that is damaged in its middle", func(t *testing.T) {
		w := moved(t)
		if err := os.WriteFile(AcksFile(w.dir), []byte("{\"id\":\"e1\"}\nnonsense\n{\"id\":\"e2\"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Audit(RegionDir(w.dir, East), RegionDir(w.dir, West), AcksFile(w.dir))
		if err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Fatalf("%v", err)
		}
	})
}
