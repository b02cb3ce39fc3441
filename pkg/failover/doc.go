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
// A run by policy that awaits approval is aborted once what it was for has passed, and cannot be approved once its plan is no longer true.
//
// At most one run of a tenant is alive. Verdicts and plans are pure functions of a snapshot; the world is touched only by
// steps, between two transactions, under the leader's epoch.
//
// Lead is the leader's part: the workflow engine that drives the runs, and the controller that judges the regions four times a
// second and starts what policies ask for. Everything it writes is fenced by the leader's epoch. What keeps a run from
// starting by itself is recorded once, and shown by GET /api/v1/automation/freeze; POST freezes all automation there, DELETE
// lets it go again.
//
// A planned move begins with letting fenced placements join again (release at level 0), waits before each promotion of a database,
// cache or queue until its standby lacks nothing, and ends with releasing the old placements as standbys. A forced one leaves the old
// placements fenced. A placement that cannot be fenced, but has a lease, counts as fenced once its lease has run out since it
// was last spoken to; a new leader, whose clock may differ, waits the whole lease anew.
//
// The dns step writes and confirms before its checkpoint: it switches the records in a fenced transaction of its own, asks every
// authoritative server, and the checkpoint then records how long after the run's beginning they answered.
//
// It never holds a placement's role itself (infra does), and never moves a resource to a cordoned region, or to one that is down.
package failover
