// Package daemon is the composition root of omnid: the only place where its parts meet.
//
// Run reads top to bottom as the list of what the process consists of: data directory, databases, election, domain,
// services, gateway, leader's work. Whoever starts a thing registers its stop on the next line; stops run in reverse,
// each bounded. Adapters between two parts that may not import each other stand in adapters.go, the manifest kinds in
// kinds.go.
//
// It holds no rules of the domain.
package daemon
