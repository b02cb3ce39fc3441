// Package infra owns what the infrastructure is: regions with their zones and probes, and each tenant's resources with
// their placements and dependencies. Failover, DNS and billing read it; only a run moves a placement's role:
//
//	standby ──promote──▶ active ──fence──▶ fenced ──rejoin──▶ standby
//	   │                   │                  │
//	   └──────stop─────────┴────▶ stopped ◀───┘
//
// A resource has one placement a region, and never more than one of them is active: a unique index says so, besides the
// code. The role in a manifest is where a placement starts; afterwards applying it again moves nothing.
//
// It never calls a driver, and never decides that something must move.
package infra
