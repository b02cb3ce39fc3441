package shop

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeJournal makes a journal of a promotion and some orders, and gives its path and bytes.
func writeJournal(t *testing.T, orders int) (string, []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	j, err := openJournal(path, maxJournal)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.append(record{Kind: kindPromote, Region: East, Term: 1}.stamp()); err != nil {
		t.Fatal(err)
	}
	for n := range orders {
		if _, err := j.append(record{Kind: kindOrder, ID: fmt.Sprint("o", n), Item: "a\nb", Region: East, Term: 1}.stamp()); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, data
}

func TestJournal(t *testing.T) {
	t.Run("cut at any byte keeps every whole record before it and takes more", func(t *testing.T) {
		path, data := writeJournal(t, 1)
		for at := range len(data) {
			if err := os.WriteFile(path, data[:at], 0o600); err != nil {
				t.Fatal(err)
			}
			j, err := openJournal(path, maxJournal)
			if err != nil {
				t.Fatalf("cut at %d: %v", at, err)
			}
			if whole := int64(bytes.Count(data[:at], []byte("\n"))); j.last.Seq != whole {
				t.Fatalf("cut at %d: %d records, want %d", at, j.last.Seq, whole)
			}
			r, err := j.append(record{Kind: kindOrder, ID: "new", Region: East, Term: 1})
			if err != nil || j.close() != nil {
				t.Fatalf("cut at %d: append: %v", at, err)
			}
			again, err := openJournal(path, maxJournal)
			if err != nil || again.orders["new"] != r.Seq || again.cut != 0 {
				t.Fatalf("cut at %d: opened again: %v, new order at %d", at, err, again.orders["new"])
			}
			_ = again.close()
		}
	})
	t.Run("zeros at the end, as a power cut leaves them, are cut off", func(t *testing.T) {
		path, data := writeJournal(t, 2)
		if err := os.WriteFile(path, append(data, make([]byte, 3*maxLine)...), 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := openJournal(path, maxJournal)
		if err != nil || j.last.Seq != 3 || j.cut != 3*maxLine {
			t.Fatalf("%v, last %d", err, j.last.Seq)
		}
		_ = j.close()
	})
	t.Run("a flipped byte before the last record is refused", func(t *testing.T) {
		path, data := writeJournal(t, 3)
		lines := bytes.SplitAfter(data, []byte("\n"))
		for at := range len(lines[0]) + len(lines[1]) {
			damaged := bytes.Clone(data)
			damaged[at] ^= 1
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			if j, err := openJournal(path, maxJournal); !errors.Is(err, errCorrupt) {
				t.Fatalf("byte %d flipped: %v, last %v", at, err, j)
			}
		}
	})
	t.Run("is full at its limit, and stays readable", func(t *testing.T) {
		path, data := writeJournal(t, 3)
		j, err := openJournal(path, int64(len(data))+10)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.append(record{Kind: kindOrder, ID: "x", Term: 1}); !isFull(err) {
			t.Fatalf("got %v", err)
		}
		if r, err := j.at(2); err != nil || r.ID != "o0" || r.Item != "a\nb" {
			t.Fatalf("%v, %v", r, err)
		}
		_ = j.close()
	})
	t.Run("puts aside what it cuts off, and forgets it", func(t *testing.T) {
		path, _ := writeJournal(t, 5)
		j, err := openJournal(path, maxJournal)
		if err != nil {
			t.Fatal(err)
		}
		aside, err := j.truncate(3)
		if err != nil || j.last.Seq != 3 || j.orders["o4"] != 0 {
			t.Fatalf("%v, last %d", err, j.last.Seq)
		}
		data, err := os.ReadFile(aside)
		if err != nil || bytes.Count(data, []byte("\n")) != 3 || !strings.Contains(string(data), `"o4"`) {
			t.Fatalf("%v: %s", err, data)
		}
		_ = j.close()
	})
	t.Run("takes only the line that follows", func(t *testing.T) {
		_, data := writeJournal(t, 3)
		lines := bytes.SplitAfter(data, []byte("\n"))
		j, err := openJournal(filepath.Join(t.TempDir(), "journal"), maxJournal)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = j.close() }()
		if err := j.appendLine(lines[1]); err == nil {
			t.Fatal("took the second line first")
		}
		for _, line := range lines[:4] {
			if err := j.appendLine(line); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.appendLine(lines[3]); err == nil {
			t.Fatal("took a line twice")
		}
	})
}

func FuzzScan(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("00000000000000000000000000000000 {}\n"))
	line, err := encodeLine(genesis, record{Seq: 1, Kind: kindOrder, ID: "a", Term: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Fuzz(func(t *testing.T, data []byte) {
		seq := int64(0)
		_, _ = scan(bytes.NewReader(data), func(r record, _ []byte) error {
			if r.Seq != seq+1 {
				t.Fatalf("record %d behind %d", r.Seq, seq)
			}
			seq = r.Seq
			return nil
		})
	})
}
