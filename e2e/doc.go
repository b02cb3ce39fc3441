// Package e2e tests OmniCloud as users meet it: scripts (testdata/*.txtar, in the language of testscript) over both real binaries,
// real processes, and real DNS queries.
//
// Besides testscript's own commands a script has: start, stop, until, dig, background and field; see commands_test.go.
package e2e
