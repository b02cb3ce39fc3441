// Package dns owns zones and their record sets, and the authoritative server that answers for them.
//
//	manifest ──ApplyZone──▶ record sets ──reload──▶ catalog (memory) ──▶ answers over UDP and TCP
//	                            ▲
//	run ────────Switch──────────┘        then Confirm asks every server over the wire
//
// A record set either has values of its own, or follows a resource: it then answers with the address of the resource's active
// placement, as it was when the zone was applied, and afterwards as the last Switch found it. A Switch carries the
// leader's epoch; a record set that a later leader has switched refuses it.
//
// A zone's serial is the low half of one counter of all changes, so it only grows (RFC 1982), also when a zone is deleted and
// made again. Replicas poll that counter, and read anew the zones that have changed.
//
// Answers follow RFC 1034, 2181, 2308 (negative answers), 4592 (wildcards), 6604, 6891 (EDNS) and 8482 (ANY). A CNAME is
// followed within the zones of its own tenant, at most 10 deep. There is no recursion, no zone transfer, no update, no DNSSEC.
//
// It never answers for a zone that it does not hold, and never decides that a record must move.
package dns
