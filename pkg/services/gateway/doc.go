// Package gateway stands in front of the API: it knows the client's address, limits the rate of requests, answers the questions of
// balancers and probes, and sets the headers that every answer has.
//
// It owns no data. Whether it is ready goes through these states:
//
//	starting → ready ⇄ not ready (a check fails) → draining
//
// It never reads a body, never decides who may do what, and never believes a header about the client's address that did not come
// through a trusted proxy.
package gateway
