// Package e2e tests OmniCloud as users meet it: scripts (testdata/*.txtar, in the language of testscript) over both real binaries,
// real processes, and real DNS queries; and the tour of the README, line by line.
//
// The fault tests (fault_*_test.go) kill and freeze omnid, and take its database away, in the middle of moves whose every effect an agent
// writes down (servers/agent): each move must come to its end, and nothing be done twice. OMNI_FAULT_SEED repeats what they leave to chance.
//
// A script begins in a directory of its own that holds a copy of examples/tour. Besides testscript's own commands it has: start, halt, dies,
// until, shows, exits, interrupt, dig, field, has, patch and tmpfs; see commands_test.go.
package e2e
