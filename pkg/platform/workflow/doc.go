// Package workflow runs durable steps: what a run has done survives the process, what it has not done is done by whoever leads
// next, and nothing that is done is done again.
//
// It owns the tables workflow_runs and workflow_steps, the order of steps, their retries, pauses and rollbacks. It does not
// know what a step means: that is a Kind's Actions, given at construction.
//
// A run:
//
//	                Create ──► awaiting_approval ──Approve──┐
//	                   │              │ Abort               │
//	                   └──────────────┼───────► running ◄───┘
//	    all steps ended well ─────────┼────────►  │  ▲
//	    ▼                             ▼   Pause,  │  │ Resume
//	succeeded                      aborted failed ▼  │
//	                                  ▲  step    paused
//	                                  │ Abort     │
//	    failed ◄── continue, and some step failed │
//	    rolled_back ◄── every step undone ◄── running (phase rolling_back) ◄── rollback, and a step failed
//
// Two phases stand between, and show as running: aborting (no step begins any more, those in the middle come to their end, then
// the run is aborted) and rolling_back (no step begins any more; when those in the middle have ended, what was done is undone,
// last first). An undo that fails for good pauses the run; Resume tries it again.
//
// A step, each arrow a commit:
//
//	pending ──start──► running ──checkpoint──► succeeded | skipped | failed ──undo──► rolled_back
//	   ▲                  │
//	   └── attempt failed ┘  (not_before says when the next may begin)
//
// Where the process may die, and what the next leader finds:
//
//	before the start's commit         pending: nothing has happened
//	after it, before the effect       running: the step is begun again, with Call.Repeat
//	after the effect, before the      running: the same; Repeat tells the action to look first
//	  checkpoint's commit
//	after the checkpoint's commit     ended: never run again
//
// So an effect happens again only with Repeat set, and an action that looks before it repeats makes it happen once. The
// checkpoint's transaction carries the action's own writes (Commit) and the hooks' events, so they happen exactly when the
// step counts as done.
//
// Every transaction of the engine begins with epoch.Fence: once a newer leader has taken over, nothing of an older one
// commits. Starts and checkpoints that are ready at the same time share a transaction; one that cannot be
// committed is taken out, and does not keep the others.
//
// It never calls the world inside a transaction, never elects a leader, and never decides that a failure is somebody else's:
// an action that ignores the end of its context holds up Lead, because running its step elsewhere at the same time would be worse.
package workflow
