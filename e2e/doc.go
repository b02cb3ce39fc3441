// Package e2e tests OmniCloud as users meet it: scripts (testdata/*.txtar, in the language of testscript) over both real binaries,
// real processes, and real DNS queries; and the tour of the README, line by line.
//
// A script begins in a directory of its own that holds a copy of examples/tour. Besides testscript's own commands it has: start, halt, dies,
// until, shows, exits, interrupt, dig, field, has, patch and tmpfs; see commands_test.go.
package e2e
