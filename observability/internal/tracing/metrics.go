package tracing

import "github.com/prometheus/client_golang/prometheus"

// reason says why a span was lost. Spans that nobody wanted, because their
// trace was neither sampled nor failing, are not lost.
type reason string

const (
	queueFull    reason = "queue_full"    // the collector takes fewer spans than end
	bufferFull   reason = "buffer_full"   // too many spans wait for the end of their trace
	tooOld       reason = "too_old"       // the trace did not end in time
	exportFailed reason = "export_failed" // the exporter gave up
	shutDown     reason = "shutdown"      // the process could not wait any longer
)

// Metrics count what becomes of spans.
type Metrics struct {
	exported prometheus.Counter
	dropped  map[reason]prometheus.Counter
}

// NewMetrics registers the counters, with every label at 0. The error is that
// of the registration; the counters work without it.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "speedybites_telemetry_spans_dropped_total",
		Help: "Spans that should have been exported and were lost, by the reason.",
	}, []string{"reason"})
	m := &Metrics{
		exported: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "speedybites_telemetry_spans_exported_total",
			Help: "Spans that the trace exporter has accepted.",
		}),
		dropped: make(map[reason]prometheus.Counter),
	}
	for _, r := range []reason{queueFull, bufferFull, tooOld, exportFailed, shutDown} {
		m.dropped[r] = dropped.WithLabelValues(string(r))
	}
	if err := reg.Register(dropped); err != nil {
		return m, err
	}
	return m, reg.Register(m.exported)
}

func (m *Metrics) drop(r reason, spans int) {
	if spans > 0 {
		m.dropped[r].Add(float64(spans))
	}
}
