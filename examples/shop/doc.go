// Package shop is a small real workload that OmniCloud moves between two regions: an order database, an app server that
// needs it, and a load balancer in front, each a process of its own, in each region. `omnictl demo` starts it, kills one
// region, and counts what was lost.
//
// The three processes of a region listen on the region's own address and on the same ports everywhere, since the address is what DNS
// changes. Each has a directory DIR/REGION/NAME that holds its lock, its process file, its state and its data:
//
//	        promote              fence
//	standby ───────▶ active ───────────────▶ fenced
//	   ▲                │  demote              │  demote
//	   └────────────────┴──────────────────────┘
//
// Every change of role carries an epoch (a fencing token: a lower one than the highest seen is refused) and a (run, step) (the
// same one again has no second effect), and is on disk before it is answered. A fence holds for a process that is dead, too: it is written
// under the directory's lock, and the process that starts later obeys it.
//
// The database journals each order with the term in which it was accepted. Each promotion begins a new term, with a record of its
// own in the journal. The active database streams its journal to the standby, and acknowledges an order once it is durable on
// both. When the standby has been silent for the grace, the active one goes on alone, and the standby knows that it may
// be behind. Audit reads both journals and says what was lost and whether two databases took writes.
//
// It never decides that a region is down, and never promotes itself: those are OmniCloud's work.
package shop
