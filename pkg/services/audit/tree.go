package audit

import (
	"crypto/sha256"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// edge is all that appending to a Merkle tree (RFC 6962 §2.1) must know of it: its size, and for each bit of the size
// the hash of the complete subtree of that height on the right edge.
type edge struct {
	size  int64
	right [63]tlog.Hash
}

// edgeIndexes gives where the hashes of the edge of a tree of n leaves are stored, lowest subtree first.
func edgeIndexes(n int64) []int64 {
	indexes := make([]int64, 0, bits.OnesCount64(uint64(n)))
	for level := range 63 {
		if n>>level&1 == 1 {
			indexes = append(indexes, tlog.StoredHashIndex(level, n>>level-1))
		}
	}
	return indexes
}

// loadEdge builds the edge of a tree of n leaves from stored hashes; one that is missing counts as zero.
func loadEdge(n int64, stored map[int64]tlog.Hash) *edge {
	e := &edge{size: n}
	for level := range 63 {
		if n>>level&1 == 1 {
			e.right[level] = stored[tlog.StoredHashIndex(level, n>>level-1)]
		}
	}
	return e
}

// add appends a leaf and gives the hashes to store for it, from StoredHashIndex(0, old size) on: its own, and that of each
// subtree which it completes.
func (e *edge) add(leaf tlog.Hash) []tlog.Hash {
	hashes := []tlog.Hash{leaf}
	level, hash := 0, leaf
	for ; e.size>>level&1 == 1; level++ {
		hash = tlog.NodeHash(e.right[level], hash)
		hashes = append(hashes, hash)
	}
	e.right[level] = hash
	e.size++
	return hashes
}

// root is the hash of the whole tree; that of the empty one is the hash of nothing.
func (e *edge) root() tlog.Hash {
	if e.size == 0 {
		return sha256.Sum256(nil)
	}
	level := bits.TrailingZeros64(uint64(e.size))
	hash := e.right[level]
	for level++; level < 63; level++ {
		if e.size>>level&1 == 1 {
			hash = tlog.NodeHash(e.right[level], hash)
		}
	}
	return hash
}
