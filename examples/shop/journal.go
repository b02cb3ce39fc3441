package shop

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// The kinds of records.
const (
	kindOrder   = "order"
	kindPromote = "promote" // a database became active: its term begins
)

// record is one line of a journal.
type record struct {
	Seq    int64  `json:"seq"` // 1, 2, 3, …
	Kind   string `json:"kind"`
	ID     string `json:"id,omitempty"`
	Item   string `json:"item,omitempty"`
	Region string `json:"region"` // whose database accepted it
	Epoch  int64  `json:"epoch"`
	Term   int64  `json:"term"` // grows with each promotion, so that every term has one writer
	Wall   int64  `json:"wall"` // nanoseconds since 1970
	Mono   int64  `json:"mono"` // nanoseconds on the machine's clock since Boot
	Boot   string `json:"boot,omitempty"`
}

// Bounds of a journal.
const (
	maxLine    = 4 << 10
	maxJournal = 64 << 20
	chainLen   = 32
)

// genesis is the chain value before the first record.
var genesis = [chainLen]byte(bytes.Repeat([]byte{'0'}, chainLen))

// link is the chain value behind a record: half of SHA-256 (in hex) over the value before it and the record's text. Two journals
// that have the same value at a position are the same up to there.
func link(before [chainLen]byte, body []byte) (after [chainLen]byte) {
	h := sha256.New()
	h.Write(before[:])
	h.Write(body)
	hex.Encode(after[:], h.Sum(nil)[:chainLen/2])
	return after
}

// encodeLine writes a record as a line of the journal: its chain value, a space, and JSON.
func encodeLine(before [chainLen]byte, r record) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding a record: %w", err)
	}
	after := link(before, body)
	line := append(after[:], ' ')
	return append(append(line, body...), '\n'), nil
}

// decodeLine reads the line that must follow a record with the given sequence number, term and chain value.
func decodeLine(seq, term int64, before [chainLen]byte, line []byte) (record, error) {
	r := record{}
	if len(line) > maxLine || len(line) < chainLen+3 || line[chainLen] != ' ' || line[len(line)-1] != '\n' {
		return r, errors.New("not a line of a journal")
	}
	body := line[chainLen+1 : len(line)-1]
	if want := link(before, body); !bytes.Equal(line[:chainLen], want[:]) {
		return r, errors.New("its checksum does not fit")
	}
	if err := decodeStrict(bytes.NewReader(body), maxLine, &r); err != nil {
		return r, err
	}
	if r.Seq != seq+1 || r.Term < term || r.Kind != kindOrder && r.Kind != kindPromote {
		return r, fmt.Errorf("record %d of term %d (%q) cannot follow record %d of term %d", r.Seq, r.Term, r.Kind, seq, term)
	}
	return r, nil
}

// journal is an append-only file of records. It is not safe for concurrent use, save sync, which may run beside reads and appends.
type journal struct {
	file    *os.File
	size    int64
	limit   int64
	offsets []int64          // offsets[i] is where the record with the sequence number i+1 begins
	orders  map[string]int64 // sequence numbers of orders, by their ids
	last    record
	chain   [chainLen]byte
	cut     int64 // bytes of a torn last line that were cut off when it was opened
}

// errCorrupt says that a journal is damaged elsewhere than at its end, which no crash of this program does.
var errCorrupt = errors.New("the journal is damaged")

// openJournal opens or makes a journal, and cuts off a last line that a crash has torn.
func openJournal(path string, limit int64) (*journal, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the path is of the user's own directory
	if err != nil {
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	j := &journal{file: file, limit: limit, orders: map[string]int64{}, chain: genesis}
	if err := j.load(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return j, nil
}

func (j *journal) load() error {
	info, err := j.file.Stat()
	if err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	torn, err := scan(j.file, func(r record, line []byte) error {
		j.note(r, line)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", j.file.Name(), err)
	}
	if torn {
		j.cut = info.Size() - j.size
		if err := j.file.Truncate(j.size); err != nil {
			return fmt.Errorf("cutting a torn line off the journal: %w", err)
		}
	}
	if err := errors.Join(j.file.Sync(), syncDir(filepath.Dir(j.file.Name()))); err != nil {
		return fmt.Errorf("making the journal durable: %w", err)
	}
	return nil
}

// note keeps in mind that line is in the file.
func (j *journal) note(r record, line []byte) {
	j.offsets = append(j.offsets, j.size)
	j.size += int64(len(line))
	j.last = r
	j.chain = [chainLen]byte(line[:chainLen])
	if r.Kind == kindOrder {
		j.orders[r.ID] = r.Seq
	}
}

// scan reads a journal from its beginning. torn says that the last line is not whole; a line before it that is not whole is an error.
func scan(from io.Reader, each func(record, []byte) error) (torn bool, err error) {
	in := bufio.NewReaderSize(from, maxLine)
	last, chain := record{}, genesis
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return len(line) > 0, nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return false, fmt.Errorf("reading the journal: %w", err)
		}
		r, bad := decodeLine(last.Seq, last.Term, chain, line)
		if bad != nil {
			if whole, err := anotherLine(in); err != nil || !whole {
				return true, err
			}
			return false, fmt.Errorf("%w behind record %d: %w", errCorrupt, last.Seq, bad)
		}
		last, chain = r, [chainLen]byte(line[:chainLen])
		if err := each(r, line); err != nil {
			return false, err
		}
	}
}

// anotherLine says whether a line ends in what is left to read. A torn end has none, even when a power cut left zeros there.
func anotherLine(in *bufio.Reader) (bool, error) {
	for {
		_, err := in.ReadSlice('\n')
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, io.EOF):
			return false, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return false, fmt.Errorf("reading the journal: %w", err)
		}
	}
}

var errFull = errors.New("the journal is full")

// append adds a record (its sequence number is given here) to the file; sync makes it durable. After an error the file is as before.
func (j *journal) append(r record) (record, error) {
	r.Seq = j.last.Seq + 1
	line, err := encodeLine(j.chain, r)
	if err != nil {
		return r, err
	}
	return r, j.write(r, line)
}

// appendLine adds a line that another database has written, if it is the one that follows.
func (j *journal) appendLine(line []byte) error {
	r, err := decodeLine(j.last.Seq, j.last.Term, j.chain, line)
	if err != nil {
		return err
	}
	return j.write(r, line)
}

func (j *journal) write(r record, line []byte) error {
	if len(line) > maxLine {
		return fmt.Errorf("%w: a record has at most %d bytes", errTooLarge, maxLine)
	}
	if j.size+int64(len(line)) > j.limit {
		return errFull
	}
	if _, err := j.file.WriteAt(line, j.size); err != nil {
		return errors.Join(fmt.Errorf("writing to the journal: %w", err), j.file.Truncate(j.size))
	}
	j.note(r, line)
	return nil
}

func (j *journal) sync() error { return j.file.Sync() }

func (j *journal) close() error { return errors.Join(j.file.Sync(), j.file.Close()) }

// chainAt gives the chain value behind the record with that sequence number, the first one for a number that there is not.
func (j *journal) chainAt(seq int64) (chain [chainLen]byte, err error) {
	if seq <= 0 || seq > j.last.Seq {
		return genesis, nil
	}
	_, err = j.file.ReadAt(chain[:], j.offsets[seq-1])
	return chain, err
}

// end is the offset behind the record with that sequence number.
func (j *journal) end(seq int64) int64 {
	if seq < int64(len(j.offsets)) {
		return j.offsets[seq]
	}
	return j.size
}

// lines gives whole lines from the record behind seq up to the record upTo, about limit bytes of them, and the last sequence
// number among them.
func (j *journal) lines(seq, upTo, limit int64) ([]byte, int64, error) {
	start, to := j.end(seq), seq
	for to < upTo && (to == seq || j.end(to+1)-start <= limit) {
		to++
	}
	buf := make([]byte, j.end(to)-start)
	_, err := j.file.ReadAt(buf, start)
	return buf, to, err
}

// truncate cuts off everything behind the record keep, after it has put it aside in a file of its own beside the journal. A
// crash between the two does no harm: the same is done again.
func (j *journal) truncate(keep int64) (aside string, err error) {
	if keep >= j.last.Seq {
		return "", nil
	}
	start := j.end(keep)
	rest := make([]byte, j.size-start)
	if _, err := j.file.ReadAt(rest, start); err != nil {
		return "", fmt.Errorf("reading what is put aside: %w", err)
	}
	aside = filepath.Join(filepath.Dir(j.file.Name()), fmt.Sprintf("diverged-%d-%s.jsonl", keep+1, rest[:8]))
	if err := writeFile(aside, rest); err != nil {
		return "", err
	}
	if err := j.file.Truncate(start); err != nil {
		return "", fmt.Errorf("cutting the journal: %w", err)
	}
	*j = journal{file: j.file, limit: j.limit, orders: map[string]int64{}, chain: genesis}
	if _, err := j.file.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("reading the journal: %w", err)
	}
	return aside, j.load()
}

// stamp gives a record its times.
func (r record) stamp() record {
	r.Wall = time.Now().UnixNano()
	r.Mono, r.Boot = monotonic()
	return r
}
