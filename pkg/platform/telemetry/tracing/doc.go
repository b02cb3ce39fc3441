// Package tracing makes OpenTelemetry spans, so that what begins with a request of the API is one trace down to the call of a
// driver, even when a run goes on in another process days later.
//
// It owns the tracer provider and where finished spans go: an OTLP endpoint over HTTP, a file of JSON lines, or nowhere. A span's
// place in its trace travels as text (W3C traceparent) in omni.Request, in events and in the rows of runs; Start continues
// from such a text.
//
// It never fails or delays the work that it describes: spans that cannot be sent are dropped.
package tracing
