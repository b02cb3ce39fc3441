// Package audit owns the tamper-evident log: one for each tenant, and one of the platform itself (tenant "").
//
//	event omni.audit.record ──append──▶ entry n ──▶ hashes of the subtrees that it completes ──▶ signed checkpoint
//	                                                  (one transaction, once an event)
//
// A log is a Merkle tree as in RFC 6962, hashed by golang.org/x/mod/sumdb/tlog. Its leaves are the records' canonical JSON.
// Three things hold it together:
//
//   - the tree: the hash of each complete subtree is stored, and its root covers every byte of every record;
//   - the checkpoint: a note (golang.org/x/mod/sumdb/note, the text of C2SP tlog-checkpoint) with the log's size and
//     root, signed with the Ed25519 key in the file audit.key, and renewed by each append;
//   - the seals: an HMAC of each entry under a key derived from the same file, by which the first entry that somebody
//     rewrote can be named even when he computed all hashes anew.
//
// Verify recomputes everything from the bytes of the records. An append trusts nothing either: when what it finds is not what
// the last checkpoint signed, it first appends an entry "audit.broken" that says so, and the evidence stays in the log.
// All replicas of one installation share one audit.key. Who holds the file can forge a log; so can nobody else. A store that is put
// back as a whole to an earlier, then valid state (checkpoint included), or a log that is removed as a whole, shows only
// to somebody who kept a later checkpoint: ProveConsistency is for him.
//
// It never changes or removes an entry, and decides nothing about what is recorded.
package audit
