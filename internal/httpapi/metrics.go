package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"speedybites/internal/postgres"
)

// methodOther stands for every method that no route serves, in metrics and spans.
const methodOther = "_OTHER"

// panicked is the error type of a request whose handler panicked. All others are the status.
const panicked = "panic"

// rejections is the requests that are turned away although nothing is wrong with what they ask for, or before it is
// looked at: the load that is shed. The first row whose error is in the chain counts.
var rejections = []struct {
	err    error
	reason string
}{
	{postgres.ErrUnavailable, "unavailable"},
	{postgres.ErrSaturated, "saturated"},
	{postgres.ErrConflict, "conflict"},
	{postgres.ErrStatementTimeout, "statement_timeout"},
	{errBodyTooLarge, "body_too_large"},
	{errSlowBody, "slow_body"},
	{errTooMany, "too_many"},
	{errManyBodies, "large_bodies"},
}

// metrics is what the API tells about itself. All labels are from closed sets, whatever clients send: routes and
// methods are those that were added, statuses those that handlers answer with.
type metrics struct {
	duration  *prometheus.HistogramVec
	active    *prometheus.GaugeVec
	size      *prometheus.HistogramVec
	panics    *prometheus.CounterVec
	rejected  []prometheus.Counter // as rejections
	endpoints map[endpointKey]*endpoint
}

type endpointKey struct{ method, route string }

// endpoint is what requests of one method and route are counted in. Its parts are looked up once, at the start.
type endpoint struct {
	method, route string // as labels
	spanName      string
	active        prometheus.Gauge
	size          prometheus.Observer
	// usual is the durations by status, for the statuses that are expected; others are looked up.
	usual map[int]prometheus.Observer
}

// newMetrics returns the metrics, registered with reg. A nil reg gives metrics that count and are shown nowhere.
func newMetrics(reg prometheus.Registerer, ready, draining func() bool) (*metrics, error) {
	const method, route = "http_request_method", "http_route"
	m := &metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_server_request_duration_seconds",
			Help: "Duration of HTTP requests, from their headers to the end of the answer.",
			// Those of the semantic conventions.
			Buckets: []float64{.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10},
		}, []string{method, route, "http_response_status_code", "error_type"}),
		active: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "http_server_active_requests",
			Help: "HTTP requests being answered right now.",
		}, []string{method}),
		size: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "http_server_response_body_size_bytes",
			Help:    "Size of the bodies of HTTP answers.",
			Buckets: prometheus.ExponentialBuckets(256, 8, 6),
		}, []string{route}),
		panics: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "speedybites_http_panics_total",
			Help: "Panics of handlers, each of which cost one request its answer.",
		}, []string{route}),
		endpoints: make(map[endpointKey]*endpoint),
	}
	rejected := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "speedybites_http_requests_rejected_total",
		Help: "HTTP requests turned away, whatever they asked for, by reason.",
	}, []string{"reason"})
	for _, r := range rejections {
		m.rejected = append(m.rejected, rejected.WithLabelValues(r.reason))
	}
	m.add(methodOther, "")
	m.add(http.MethodGet, "", http.StatusNotFound)
	if reg == nil {
		return m, nil
	}
	return m, errors.Join(
		reg.Register(m.duration), reg.Register(m.active), reg.Register(m.size), reg.Register(m.panics), reg.Register(rejected),
		reg.Register(boolGauge("speedybites_ready", "Whether the service wants traffic, as /readyz tells: 1 or 0.", ready)),
		reg.Register(boolGauge("speedybites_shutting_down", "Whether the service is about to end: 1 or 0.", draining)),
	)
}

func boolGauge(name, help string, f func() bool) prometheus.GaugeFunc {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
		if f() {
			return 1
		}
		return 0
	})
}

// add makes the series of a route, "" for the requests that match none, with those of the statuses that it is expected
// to answer with. It comes before the first request.
func (m *metrics) add(method, route string, statuses ...int) {
	e := &endpoint{method: method, route: route, spanName: method + " " + route, usual: make(map[int]prometheus.Observer)}
	switch {
	case route != "":
	case method == methodOther:
		e.route, e.spanName = unmatchedRoute, "HTTP"
	default:
		e.route, e.spanName = unmatchedRoute, method
	}
	e.active = m.active.WithLabelValues(e.method)
	e.size = m.size.WithLabelValues(e.route)
	m.panics.WithLabelValues(e.route)
	for _, status := range statuses {
		e.usual[status] = m.durations(e, status, errorType(status, false))
	}
	m.endpoints[endpointKey{method, route}] = e
	if _, ok := m.endpoints[endpointKey{method, ""}]; !ok {
		m.add(method, "")
	}
}

// endpoint returns what a request is counted in; route is "" when it matched none.
func (m *metrics) endpoint(method, route string) *endpoint {
	if e, ok := m.endpoints[endpointKey{method, route}]; ok {
		return e
	}
	if e, ok := m.endpoints[endpointKey{method, ""}]; ok {
		return e
	}
	return m.endpoints[endpointKey{methodOther, ""}]
}

// outcome is how a request ended.
type outcome struct {
	status    int
	errorType string // "" unless it is our fault
	bytes     int
	took      time.Duration
}

// errorType is the semantic conventions' error.type. What a client did wrong, or did not wait for, is no error.
func errorType(status int, panics bool) string {
	switch {
	case panics:
		return panicked
	case status >= http.StatusInternalServerError:
		return strconv.Itoa(status)
	default:
		return ""
	}
}

func (m *metrics) durations(e *endpoint, status int, errorType string) prometheus.Observer {
	return m.duration.WithLabelValues(e.method, e.route, strconv.Itoa(status), errorType)
}

// observe counts a request that has ended. Its trace is the exemplar if it is kept.
func (m *metrics) observe(e *endpoint, o outcome, sc trace.SpanContext) {
	durations, ok := e.usual[o.status]
	if !ok || o.errorType == panicked {
		durations = m.durations(e, o.status, o.errorType)
	}
	seconds := o.took.Seconds()
	if exemplars, ok := durations.(prometheus.ExemplarObserver); ok && sc.IsSampled() {
		exemplars.ObserveWithExemplar(seconds, prometheus.Labels{"trace_id": sc.TraceID().String()})
	} else {
		durations.Observe(seconds)
	}
	if e.method != http.MethodHead {
		e.size.Observe(float64(o.bytes))
	}
}

// panic counts a panic on a route, "" for none.
func (m *metrics) panic(method, route string) {
	m.panics.WithLabelValues(m.endpoint(method, route).route).Inc()
}

// reject counts err if it is a rejection.
func (m *metrics) reject(err error) {
	for i, r := range rejections {
		if errors.Is(err, r.err) {
			m.rejected[i].Inc()
			return
		}
	}
}
