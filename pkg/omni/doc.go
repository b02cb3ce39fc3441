// Package omni is the vocabulary that every part of OmniCloud shares: identifiers, errors, pages, the
// identity behind a request, and the audit record. It imports the standard library only, does no I/O, and
// knows no service: whatever two parts that may not import each other must both name stands here.
package omni
