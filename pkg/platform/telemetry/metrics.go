package telemetry

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// HTTP counts requests: rate, errors and duration for each route.
type HTTP struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	routes   *bound
}

// NewHTTP makes the metrics of the REST API.
func NewHTTP(reg prometheus.Registerer) *HTTP {
	return &HTTP{
		requests: counter(reg, "http_requests_total", "Requests that were answered.", "method", "route", "status"),
		duration: histogram(reg, "http_request_duration_seconds", "From the first byte of a request to the last of its answer.",
			fastBuckets(), "method", "route"),
		inFlight: gauge(reg, "http_requests_in_flight", "Requests that are being worked on, streams among them.").WithLabelValues(),
		routes:   newBound(500),
	}
}

// Begin counts a request in, and the function that it returns counts it out. route is the pattern of the route.
func (m *HTTP) Begin() func(method, route string, status int, took time.Duration) {
	m.inFlight.Inc()
	return func(method, route string, status int, took time.Duration) {
		m.inFlight.Dec()
		switch method {
		case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		default:
			method = "other"
		}
		route = m.routes.value(route)
		m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
		m.duration.WithLabelValues(method, route).Observe(took.Seconds())
	}
}

// Workflow measures runs and their steps.
type Workflow struct {
	runs     *prometheus.CounterVec
	alive    *prometheus.GaugeVec
	runTime  *prometheus.HistogramVec
	steps    *prometheus.CounterVec
	stepTime *prometheus.HistogramVec
	kinds    *bound
	actions  *bound
}

// NewWorkflow makes the metrics of runs and steps.
func NewWorkflow(reg prometheus.Registerer) *Workflow {
	return &Workflow{
		runs:     counter(reg, "runs_total", "Runs that changed to a status.", "kind", "status"),
		alive:    gauge(reg, "runs_alive", "Runs that have not ended.", "kind"),
		runTime:  histogram(reg, "run_duration_seconds", "From the start of a run to its end.", slowBuckets(), "kind", "status"),
		steps:    counter(reg, "steps_total", "Steps that ended.", "action", "status"),
		stepTime: histogram(reg, "step_duration_seconds", "From the first attempt of a step to its end.", slowBuckets(), "action"),
		kinds:    newBound(20),
		actions:  newBound(50),
	}
}

// RunChanged counts the change of a run's status; took is since its start, and is measured when the run has ended.
func (m *Workflow) RunChanged(kind, status string, ended bool, took time.Duration) {
	kind = m.kinds.value(kind)
	m.runs.WithLabelValues(kind, status).Inc()
	if ended {
		m.runTime.WithLabelValues(kind, status).Observe(took.Seconds())
	}
}

// RunsAlive says how many runs of a kind there are that have not ended.
func (m *Workflow) RunsAlive(kind string, n int) {
	m.alive.WithLabelValues(m.kinds.value(kind)).Set(float64(n))
}

// StepDone counts the end of a step.
func (m *Workflow) StepDone(action, status string, took time.Duration) {
	action = m.actions.value(action)
	m.steps.WithLabelValues(action, status).Inc()
	m.stepTime.WithLabelValues(action).Observe(took.Seconds())
}

// Probes measures probing.
type Probes struct {
	results  *prometheus.CounterVec
	duration *prometheus.HistogramVec
	late     prometheus.Observer
	skipped  *prometheus.CounterVec
	active   prometheus.Gauge
	regions  *bound
}

// NewProbes makes the metrics of probes.
func NewProbes(reg prometheus.Registerer) *Probes {
	return &Probes{
		results:  counter(reg, "probe_results_total", "Probes that were made, by outcome.", "region", "type", "result"),
		duration: histogram(reg, "probe_duration_seconds", "How long a probe took.", fastBuckets(), "type"),
		late: histogram(reg, "probe_lateness_seconds", "How long after its time a probe began.",
			[]float64{.001, .005, .01, .05, .1, .25, .5, 1, 5}).WithLabelValues(),
		skipped: counter(reg, "probe_skipped_total", "Probes that were not made, since too many were under way.", "region", "type"),
		active:  gauge(reg, "probes", "Probes that are scheduled.").WithLabelValues(),
		regions: newBound(100),
	}
}

// Done counts one probe: typ is http, tcp, exec or heartbeat, late how long after its time it began.
func (m *Probes) Done(region, typ string, ok bool, took, late time.Duration) {
	result := "failed"
	if ok {
		result = "ok"
	}
	m.results.WithLabelValues(m.regions.value(region), typ, result).Inc()
	m.duration.WithLabelValues(typ).Observe(took.Seconds())
	m.late.Observe(late.Seconds())
}

// Skipped counts probes that were not made.
func (m *Probes) Skipped(region, typ string, n int64) {
	m.skipped.WithLabelValues(m.regions.value(region), typ).Add(float64(n))
}

// Scheduled says how many probes there are.
func (m *Probes) Scheduled(n int) { m.active.Set(float64(n)) }

// Relay measures the way of events from an outbox to its consumers.
type Relay struct {
	delivered *prometheus.CounterVec
	failed    *prometheus.CounterVec
	pending   *prometheus.GaugeVec
	oldest    *prometheus.GaugeVec
}

// NewRelay makes the metrics of relays.
func NewRelay(reg prometheus.Registerer) *Relay {
	return &Relay{
		delivered: counter(reg, "relay_delivered_total", "Events that a consumer has handled.", "database", "consumer"),
		failed:    counter(reg, "relay_failures_total", "Attempts to handle an event that failed.", "database", "consumer"),
		pending:   gauge(reg, "relay_pending", "Events that wait in the outbox.", "database"),
		oldest:    gauge(reg, "relay_oldest_seconds", "Age of the oldest event that waits.", "database"),
	}
}

// Delivered counts events that a consumer has handled.
func (m *Relay) Delivered(database, consumer string, n int) {
	m.delivered.WithLabelValues(database, consumer).Add(float64(n))
}

// Failed counts an attempt that failed.
func (m *Relay) Failed(database, consumer string) { m.failed.WithLabelValues(database, consumer).Inc() }

// Lag says what waits in an outbox.
func (m *Relay) Lag(database string, pending int64, oldest time.Duration) {
	m.pending.WithLabelValues(database).Set(float64(pending))
	m.oldest.WithLabelValues(database).Set(oldest.Seconds())
}

// Leadership tells whether this replica leads, and in which epoch.
type Leadership struct {
	leading prometheus.Gauge
	epoch   prometheus.Gauge
	changes prometheus.Counter
}

// NewLeadership makes the metrics of leadership.
func NewLeadership(reg prometheus.Registerer) *Leadership {
	return &Leadership{
		leading: gauge(reg, "leader", "1 while this replica leads.").WithLabelValues(),
		epoch:   gauge(reg, "leader_epoch", "The last epoch that this replica led in.").WithLabelValues(),
		changes: counter(reg, "leader_changes_total", "How often this replica began to lead.").WithLabelValues(),
	}
}

// Began says that this replica leads in epoch.
func (m *Leadership) Began(epoch int64) {
	m.leading.Set(1)
	m.epoch.Set(float64(epoch))
	m.changes.Inc()
}

// Ended says that it leads no more.
func (m *Leadership) Ended() { m.leading.Set(0) }

// Database measures transactions.
type Database struct {
	duration *prometheus.HistogramVec
	retries  *prometheus.CounterVec
}

// NewDatabase makes the metrics of transactions.
func NewDatabase(reg prometheus.Registerer) *Database {
	return &Database{
		duration: histogram(reg, "transaction_duration_seconds", "From the begin of a transaction to its end, with its retries.",
			fastBuckets(), "database", "mode", "result"),
		retries: counter(reg, "transaction_retries_total", "Transactions that were run again after a collision.", "database"),
	}
}

// Transaction measures one: mode is read or write, retries how often it was run again.
func (m *Database) Transaction(database, mode string, err error, retries int, took time.Duration) {
	result := "ok"
	if err != nil {
		result = "failed"
	}
	m.duration.WithLabelValues(database, mode, result).Observe(took.Seconds())
	if retries > 0 {
		m.retries.WithLabelValues(database).Add(float64(retries))
	}
}
