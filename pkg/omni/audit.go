package omni

import "time"

// AuditRecord says who did what to which object, and why. Each mutation writes exactly one, through the outbox, in the
// transaction of the change (events.Audit). Times are UTC.
type AuditRecord struct {
	ID        string    `json:"id"`
	Tenant    string    `json:"tenant"` // "" is the platform's own log
	Actor     string    `json:"actor"`
	KeyID     string    `json:"key_id,omitempty"`
	Action    string    `json:"action"`           // noun.verb, such as failover.trigger
	Object    string    `json:"object"`           // kind/name, such as failover/run_01k9…
	Before    string    `json:"before,omitempty"` // SHA-256 (hex) of the canonical JSON before the change
	After     string    `json:"after,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	RequestID string    `json:"request_id,omitempty"`
	At        time.Time `json:"at"`
	Detail    any       `json:"detail,omitempty"` // small and free of secrets; evidence of a verdict, a step's outcome
}
