package synthetic

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// result is how one run of a probe ended: a label of closed values.
type result string

const (
	success      result = "success"
	failure      result = "failure"
	disconnected result = "disconnected" // the database is known to be away: no query, or one that was ended
	rejected     result = "rejected"     // by the circuit breaker or by the full queue
	timeout      result = "timeout"
)

var results = [...]result{success, failure, disconnected, rejected, timeout}

// metrics are those of all probes.
type metrics struct {
	success     *prometheus.GaugeVec
	duration    *prometheus.HistogramVec
	runs        *prometheus.CounterVec
	lastSuccess *prometheus.GaugeVec
}

// newMetrics returns the metrics, registered with reg unless that is nil.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	labels := []string{"probe"}
	m := &metrics{
		success: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "speedybites_synthetic_probe_success",
			Help: "1 if the latest run of the test query was answered, 0 if it was not or none has ended yet.",
		}, labels),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "speedybites_synthetic_probe_duration_seconds",
			Help: "Duration of test queries with all their attempts, those aside that were rejected or found the database " +
				"disconnected.",
			Buckets: []float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10},
		}, labels),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "speedybites_synthetic_probe_runs_total",
			Help: "Runs of test queries by result: disconnected is a run that made no query, or gave one up, because the " +
				"database was away, and rejected one that the circuit breaker or the full queue refused.",
		}, []string{"probe", "result"}),
		lastSuccess: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "speedybites_synthetic_probe_last_success_timestamp_seconds",
			Help: "When the test query was last answered, in seconds since the epoch; 0 for never.",
		}, labels),
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.success, m.duration, m.runs, m.lastSuccess} {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register synthetic metrics: %w", err)
	}
	return m, nil
}

// probeMetrics are those of one probe.
type probeMetrics struct {
	success     prometheus.Gauge
	duration    prometheus.Observer
	runs        map[result]prometheus.Counter
	lastSuccess prometheus.Gauge
}

// of makes the series of a probe.
func (m *metrics) of(probe string) probeMetrics {
	one := probeMetrics{
		success: m.success.WithLabelValues(probe), duration: m.duration.WithLabelValues(probe),
		runs: make(map[result]prometheus.Counter, len(results)), lastSuccess: m.lastSuccess.WithLabelValues(probe),
	}
	for _, r := range results {
		one.runs[r] = m.runs.WithLabelValues(probe, string(r))
	}
	return one
}

// count accounts for a run that ended with r and took so long.
func (m probeMetrics) count(r result, took time.Duration) {
	m.runs[r].Inc()
	switch r {
	case success:
		m.success.Set(1)
		m.lastSuccess.SetToCurrentTime()
	case failure, disconnected, rejected, timeout:
		m.success.Set(0)
	}
	if r != disconnected && r != rejected {
		m.duration.Observe(took.Seconds())
	}
}
