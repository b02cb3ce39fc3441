// Package sqlite opens one of the four databases as a file of SQLite.
//
// It uses a write-ahead log, one connection that writes (transactions begin immediate, so that none fails for having read
// first) and a few that only read. A commit is on disk when it returns. The file carries a mark of which of the four
// it is, so that a foreign file is refused by name before anything is written to it.
//
// It never runs two writers at once, and never repairs a damaged file.
package sqlite
