// Package config owns manifests: reading them strictly, applying them as a whole, and saying what would change.
//
//	files ──parse──▶ objects ──check──▶ rehearse ──▶ commit tenants ──▶ commit infra ──▶ done
//	          │                  │          │              │                 │
//	          └──────────────────┴──────────┴──────────────┘ nothing changed │
//	                                                                         └─▶ take back tenants
//
// Parsing reports every fault (at most 50) with file, line, column and path. An apply is all or nothing. There is no
// transaction across two databases, so when a manifest touches both, everything is first tried in transactions that are
// rolled back; then the tenants database commits, then infra. If the second one fails all the same (a crash of its server, a change
// by somebody else in between), what the first one committed is taken back: created objects are deleted, updated ones get
// their former form again. Should even that fail, the error names what is left, and applying again is safe: objects that are as
// the manifest says are left unchanged. A crash of omnid between the two commits leaves the tenants without their objects, which the
// next apply completes.
//
// Which kinds there are, and what they mean, is told by the daemon: config imports no other service. It owns no tables, and never
// deletes an object because a manifest no longer names it.
package config
