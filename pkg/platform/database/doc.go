// Package database opens, migrates and uses OmniCloud's four databases (infra, tenants, billing, audit), each on
// SQLite or PostgreSQL, through one API and one SQL text.
//
// It owns transactions: their scope (which tenant they may see), their one clock reading, the retry of
// serialization failures, and the one translation of driver errors into omni.Error. The drivers themselves are
// wrapped by the packages sqlite and postgres below, so that a program which only needs the types links neither.
//
// SQL is written for PostgreSQL: $1 placeholders, "on conflict … returning", identifiers in lower case. What SQL sums is
// bigint; decimals are text; times go through Time. A statement that must differ is written twice, side by
// side, chosen by Tx.Kind.
//
// A driver's error becomes, on either kind: a key that is there CodeConflict; a foreign key, whichever way it is violated,
// CodeReferenced (SQLite does not tell which); a check, a missing or an impossible value CodeInvalid; no row
// CodeNotFound; another tenant's row CodeForbidden; no space CodeFull; a lost connection or a lock that is not
// had in time CodeUnavailable, after retries. A transaction in which a statement has failed must end: PostgreSQL refuses
// what follows, SQLite does not.
//
// It never starts a transaction inside another one, and knows no table but its own bookkeeping.
package database
