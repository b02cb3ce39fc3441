// Package failover owns when and how a tenant leaves a region: policies, verdicts, plans, runs and their reports.
//
//	observation ─▶ verdict ─▶ policy ─▶ plan ─▶ run
//	 (monitor)     (N of M     (cooldown,  (pure)   (workflow: guard ▶ fence ▶ promote ▶ verify ▶ route
//	                zones)      brake)               level by level, then dns ▶ meter ▶ release)
//
// A run's states:
//
//	awaiting_approval ─approve─▶ running ─▶ succeeded
//	        │                    │  ▲  │
//	        │                pause  resume└▶ failed, rolled_back
//	        └──abort──▶ aborted ◀┘  (paused may be aborted too)
//
// At most one run of a tenant is alive. Verdicts and plans are pure functions of a snapshot; the world is touched only by
// steps, between two transactions, under the leader's epoch.
//
// It never holds a placement's role itself (infra does), and never moves a resource to a cordoned or unhealthy region.
package failover
