// Package tenants owns the tenants: their names, labels and the currency in which they are billed.
//
//	          Create, Apply
//	               │
//	               ▼
//	┌──Update──▶ active ──Delete (owns nothing)──────────────▶ gone
//	└───────────┘  │                                            ▲
//	               └─Delete with cascade─▶ deleting ──removed───┘
//
// A tenant that is being deleted takes no new objects and no changes; deleting it again goes on where the last attempt
// stopped. The tenant's API keys go in the same transaction as the tenant itself, so that a later tenant of the same name
// is not opened by them.
//
// It knows none of the objects that a tenant owns: whether there are any, and how they are removed, is told by
// interfaces that the daemon supplies. It never answers with a tenant that the asking key is not bound to.
package tenants
