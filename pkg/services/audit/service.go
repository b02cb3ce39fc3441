package audit

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/events"
)

// EventType is the type of the events that carry an omni.AuditRecord.
const EventType = "omni.audit.record"

// Options is what the service needs.
type Options struct {
	DB      *database.DB // audit
	DataDir string       // where audit.key is, or is made on the first start
}

// Service is the audit service. It is safe for concurrent use.
type Service struct {
	db   *database.DB
	keys *keys
}

// New loads the signing key, or makes it on the first start.
func New(opts Options) (*Service, error) {
	k, err := loadKeys(opts.DataDir)
	if err != nil {
		return nil, err
	}
	return &Service{db: opts.DB, keys: k}, nil
}

// PublicKey is the verifier key of the checkpoints, in the format of golang.org/x/mod/sumdb/note.
func (s *Service) PublicKey() string { return s.keys.public }

// Consumer appends each audit record that an outbox delivers to the log of its tenant, once.
func (s *Service) Consumer() events.Consumer {
	return events.Consumer{
		Name: "audit", Types: []string{EventType}, Database: s.db,
		Handle: func(ctx context.Context, tx *database.Tx, e events.Event) error {
			rec, err := decode(e.Data)
			if err != nil {
				return fmt.Errorf("event %s holds no audit record: %w", e.ID, err)
			}
			return s.Append(ctx, tx, rec)
		},
	}
}

// Append adds rec to the end of its tenant's log; the log is signed anew at the end of the transaction. Appends to one log
// wait for each other until their transactions end.
func (s *Service) Append(ctx context.Context, tx *database.Tx, rec omni.AuditRecord) error {
	open := tx.Attach(openKey{s}, func() database.Flusher { return &openLogs{service: s, edges: map[string]*edge{}} }).(*openLogs)
	e, ok := open.edges[rec.Tenant]
	if !ok {
		var err error
		if e, err = s.open(ctx, tx, rec.Tenant); err != nil {
			return err
		}
		open.edges[rec.Tenant] = e
		open.order = append(open.order, rec.Tenant)
	}
	return s.add(ctx, tx, e, rec)
}

// openLogs is what one transaction appends to. Its Flush signs them.
type openLogs struct {
	service *Service
	edges   map[string]*edge
	order   []string
}

type openKey struct{ service *Service }

// Flush implements database.Flusher.
func (o *openLogs) Flush(ctx context.Context, tx *database.Tx) error {
	for _, tenant := range o.order {
		e := o.edges[tenant]
		signed, err := o.service.keys.sign(Checkpoint{Tenant: tenant, Size: e.size, Root: e.root()})
		if err != nil {
			return fmt.Errorf("sign a checkpoint: %w", err)
		}
		if err := writeHead(ctx, tx, tenant, head{size: e.size, note: signed}); err != nil {
			return err
		}
	}
	return nil
}

// open takes a log for appending: it locks it, and looks whether it still is what was signed last.
func (s *Service) open(ctx context.Context, tx *database.Tx, tenant string) (*edge, error) {
	h, err := lockHead(ctx, tx, tenant)
	if err != nil {
		return nil, err
	}
	next, err := nextIndex(ctx, tx, tenant)
	if err != nil {
		return nil, err
	}
	size := max(h.size, next)
	stored, err := readHashes(ctx, tx, tenant, edgeIndexes(size))
	if err != nil {
		return nil, err
	}
	e := loadEdge(size, stored)
	reason, err := s.distrust(tenant, h, e, next)
	if err != nil || reason == "" {
		return e, err
	}
	return e, s.add(ctx, tx, e, brokenRecord(tx, tenant, h, e, reason))
}

// distrust says why the stored log is not what its last checkpoint signed, or "" when it is; next is the index behind its last entry. A checkpoint of another
// installation's key is an error: the two must not sign over each other.
func (s *Service) distrust(tenant string, h head, e *edge, next int64) (string, error) {
	if e.size == 0 && h.note == "" {
		return "", nil // a new log
	}
	c, err := s.keys.open(tenant, h.note)
	switch {
	case errors.Is(err, errForeign):
		return "", omni.Errorf(omni.CodeRefused, "the audit log of %s is signed with another key", logName(tenant)).
			WithHint("all replicas share one %s: copy it from the data directory of the first one", KeyFile)
	case err != nil:
		return err.Error(), nil
	case c.Size != e.size || c.Size != h.size:
		return fmt.Sprintf("the checkpoint signs %d entries, the log says %d, and %d is the next index", c.Size, h.size, e.size), nil
	case next != e.size:
		return fmt.Sprintf("the entries from %d on are missing", next), nil
	case c.Root != e.root():
		return "the stored hashes do not lead to the signed root", nil
	}
	return "", nil
}

// brokenRecord is the evidence that stays in the log.
func brokenRecord(tx *database.Tx, tenant string, h head, e *edge, reason string) omni.AuditRecord {
	return omni.AuditRecord{
		ID: omni.NewID("aud", tx.Now()), Tenant: tenant, Actor: "system:audit", Action: actionBroken,
		Object: "audit/" + logName(tenant), Reason: reason, At: tx.Now(),
		Detail: map[string]any{"entries": e.size, "stored_size": h.size, "checkpoint": h.note},
	}
}

// add stores one entry and the hashes that it completes.
func (s *Service) add(ctx context.Context, tx *database.Tx, e *edge, rec omni.AuditRecord) error {
	raw, err := canonical(rec)
	if err != nil {
		return err
	}
	leaf := tlog.RecordHash(raw)
	index := e.size
	entry := storedEntry{index: index, record: raw, seal: s.keys.sealOf(rec.Tenant, index, leaf), copies: copiesOf(rec)}
	if err := insertEntry(ctx, tx, rec.Tenant, entry); err != nil {
		return err
	}
	return insertHashes(ctx, tx, rec.Tenant, tlog.StoredHashIndex(0, index), e.add(leaf))
}

// List gives a page of tenant's log ("" is the platform's), newest first unless the filter says otherwise. The
// cursor is the last index.
func (s *Service) List(ctx context.Context, tenant string, f Filter, page omni.PageRequest) (omni.Page[Entry], error) {
	var after *int64
	if page.After != "" {
		index, err := strconv.ParseInt(page.After, 10, 64)
		if err != nil || index < 0 {
			return omni.Page[Entry]{}, omni.Errorf(omni.CodeInvalid, "after: not a cursor of this list").
				WithFields(omni.FieldError{Path: "after", Message: "must be the next of an earlier page"})
		}
		after = &index
	}
	list := omni.Page[Entry]{Items: []Entry{}}
	err := s.db.Read(ctx, scope(tenant), func(ctx context.Context, tx *database.Tx) error {
		entries, err := listEntries(ctx, tx, tenant, f, after, page.Size()+1)
		if err != nil {
			return err
		}
		list = omni.Page[Entry]{Items: entries}
		if len(entries) > page.Size() {
			list.Items = entries[:page.Size()]
			list.Next = strconv.FormatInt(list.Items[page.Size()-1].Index, 10)
		}
		return nil
	})
	if list.Items == nil {
		list.Items = []Entry{}
	}
	return list, err
}

// Proof shows that an entry is in the log with the root that Checkpoint signs (RFC 6962 §2.1.1).
type Proof struct {
	Tenant     string          `json:"tenant"`
	Index      int64           `json:"index"`
	Record     json.RawMessage `json:"record"`     // the leaf; its hash is SHA-256 of a zero byte and these bytes
	LeafHash   string          `json:"leaf_hash"`  // hex
	Path       []string        `json:"path"`       // hex, from the leaf's neighbour up
	Checkpoint string          `json:"checkpoint"` // a signed note
	PublicKey  string          `json:"public_key"` // that verifies the note
}

// Prove gives the inclusion proof of the entry at index.
func (s *Service) Prove(ctx context.Context, tenant string, index int64) (Proof, error) {
	var p Proof
	err := s.db.Read(ctx, scope(tenant), func(ctx context.Context, tx *database.Tx) error {
		h, err := readHead(ctx, tx, tenant)
		if err != nil {
			return err
		}
		if index < 0 || index >= h.size {
			return omni.Errorf(omni.CodeNotFound, "the audit log of %s has no entry %d; it has %d", logName(tenant), index, h.size)
		}
		path, err := tlog.ProveRecord(h.size, index, hashReader(ctx, tx, tenant))
		if err != nil {
			return err
		}
		p = Proof{Tenant: tenant, Index: index, Path: []string{}, Checkpoint: h.note, PublicKey: s.keys.public}
		for _, hash := range path {
			p.Path = append(p.Path, hex.EncodeToString(hash[:]))
		}
		return entriesFrom(ctx, tx, tenant, index, 1, func(e storedEntry, broken bool) error {
			if broken || e.index != index || !json.Valid(e.record) {
				return damaged(tenant)
			}
			leaf := tlog.RecordHash(e.record)
			p.Record, p.LeafHash = e.record, hex.EncodeToString(leaf[:])
			return nil
		})
	})
	return p, err
}

// ProveConsistency shows that the log as it is now continues the one that had size entries (RFC 6962 §2.1.2), and gives
// the signed checkpoint of now. tlog.CheckTree checks it against a checkpoint that was kept.
func (s *Service) ProveConsistency(ctx context.Context, tenant string, size int64) (proof tlog.TreeProof, checkpoint string, err error) {
	err = s.db.Read(ctx, scope(tenant), func(ctx context.Context, tx *database.Tx) error {
		h, err := readHead(ctx, tx, tenant)
		if err != nil {
			return err
		}
		if size < 1 || size > h.size {
			return omni.Errorf(omni.CodeInvalid, "size: the audit log of %s has %d entries", logName(tenant), h.size).
				WithFields(omni.FieldError{Path: "size", Message: "must be from 1 to the log's size"})
		}
		checkpoint = h.note
		proof, err = tlog.ProveTree(h.size, size, hashReader(ctx, tx, tenant))
		return err
	})
	return proof, checkpoint, err
}

// hashReader reads stored hashes for the proofs of tlog.
func hashReader(ctx context.Context, tx *database.Tx, tenant string) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		stored, err := readHashes(ctx, tx, tenant, indexes)
		if err != nil {
			return nil, err
		}
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			hash, ok := stored[index]
			if !ok {
				return nil, damaged(tenant)
			}
			hashes[i] = hash
		}
		return hashes, nil
	})
}

func damaged(tenant string) error {
	return omni.Errorf(omni.CodeInternal, "the audit log of %s is damaged", logName(tenant)).WithHint("run audit verify: it names the first bad entry")
}

func scope(tenant string) database.Scope {
	if tenant == "" {
		return database.Platform()
	}
	return database.Tenant(tenant)
}

// logName is how people are told of a log.
func logName(tenant string) string {
	if tenant == "" {
		return "the platform"
	}
	return "tenant " + tenant
}
