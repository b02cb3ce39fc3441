// Package monitor asks the zones of every region whether they are alive, and keeps what they answered: the observations that
// failover makes its verdicts of.
//
// A probe, as one observer (a replica of omnid) sees it:
//
//	              answered                 failed
//	unknown ───────────────▶ up ◀───────────────────▶ down
//	   └────────────────── failed ──────────────────────▲
//
// It begins as unknown, also after a restart and after its definition has changed: what was observed before is not true any more. One
// answer moves it; how many failures of how many zones mean that a region is down is not decided here.
//
// It owns when each probe is asked (spread over its interval, at the same distance for ever, one question at a time), the
// workers, connections and processes that ask, a bounded ring of observations per probe, and the tables probe_states
// (status changes, written in batches once a second) and probe_beats. A target that does not answer costs its own question
// and nobody else's. A question that cannot be asked in time is skipped and counted, never queued.
//
// It never decides that a region is down, never moves anything, and keeps no observation on disk.
package monitor
