package omni

import "context"

// Identity is who acts: the holder of an API key, or a part of omnid itself.
type Identity struct {
	Actor       string   // "key:ops" or "system:failover"; what the audit trail shows
	KeyID       string   // "" for omnid itself
	Tenant      string   // the tenant that the key is bound to; "" for the platform's keys
	Permissions []string // what the key's roles grant, inherited ones included, sorted; "*" grants everything
}

// System is the identity under which a part of omnid acts by itself.
func System(part string) Identity {
	return Identity{Actor: "system:" + part, Permissions: []string{"*"}}
}

// Request is what travels with one piece of work: who asked, and the ids that join its logs, audit records and events.
type Request struct {
	Identity    Identity
	ID          string // X-Request-ID
	TraceParent string // W3C traceparent, "" when the work is not traced
}

type requestKey struct{}

// WithRequest returns a context that carries r.
func WithRequest(ctx context.Context, r Request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

// RequestFrom gives the request of ctx; without one, its Identity has no permissions.
func RequestFrom(ctx context.Context) Request {
	r, _ := ctx.Value(requestKey{}).(Request)
	return r
}
