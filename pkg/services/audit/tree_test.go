package audit

import (
	"encoding/binary"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

func TestTheTreeIsThatOfTlog(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 300).Draw(t, "n")
		var stored []tlog.Hash
		reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
			var out []tlog.Hash
			for _, i := range indexes {
				out = append(out, stored[i])
			}
			return out, nil
		})
		e := &edge{}
		for i := range n {
			leaf := tlog.RecordHash(binary.BigEndian.AppendUint64(nil, uint64(i)))
			want, err := tlog.StoredHashesForRecordHash(i, leaf, reader)
			if err != nil {
				t.Fatal(err)
			}
			known := map[int64]tlog.Hash{}
			for _, index := range edgeIndexes(i) {
				known[index] = stored[index]
			}
			if loaded := loadEdge(i, known); loaded.root() != e.root() {
				t.Fatalf("the edge of %d leaves, loaded anew, has another root", i)
			}
			got := e.add(leaf)
			if len(got) != len(want) {
				t.Fatalf("leaf %d: %d hashes, want %d", i, len(got), len(want))
			}
			for j := range got {
				if got[j] != want[j] {
					t.Fatalf("leaf %d: hash %d differs", i, j)
				}
			}
			stored = append(stored, got...)
		}
		want, err := tlog.TreeHash(n, reader)
		if err != nil {
			t.Fatal(err)
		}
		if e.root() != want {
			t.Fatalf("the root of %d leaves differs", n)
		}
	})
}
