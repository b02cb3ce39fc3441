// Package billing owns usage: which placement ran where, in which role, for whom, and for how long.
//
//	event omni.placement.changed ──▶ a change of the placement at its moment At
//	                                 changes of a placement, in order of At ──▶ intervals, each up to the next change
//
// An interval [start, end) counts while the placement is active or standby; fenced, stopped and removed ones cost
// nothing. Each is attributed to its tenant, region, resource, role, to the run that began it, and to the run that ended it.
// Because a change is put at its own moment, not at its arrival, events that come late or twice give the same
// intervals as if all had come once and in order. Only changes of one placement at the very same microsecond count in the
// order of arrival.
//
// Quantities are whole placement_seconds: the seconds of UTC that begin within the interval. An interval of a second or more is
// thereby never wrong by a whole second, and however intervals are cut (at the end of a period, at a run, by region) the
// parts sum up to exactly the whole, which no rounding of durations does.
//
// It knows no prices, and never changes an interval but for a change that belongs inside it.
package billing
