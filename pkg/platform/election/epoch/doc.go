// Package epoch counts leaderships in the database, and fences off those that are over.
//
// There is one row. Each takeover adds one to it (Take). Each transaction of a leader begins with Fence, which reads the row in
// such a way that the transaction and a takeover cannot both go through: on PostgreSQL the row is locked FOR SHARE, so a
// takeover waits for the leader's open transactions and the leader's later ones see the new epoch; SQLite has one writer
// at a time anyway. The number comes from the database, not from etcd, because etcd's revisions can fall back when
// it is restored from a copy, and a token that falls back fences nothing.
//
// It never decides who leads: that is package election's part. It imports no driver and no etcd, so that whoever needs only
// the fence stays small.
package epoch
