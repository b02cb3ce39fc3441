// Package events carries what a transaction has caused to whoever must know, across databases, without loss and without
// handling anything twice.
//
// Append writes events into the outbox of the transaction's own database, just before it commits: events exist exactly if
// their cause does. A Relay, one for each database, hands them to the consumers:
//
//	appended ──▶ pending ──each consumer: inbox + Handle in one transaction──▶ relayed ──retention──▶ gone
//	                │  ▲
//	                └──┘ a consumer that fails holds back this subject, for itself only, and is asked again later
//
// A consumer's inbox, in the consumer's database, remembers what it has handled; so a relay that dies between handling and marking
// does no harm, nor do two relays at once. Inbox rows live exactly as long as the event's outbox row.
//
// Events of one subject reach each consumer in the order in which their transactions committed. On PostgreSQL rows become
// visible in another order than they are numbered: hence transactions that append to the same subject take turns while they
// commit, and the relay looks for what is not yet relayed instead of keeping a cursor.
//
// Feed keeps a bounded history of all events in the infra database for server-sent events.
//
// An event is never dropped because it cannot be handled: it stays pending, and Lag tells.
package events
