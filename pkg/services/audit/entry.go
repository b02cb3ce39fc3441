package audit

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Entry is one record of a log, at its place.
type Entry struct {
	Index int64  `json:"index"` // from 0, without gaps
	Hash  string `json:"hash"`  // of its leaf (RFC 6962), hex
	omni.AuditRecord
}

// Filter selects entries; a zero field selects everything.
type Filter struct {
	Action string    // exact, or all below a noun: "failover."
	Object string    // exact, or all of a kind: "failover/"
	Actor  string    // exact
	Since  time.Time // At or after
	Until  time.Time // before
	Oldest bool      // oldest first, instead of newest first
}

// actionBroken is the action of the entry that an append writes when it finds the log changed.
const actionBroken = "audit.broken"

// unreadable is the action shown for an entry whose record is no longer JSON.
const unreadable = "audit.unreadable"

// canonical gives the one encoding of a record that is hashed: JSON with the fields in the order of omni.AuditRecord and
// the keys of objects sorted.
func canonical(rec omni.AuditRecord) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(rec); err != nil {
		return nil, fmt.Errorf("encode an audit record: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// decode reads a record and keeps the numbers in its detail as they are written.
func decode(raw []byte) (omni.AuditRecord, error) {
	var rec omni.AuditRecord
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	err := dec.Decode(&rec)
	return rec, err
}

// entryOf makes what a list shows of a stored row. A record that was made unreadable still has its line.
func entryOf(row storedEntry) Entry {
	hash := tlog.RecordHash(row.record)
	rec, err := decode(row.record)
	if err != nil {
		rec = omni.AuditRecord{Action: unreadable, Reason: "the stored record was changed; run audit verify"}
	}
	return Entry{Index: row.index, Hash: hex.EncodeToString(hash[:]), AuditRecord: rec}
}
