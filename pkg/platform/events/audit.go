package events

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// AuditType is the type of the events that carry audit records.
const AuditType = "omni.audit.record"

// Audit appends rec as an event of AuditType. It fills in the ID and the time, and from the context's request the actor, its key
// and the request's id, where they are empty. All records of one tenant share a subject, so they keep their order.
func Audit(ctx context.Context, tx *database.Tx, rec omni.AuditRecord) error {
	req := omni.RequestFrom(ctx)
	if rec.ID == "" {
		rec.ID = omni.NewID("aud", tx.Now())
	}
	if rec.At.IsZero() {
		rec.At = tx.Now()
	}
	if rec.Actor == "" {
		rec.Actor, rec.KeyID = req.Identity.Actor, req.Identity.KeyID
	}
	if rec.RequestID == "" {
		rec.RequestID = req.ID
	}
	if rec.Actor == "" || rec.Action == "" || rec.Object == "" {
		return omni.Errorf(omni.CodeInternal, "an audit record needs an actor, an action and an object: %q, %q, %q", rec.Actor, rec.Action, rec.Object)
	}
	return Append(ctx, tx, New(AuditType, "audit/"+rec.Tenant, rec.Tenant, rec))
}

// Digest gives the SHA-256, in hex, of v's canonical JSON: keys sorted, no space between tokens, numbers as Go writes them. It
// is "" for nil, and for what JSON cannot hold.
func Digest(v any) string {
	if v == nil {
		return ""
	}
	text, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // large integers keep their digits
	var generic any
	if err := decoder.Decode(&generic); err != nil {
		return ""
	}
	canonical, err := json.Marshal(generic) // which sorts the keys of maps
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:])
}
