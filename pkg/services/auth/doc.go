// Package auth owns API keys, roles and permissions: who may do what.
//
//	create ──▶ valid ──rotate──▶ valid, with a new secret; the earlier ones end after the overlap
//	             │
//	             ├──expires_at passes──▶ expired
//	             └──revoke─────────────▶ revoked (for good; the row stays, its secrets go)
//
// A token is
//
//	omni_ + id (26) + secret (52) + checksum (7)
//
// where each part is base32 in Crockford's alphabet in lower case, without padding: the id is that of the key without its
// prefix "key_", the secret is 256 random bits, and the checksum is the CRC-32 (IEEE, big endian) of all text before it. The
// checksum tells a token that was mistyped or cut from a wrong one without a look into the store; it protects nothing. It is one
// word of 90 characters, so that a double click takes all of it and secret scanners find it.
//
// The store holds HMAC-SHA-256(pepper, id "." secret). The pepper is a file of the data directory, or is given, and is never in the
// database: who can only read or write the database can neither guess nor forge a token. All replicas on one database need the same
// pepper; its fingerprint is stored so that another one is noticed at the start.
//
// Keys are cached for less than a second, unknown ones too, so a revocation counts within a second on every replica,
// and at once on the one that did it.
//
// Everything is denied by default: an unknown role has no permissions, and nobody gives a key a permission that they do not
// hold themselves. A secret is shown once, in the answer that made it, and never logged. Auth does not decide which
// permission a route needs: the route says so.
package auth
