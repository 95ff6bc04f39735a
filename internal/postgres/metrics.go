package postgres

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"speedybites/internal/postgres/breaker"
	"speedybites/internal/postgres/sqlstate"
)

// trialQuery is the name of the test query that nobody asked for.
const trialQuery = "breaker.trial"

// otherQuery stands for every query that Deps.Queries does not name, so that the label is from a closed set.
const otherQuery = "other"

// result is how a call of Read, Write or Background ended, as its metric counts it.
type result uint8

const (
	successFirst result = iota
	successAfterRetry
	failedFirst
	failedAfterRetry
	refusedOpen
	refusedCapacity
	abandonedCall
	results // their number
)

// String returns the label value.
func (r result) String() string {
	return [...]string{
		"success_first", "success_after_retry", "failed_no_retry", "failed_after_retry", "refused_breaker",
		"refused_capacity", "abandoned",
	}[r]
}

// verdicts are all of them, with their error_type; "" is no error.
var verdicts = [...]string{
	answered: "", disconnected: "connection", locked: "credentials", conflicting: "conflict", overdue: "timeout",
	abandoned: "canceled", refused: "capacity",
}

// retryReasons is the closed set of why an attempt is retried.
var retryReasons = []string{
	"refused", "reset", "timeout", "dns", "shutting_down", "starting_up", "too_many_connections", "read_only", "conflict",
	"other",
}

// reasonOf returns the retry reason that err is of.
func reasonOf(err error) string {
	switch sqlstate.Code(err) {
	case "57P01", "57P02", "57P05", "25P03":
		return "shutting_down"
	case "57P03":
		return "starting_up"
	case "53300":
		return "too_many_connections"
	case "25006":
		return "read_only"
	case "40001", "40P01":
		return "conflict"
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "dns"
	}
	return networkReason(err)
}

// outageBuckets reach from a blink to half an hour, in seconds.
var outageBuckets = []float64{0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800}

// waitBuckets are the semantic convention's for database operations, in seconds.
var waitBuckets = []float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10}

// metrics are the numbers of one server. Every label set exists from the start. Those of queries, retries and bridging are
// one for all servers: a call is one call, wherever it was answered.
type metrics struct {
	*callMetrics

	transitions *prometheus.CounterVec
	breaker     map[string]prometheus.Counter
	dials       func(purpose, outcome string) prometheus.Counter
	timeouts    prometheus.Counter
	createTime  prometheus.Observer
	waitTime    prometheus.Observer
	useTime     prometheus.Observer
	severed     map[string]prometheus.Counter
	outages     prometheus.Counter
	outageTime  prometheus.Observer
	sessions    prometheus.Counter
	checks      map[bool]prometheus.Counter
	lastSuccess prometheus.Gauge
}

// callMetrics are the numbers of calls.
type callMetrics struct {
	queries map[string]*queryMetrics
	other   *queryMetrics

	retries    map[string]prometheus.Counter
	backoff    prometheus.Histogram
	parked     prometheus.Gauge
	bridged    map[bool]prometheus.Counter // by whether the query was run again
	parkedTime prometheus.Histogram
	inDoubt    prometheus.Counter
	routes     map[route]prometheus.Counter
	shed       [classes][len(shedReasons)]prometheus.Counter
}

// shedReasons are the reasons of ErrSaturated, as the metric calls them.
var shedReasons = [...]struct {
	err    error
	reason string
}{
	{errQueueFull, "queue_full"}, {errTooSlow, "too_slow"}, {errDisplaced, "displaced"}, {errNoneFree, "timeout"},
}

// countShed counts a call that the gate has refused.
func (m *callMetrics) countShed(write bool, err error) {
	c := reading
	if write {
		c = writing
	}
	for i, r := range shedReasons {
		if errors.Is(err, r.err) {
			m.shed[c][i].Inc()
		}
	}
}

// queryMetrics are those of one named query.
type queryMetrics struct {
	name     string
	calls    [results]prometheus.Counter
	attempts [len(verdicts)]prometheus.Counter
	duration prometheus.Observer
	rows     prometheus.Observer
}

// The names of the labels that tell servers apart: Prometheus's convention for pools, and ours. The values are the same.
const (
	poolLabel = "db_client_connection_pool_name"
	roleLabel = "role"
)

// families are the metrics of a DB before they are cut up by server.
type families struct {
	collectors []prometheus.Collector
	calls      *callMetrics

	transitions, decisions, dials, timeouts, severed, outages, sessions, checks *prometheus.CounterVec
	createTime, waitTime, useTime, outageTime                                   *prometheus.HistogramVec
	lastSuccess                                                                 *prometheus.GaugeVec
}

func (f *families) counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	f.collectors = append(f.collectors, v)
	return v
}

func (f *families) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	f.collectors = append(f.collectors, v)
	return v
}

func (f *families) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	f.collectors = append(f.collectors, v)
	return v
}

func newFamilies(queries []string) *families {
	f := &families{}
	f.calls = f.newCalls(queries)
	f.transitions = f.counter("speedybites_circuit_breaker_transitions_total",
		"Changes of the circuit breaker's state.", "breaker", "from", "to")
	f.decisions = f.counter("speedybites_circuit_breaker_calls_total", "What the breaker was asked and told.", "breaker", "kind")
	f.dials = f.counter("speedybites_db_dials_total",
		"Network connections attempted, by who dialed and how it went.", roleLabel, "purpose", "outcome")
	f.timeouts = f.counter("db_client_connection_timeouts_total",
		"Calls that found no free connection within the connect timeout.", poolLabel)
	f.createTime = f.histogram("db_client_connection_create_time_seconds", "Time to make a pooled connection, login included.",
		waitBuckets, poolLabel)
	f.waitTime = f.histogram("db_client_connection_wait_time_seconds", "Time to obtain a connection, the queue included.",
		waitBuckets, poolLabel)
	f.useTime = f.histogram("db_client_connection_use_time_seconds", "Time between obtaining a connection and giving it back.",
		waitBuckets, poolLabel)
	f.outages = f.counter("speedybites_database_outages_total", "Times that the server was lost.", roleLabel)
	f.outageTime = f.histogram("speedybites_database_outage_duration_seconds", "Length of outages, seen from here.",
		outageBuckets, roleLabel)
	f.sessions = f.counter("speedybites_db_sessions_lost_total",
		"Times that sessions were found dead while their server was there.", roleLabel)
	f.severed = f.counter("speedybites_db_sessions_severed_total", "Connections cut by this process, by why.", roleLabel, "reason")
	f.checks = f.counter("speedybites_database_checks_total", "Looks of the prober at the server.", roleLabel, "outcome")
	f.lastSuccess = f.gauge("speedybites_database_last_success_timestamp_seconds",
		"When the prober last heard from the server, in seconds since the epoch; 0 for never.", roleLabel)
	return f
}

func (f *families) newCalls(queries []string) *callMetrics {
	calls := f.counter("speedybites_db_calls_total",
		"Logical database calls by how they ended; retries and waiting are inside one call.", "db_query_summary", "result")
	attempts := f.counter("speedybites_db_attempts_total",
		"Attempts of database calls by their error, empty for an answer.", "db_query_summary", "error_type")
	duration := f.histogram("db_client_operation_duration_seconds",
		"Duration of one attempt of a database call, from the acquired connection to its result; how it ended is in "+
			"speedybites_db_attempts_total.",
		waitBuckets, "db_query_summary")
	rows := f.histogram("db_client_response_returned_rows",
		"Rows that one attempt returned or changed, over all its statements.",
		[]float64{1, 10, 100, 1000}, "db_query_summary")
	one := func(v *prometheus.HistogramVec) prometheus.Histogram {
		return v.WithLabelValues().(prometheus.Histogram)
	}
	c := &callMetrics{
		queries: make(map[string]*queryMetrics, len(queries)),
		retries: map[string]prometheus.Counter{}, bridged: map[bool]prometheus.Counter{}, routes: map[route]prometheus.Counter{},
		backoff: one(f.histogram("speedybites_db_retry_backoff_seconds", "Time slept between attempts.",
			[]float64{0.05, 0.1, 0.2, 0.4, 0.8, 1.6})),
		parkedTime: one(f.histogram("speedybites_db_parked_seconds",
			"Time that a call was parked, waiting for the end of an outage.", outageBuckets)),
		inDoubt: f.counter("speedybites_db_commits_in_doubt_total",
			"Commits that were sent and whose answer was lost; each is resolved by running the write again.").WithLabelValues(),
		parked: f.gauge("speedybites_db_parked_calls", "Calls parked now, waiting for the end of an outage.").WithLabelValues(),
	}
	c.other = newQueryMetrics(otherQuery, calls, attempts, duration, rows)
	for _, name := range append([]string{trialQuery}, queries...) {
		c.queries[name] = newQueryMetrics(name, calls, attempts, duration, rows)
	}
	retries := f.counter("speedybites_db_retries_total", "Attempts that were made because an earlier one failed, by its reason.", "reason")
	for _, reason := range retryReasons {
		c.retries[reason] = retries.WithLabelValues(reason)
	}
	bridged := f.counter("speedybites_db_bridged_total", "Calls that waited for the end of an outage, by whether they were run again.", "outcome")
	c.bridged[true], c.bridged[false] = bridged.WithLabelValues("resumed"), bridged.WithLabelValues("gave_up")
	routes := f.counter("speedybites_db_reads_total",
		"Reads that could have gone to a replica, by where they were answered and why. Only counted with replicas.", "route")
	for _, r := range allRoutes {
		c.routes[r] = routes.WithLabelValues(string(r))
	}
	shed := f.counter("speedybites_db_shed_total",
		"Calls that got no connection because too many wanted one, by what they are and why.", "kind", "reason")
	for class, kind := range [classes]string{reading: "read", writing: "write"} {
		for i, r := range shedReasons {
			c.shed[class][i] = shed.WithLabelValues(kind, r.reason)
		}
	}
	return c
}

// of cuts out the numbers of one server.
func (f *families) of(server string) *metrics {
	m := &metrics{
		callMetrics: f.calls, transitions: f.transitions,
		breaker: map[string]prometheus.Counter{}, severed: map[string]prometheus.Counter{}, checks: map[bool]prometheus.Counter{},
		dials: func(purpose, outcome string) prometheus.Counter {
			return f.dials.WithLabelValues(server, purpose, outcome)
		},
		timeouts: f.timeouts.WithLabelValues(server), createTime: f.createTime.WithLabelValues(server),
		waitTime: f.waitTime.WithLabelValues(server), useTime: f.useTime.WithLabelValues(server),
		outages: f.outages.WithLabelValues(server), outageTime: f.outageTime.WithLabelValues(server),
		sessions: f.sessions.WithLabelValues(server), lastSuccess: f.lastSuccess.WithLabelValues(server),
	}
	for _, kind := range breakerKinds {
		m.breaker[kind] = f.decisions.WithLabelValues(server, kind)
	}
	for _, reason := range []string{"lost", "silent"} {
		m.severed[reason] = f.severed.WithLabelValues(server, reason)
	}
	m.checks[true], m.checks[false] = f.checks.WithLabelValues(server, "ok"), f.checks.WithLabelValues(server, "failed")
	for _, t := range possibleTransitions {
		m.transitions.WithLabelValues(server, label(t[0]), label(t[1]))
	}
	for _, purpose := range []string{dialPool, dialProber, dialCancel, dialListener} {
		for _, outcome := range dialOutcomes {
			m.dials(purpose, outcome)
		}
	}
	return m
}

func newQueryMetrics(name string, calls, attempts *prometheus.CounterVec, duration, rows *prometheus.HistogramVec) *queryMetrics {
	q := &queryMetrics{name: name, duration: duration.WithLabelValues(name), rows: rows.WithLabelValues(name)}
	for r := range results {
		q.calls[r] = calls.WithLabelValues(name, r.String())
	}
	for v, errorType := range verdicts {
		q.attempts[v] = attempts.WithLabelValues(name, errorType)
	}
	return q
}

// of returns the numbers of a query.
func (m *callMetrics) of(name string) *queryMetrics {
	if q, ok := m.queries[name]; ok {
		return q
	}
	return m.other
}

// The kinds of what the breaker is asked and told.
const (
	kindSuccess  = "success"
	kindFailure  = "failure"
	kindNeutral  = "neutral"
	kindRejected = "rejected"
	kindTrial    = "trial"
)

var breakerKinds = []string{kindSuccess, kindFailure, kindNeutral, kindRejected, kindTrial}

// Who dials.
const (
	dialPool   = "pool"
	dialProber = "prober"
	dialCancel = "cancel"
	// dialListener is Listen's.
	dialListener = "listener"
)

var dialOutcomes = []string{"ok", "refused", "timeout", "dns", "reset", "other"}

func dialOutcome(err error) string {
	if err == nil {
		return "ok"
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "dns"
	}
	return networkReason(err)
}

var possibleTransitions = [][2]breaker.State{
	{breaker.Closed, breaker.Open},
	{breaker.Open, breaker.HalfOpen},
	{breaker.HalfOpen, breaker.Open},
	{breaker.HalfOpen, breaker.Closed},
}

// label is a state as a label value.
func label(s breaker.State) string {
	return [...]string{breaker.Closed: "closed", breaker.Open: "open", breaker.HalfOpen: "half_open"}[s]
}

// observe records a duration, with the trace of ctx as its exemplar where that trace is being kept.
func observe(ctx context.Context, o prometheus.Observer, d time.Duration) {
	if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() {
		if e, ok := o.(prometheus.ExemplarObserver); ok {
			e.ObserveWithExemplar(d.Seconds(), prometheus.Labels{
				"trace_id": sc.TraceID().String(), "span_id": sc.SpanID().String(),
			})
			return
		}
	}
	o.Observe(d.Seconds())
}
