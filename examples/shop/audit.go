package shop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// AuditReport is what two databases and a client's list of acknowledged orders say together.
type AuditReport struct {
	Acknowledged int64    `json:"orders_acknowledged"`
	Lost         int64    `json:"orders_lost"`
	LostIDs      []string `json:"lost_ids,omitempty"` // the first of them
	TwoWriters   bool     `json:"two_writers"`
	Evidence     []string `json:"evidence,omitempty"` // for two writers, the first pieces of it
	Survivor     string   `json:"survivor"`           // the region of the last term: its journal counts
	Stored       int64    `json:"orders_stored"`      // in the survivor's journal
	Duplicates   int64    `json:"duplicates"`         // orders that it has more than once
	PutAside     int64    `json:"put_aside"`          // records that were cut off an old active database's journal
}

// maxShown bounds the lists of a report.
const maxShown = 20

// history is what one region has on its disk.
type history struct {
	journal []record
	aside   []record
	state   state
}

// Audit reads two regions' directories, also while their databases run, and a writer's list (no such file: no orders). An order
// is lost when it was acknowledged and the survivor's journal lacks it. There were two writers when two databases took writes in
// the same term, when one took a write after the other had begun a later term, or when a later term was begun with an older epoch.
func Audit(eastDir, westDir, acksFile string) (AuditReport, error) {
	// The list first: whatever it has by now is in the journals by the time they are read.
	acked, err := readAcks(acksFile)
	if err != nil {
		return AuditReport{}, err
	}
	var sides [2]history
	for i, dir := range []string{eastDir, westDir} {
		if sides[i], err = readHistory(filepath.Join(dir, DB)); err != nil {
			return AuditReport{}, err
		}
	}
	survivor, dir := sides[0], eastDir
	if later(sides[1], sides[0]) {
		survivor, dir = sides[1], westDir
	}
	r := AuditReport{Survivor: filepath.Base(dir), PutAside: int64(len(sides[0].aside) + len(sides[1].aside))}
	stored := map[string]int{}
	for _, rec := range survivor.journal {
		if rec.Kind == kindOrder {
			r.Stored++
			if stored[rec.ID]++; stored[rec.ID] > 1 {
				r.Duplicates++
			}
		}
	}
	for _, id := range acked {
		r.Acknowledged++
		if stored[id] == 0 {
			r.Lost++
			if len(r.LostIDs) < maxShown {
				r.LostIDs = append(r.LostIDs, id)
			}
		}
	}
	r.Evidence = twoWriters(slices.Concat(sides[0].journal, sides[0].aside, sides[1].journal, sides[1].aside))
	r.TwoWriters = len(r.Evidence) > 0
	return r, nil
}

// later says whether a's journal counts rather than b's: it has the later term, or in the same one more records.
func later(a, b history) bool {
	ta, tb := lastOf(a.journal), lastOf(b.journal)
	if ta.Term != tb.Term {
		return ta.Term > tb.Term
	}
	if ta.Seq != tb.Seq {
		return ta.Seq > tb.Seq
	}
	return a.state.Role == Active && b.state.Role != Active
}

func lastOf(records []record) record {
	if len(records) == 0 {
		return record{}
	}
	return records[len(records)-1]
}

// term is what is known of one term.
type term struct {
	region string
	began  *record // its promotion
}

// trial gathers proof of two writers from the records of both databases.
type trial struct {
	terms    map[int64]*term
	evidence []string
}

func (t *trial) add(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); len(t.evidence) < maxShown && !slices.Contains(t.evidence, text) {
		t.evidence = append(t.evidence, text)
	}
}

// twoWriters looks for proof of two writers; it finds nothing in what is right.
func twoWriters(records []record) []string {
	t := &trial{terms: map[int64]*term{}}
	places := map[[2]int64]record{} // (term, sequence number)
	for _, r := range records {
		t.meet(r)
		place := [2]int64{r.Term, r.Seq}
		if other, taken := places[place]; taken && other != r {
			t.add("there are two records %d of term %d", r.Seq, r.Term)
		}
		places[place] = r
	}
	for _, r := range records {
		for number, later := range t.terms {
			if number > r.Term && later.began != nil {
				t.compare(r, number, later)
			}
		}
	}
	slices.Sort(t.evidence)
	return t.evidence
}

// meet learns what a record says of its own term.
func (t *trial) meet(r record) {
	known := t.terms[r.Term]
	if known == nil {
		known = &term{region: r.Region}
		t.terms[r.Term] = known
	}
	if known.region != r.Region {
		t.add("both %s and %s wrote in term %d", known.region, r.Region, r.Term)
	}
	if r.Kind == kindPromote {
		known.began = &r
	}
}

// compare holds a record against a later term.
func (t *trial) compare(r record, number int64, later *term) {
	if r.Kind == kindOrder && later.region != r.Region && !before(r, *later.began) {
		t.add("%s wrote in term %d after %s had begun term %d", r.Region, r.Term, later.region, number)
	}
	if later.began.Epoch < r.Epoch {
		t.add("term %d has epoch %d, older than epoch %d of term %d", number, later.began.Epoch, r.Epoch, r.Term)
	}
}

// before compares times: on the machine's own clock within one boot, else on the wall's.
func before(a, b record) bool {
	if a.Boot != "" && a.Boot == b.Boot {
		return a.Mono < b.Mono
	}
	return a.Wall < b.Wall
}

// readHistory reads the journal, what was put aside, and the state of one database; a home that was never used is empty.
func readHistory(dir string) (history, error) {
	h := history{}
	var err error
	if h.state, err = (home{path: dir}).readState(Standby); err != nil {
		return h, err
	}
	err = readFile(filepath.Join(dir, "journal"), func(f io.Reader) error {
		_, err := scan(f, func(r record, _ []byte) error {
			h.journal = append(h.journal, r)
			return nil
		})
		return err
	})
	if err != nil {
		return h, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "diverged-*.jsonl"))
	if err != nil {
		return h, err
	}
	for _, path := range files {
		err := readFile(path, func(f io.Reader) error { return readAside(f, &h.aside) })
		if err != nil {
			return h, err
		}
	}
	return h, nil
}

func readFile(path string, read func(io.Reader) error) error {
	f, err := os.Open(path) //nolint:gosec // the path is of the user's own directory
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := read(f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// readAside reads lines of a journal without what stood before them.
func readAside(f io.Reader, into *[]record) error {
	in := bufio.NewScanner(f)
	in.Buffer(make([]byte, maxLine), maxLine)
	for in.Scan() {
		r := record{}
		if len(in.Bytes()) < chainLen+2 {
			return errors.New("a line is too short")
		}
		if err := decodeStrict(bytes.NewReader(in.Bytes()[chainLen+1:]), maxLine, &r); err != nil {
			return err
		}
		*into = append(*into, r)
	}
	return in.Err()
}

// readAcks gives the ids of a writer's list. A last line that is not whole was not noted.
func readAcks(path string) ([]string, error) {
	var ids []string
	err := readFile(path, func(f io.Reader) error {
		in := bufio.NewReaderSize(f, maxLine)
		for n := 1; ; n++ {
			line, err := in.ReadSlice('\n')
			if errors.Is(err, io.EOF) {
				return nil
			}
			ack := Ack{}
			if err == nil {
				err = json.Unmarshal(line, &ack)
			}
			if err == nil && ack.ID == "" {
				err = errors.New("it has no id")
			}
			if err != nil {
				return fmt.Errorf("line %d is not an acknowledged order: %w", n, err)
			}
			ids = append(ids, ack.ID)
		}
	})
	return ids, err
}
