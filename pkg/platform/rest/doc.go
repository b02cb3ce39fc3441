// Package rest turns functions into routes of the HTTP API: JSON in and out, OpenAPI 3.1 at /openapi.json and /openapi.yaml.
//
// It owns what every route shares: bearer keys and the permission that each route names, problems (RFC 9457) as the one form of
// every error, Idempotency-Key, ETag and If-Match, pages, Server-Sent Events, the bounds of what a client may send, and how a
// server starts and drains. A request passes, in this order:
//
//	request id, trace → panic guard → metrics, log → route → key → permission → body (size, JSON) → idempotency → huma → handler
//
// A stored answer of an Idempotency-Key goes through these states:
//
//	(none) → running → done → (expired)
//	            ├→ (none)    the answer was a 5xx or 429, or the handler panicked
//	            └→ running   taken over, when the one who ran it has been silent for longer than any handler may take
//
// It knows no noun of the domain, keeps no secret, and never shows the cause of an internal error to a client.
package rest
