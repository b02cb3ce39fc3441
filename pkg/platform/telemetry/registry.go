package telemetry

import (
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

const namespace = "omnicloud"

// NewRegistry makes a registry that also tells of the process, the Go runtime and the build.
func NewRegistry(version string) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	add(reg, collectors.NewGoCollector())
	add(reg, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	build := add(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1; the label tells the version.",
	}, []string{"version"}))
	build.WithLabelValues(version).Set(1)
	return reg
}

// add registers c, or gives the collector of the same name and labels that is there: two parts may count into one. A nil
// registry counts for nobody.
func add[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	err := reg.Register(c)
	if there, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if same, ok := there.ExistingCollector.(C); ok {
			return same
		}
	}
	return c
}

func counter(reg prometheus.Registerer, name, help string, labels ...string) *prometheus.CounterVec {
	return add(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels))
}

func gauge(reg prometheus.Registerer, name, help string, labels ...string) *prometheus.GaugeVec {
	return add(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels))
}

func histogram(reg prometheus.Registerer, name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return add(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, Buckets: buckets,
	}, labels))
}

// Buckets in seconds: of a request or a transaction, and of a run or a step, which call to the world.
func fastBuckets() []float64 {
	return []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
}

func slowBuckets() []float64 {
	return []float64{.005, .025, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600}
}

// bound keeps the values of one label few: those beyond the first max become "other".
type bound struct {
	max  int
	mu   sync.RWMutex
	seen map[string]bool
}

func newBound(limit int) *bound { return &bound{max: limit, seen: map[string]bool{}} }

func (b *bound) value(v string) string {
	b.mu.RLock()
	known := b.seen[v]
	b.mu.RUnlock()
	if known {
		return v
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.seen[v] && len(b.seen) >= b.max {
		return "other"
	}
	b.seen[v] = true
	return v
}
