// Package sim is the driver of a world in memory: placements that take their time, fail and lag as their config says, for
// tests, drills, rehearsals and benchmarks.
//
// It owns that world: for each (tenant, resource, region) its role, the highest epoch seen, and which (run, step) had
// already its effect. The world ends with the process; a placement that nobody has told anything shows the role that its
// config gives, or none. Chance is decided by the seed and the call (tenant, resource, region, action, run, step, attempt), so that the same calls
// meet the same fate in any order. Without latency a call costs microseconds.
//
// It never touches anything real.
package sim
