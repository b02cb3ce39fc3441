// Package telemetry is how omnid tells what it does: logs as JSON lines, and metrics for Prometheus. Traces are in the package
// tracing below, so that a program which only counts does not link an exporter.
//
// It owns the names, units and labels of what is measured. Each group of metrics is made on a registry that is given, and has
// methods named for what happened; the packages that call them declare the interface that they need. Labels are few and bounded:
// a value beyond the bound counts as "other", and neither tenants, resources nor paths are ever labels.
//
// It never decides anything by what it measured, and never logs a body, a key or a secret.
package telemetry
