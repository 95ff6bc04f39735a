package postgres

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"speedybites/internal/postgres/breaker"
	"speedybites/internal/postgres/cluster"
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

// metrics are the numbers of one server's pool. Every label set exists from the start.
type metrics struct {
	queries map[string]*queryMetrics
	other   *queryMetrics

	retries     map[string]prometheus.Counter
	backoff     prometheus.Histogram
	parked      prometheus.Gauge
	bridged     map[bool]prometheus.Counter // by whether the query was run again
	parkedTime  prometheus.Histogram
	inDoubt     prometheus.Counter
	transitions *prometheus.CounterVec
	breaker     map[string]prometheus.Counter
	dials       *prometheus.CounterVec
	timeouts    prometheus.Counter
	createTime  prometheus.Histogram
	waitTime    prometheus.Histogram
	useTime     prometheus.Histogram
	severed     map[string]prometheus.Counter
	outages     prometheus.Counter
	outageTime  prometheus.Histogram
	sessions    prometheus.Counter
	checks      map[bool]prometheus.Counter
	lastSuccess prometheus.Gauge
}

// queryMetrics are those of one named query.
type queryMetrics struct {
	name     string
	calls    [results]prometheus.Counter
	attempts [len(verdicts)]prometheus.Counter
	duration prometheus.Observer
	rows     prometheus.Observer
}

// pool is the value of db_client_connection_pool_name: there is one pool for each server.
const poolName = "primary"

func newMetrics(queries []string) (*metrics, []prometheus.Collector) {
	var all []prometheus.Collector
	add := func(c prometheus.Collector) { all = append(all, c) }
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		add(v)
		return v
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		add(v)
		return v
	}
	one := func(v *prometheus.HistogramVec) prometheus.Histogram {
		return v.WithLabelValues().(prometheus.Histogram)
	}

	calls := counter("speedybites_db_calls_total",
		"Logical database calls by how they ended; retries and waiting are inside one call.", "db_query_summary", "result")
	attempts := counter("speedybites_db_attempts_total",
		"Attempts of database calls by their error, empty for an answer.", "db_query_summary", "error_type")
	duration := histogram("db_client_operation_duration_seconds",
		"Duration of one attempt of a database call, from the acquired connection to its result; how it ended is in "+
			"speedybites_db_attempts_total.",
		waitBuckets, "db_query_summary")
	rows := histogram("db_client_response_returned_rows",
		"Rows that one attempt returned or changed, over all its statements.",
		[]float64{1, 10, 100, 1000}, "db_query_summary")

	m := &metrics{
		queries: make(map[string]*queryMetrics, len(queries)),
		retries: map[string]prometheus.Counter{}, bridged: map[bool]prometheus.Counter{},
		breaker: map[string]prometheus.Counter{}, severed: map[string]prometheus.Counter{},
		checks: map[bool]prometheus.Counter{},
		backoff: one(histogram("speedybites_db_retry_backoff_seconds", "Time slept between attempts.",
			[]float64{0.05, 0.1, 0.2, 0.4, 0.8, 1.6})),
		parkedTime: one(histogram("speedybites_db_parked_seconds",
			"Time that a call was parked, waiting for the end of an outage.", outageBuckets)),
		inDoubt: counter("speedybites_db_commits_in_doubt_total",
			"Commits that were sent and whose answer was lost; each is resolved by running the write again.").WithLabelValues(),
		transitions: counter("speedybites_circuit_breaker_transitions_total",
			"Changes of the circuit breaker's state.", "breaker", "from", "to"),
		dials: counter("speedybites_db_dials_total",
			"Network connections attempted, by who dialed and how it went.", "purpose", "outcome"),
		timeouts: counter("db_client_connection_timeouts_total",
			"Calls that found no free connection within the connect timeout.", "db_client_connection_pool_name").
			WithLabelValues(poolName),
		createTime: histogram("db_client_connection_create_time_seconds", "Time to make a pooled connection, login included.",
			waitBuckets, "db_client_connection_pool_name").WithLabelValues(poolName).(prometheus.Histogram),
		waitTime: histogram("db_client_connection_wait_time_seconds", "Time to obtain a connection, the queue included.",
			waitBuckets, "db_client_connection_pool_name").WithLabelValues(poolName).(prometheus.Histogram),
		useTime: histogram("db_client_connection_use_time_seconds", "Time between obtaining a connection and giving it back.",
			waitBuckets, "db_client_connection_pool_name").WithLabelValues(poolName).(prometheus.Histogram),
		outages: counter("speedybites_database_outages_total", "Times that the database was lost.", "role").
			WithLabelValues(poolName),
		outageTime: histogram("speedybites_database_outage_duration_seconds", "Length of outages, seen from here.",
			outageBuckets, "role").WithLabelValues(poolName).(prometheus.Histogram),
		sessions: counter("speedybites_db_sessions_lost_total",
			"Times that sessions were found dead while their server was there.").WithLabelValues(),
	}
	m.parked = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "speedybites_db_parked_calls", Help: "Calls parked now, waiting for the end of an outage.",
	})
	m.lastSuccess = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "speedybites_database_last_success_timestamp_seconds",
		Help: "When the prober last heard from the database, in seconds since the epoch; 0 for never.",
	})
	add(m.parked)
	add(m.lastSuccess)

	m.other = newQueryMetrics(otherQuery, calls, attempts, duration, rows)
	for _, name := range append([]string{trialQuery}, queries...) {
		m.queries[name] = newQueryMetrics(name, calls, attempts, duration, rows)
	}
	retries := counter("speedybites_db_retries_total", "Attempts that were made because an earlier one failed, by its reason.", "reason")
	for _, reason := range retryReasons {
		m.retries[reason] = retries.WithLabelValues(reason)
	}
	bridged := counter("speedybites_db_bridged_total", "Calls that waited for the end of an outage, by whether they were run again.", "outcome")
	m.bridged[true], m.bridged[false] = bridged.WithLabelValues("resumed"), bridged.WithLabelValues("gave_up")
	decisions := counter("speedybites_circuit_breaker_calls_total", "What the breaker was asked and told.", "breaker", "kind")
	for _, kind := range breakerKinds {
		m.breaker[kind] = decisions.WithLabelValues(poolName, kind)
	}
	severed := counter("speedybites_db_sessions_severed_total", "Connections cut by this process, by why.", "reason")
	m.severed["lost"], m.severed["silent"] = severed.WithLabelValues("lost"), severed.WithLabelValues("silent")
	checks := counter("speedybites_database_checks_total", "Looks of the prober at the database.", "outcome")
	m.checks[true], m.checks[false] = checks.WithLabelValues("ok"), checks.WithLabelValues("failed")
	for _, t := range possibleTransitions {
		m.transitions.WithLabelValues(poolName, label(t[0]), label(t[1]))
	}
	for _, purpose := range []string{dialPool, dialProber, dialCancel} {
		for _, outcome := range dialOutcomes {
			m.dials.WithLabelValues(purpose, outcome)
		}
	}
	return m, all
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
func (m *metrics) of(name string) *queryMetrics {
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

// collector reads what is only known at the moment of a scrape.
type collector struct{ db *DB }

var (
	descConnections = prometheus.NewDesc("db_client_connection_count", "Pooled connections by state.",
		[]string{"db_client_connection_pool_name", "db_client_connection_state"}, nil)
	descMax = prometheus.NewDesc("db_client_connection_max", "Most connections that the pool may have.",
		[]string{"db_client_connection_pool_name"}, nil)
	descIdleMin = prometheus.NewDesc("db_client_connection_idle_min", "Connections that the pool keeps.",
		[]string{"db_client_connection_pool_name"}, nil)
	descPending = prometheus.NewDesc("db_client_connection_pending_requests",
		"Calls that wait for a connection or for the end of an outage: the health's waitingQueue.",
		[]string{"db_client_connection_pool_name"}, nil)
	descOldest = prometheus.NewDesc("speedybites_db_oldest_wait_seconds", "How long the call that waits longest has waited.",
		nil, nil)
	descLimit = prometheus.NewDesc("speedybites_db_admission_limit",
		"Calls that may have a connection at once: the pool's maximum, less while a recovery ramps up.", nil, nil)
	descMaxWaiting = prometheus.NewDesc("speedybites_db_max_waiting", "Calls that may wait; one more is refused.", nil, nil)
	descClosed     = prometheus.NewDesc("speedybites_db_pool_conns_closed_total", "Connections that the pool retired.",
		[]string{"db_client_connection_pool_name", "reason"}, nil)
	descConnected = prometheus.NewDesc("speedybites_database_connected",
		"1 while the prober reaches the database: the health's database.connected.", []string{"role"}, nil)
	descOutage = prometheus.NewDesc("speedybites_database_current_outage_seconds", "Length of the outage so far, 0 without one.",
		[]string{"role"}, nil)
	descState = prometheus.NewDesc("speedybites_circuit_breaker_state", "1 for the state that the breaker is in, 0 for the others.",
		[]string{"breaker", "state"}, nil)
	descInState = prometheus.NewDesc("speedybites_circuit_breaker_seconds_in_state_total", "Time that the breaker has spent in each state.",
		[]string{"breaker", "state"}, nil)
	descLast = prometheus.NewDesc("speedybites_circuit_breaker_last_transition_timestamp_seconds",
		"When the breaker last changed its state, in seconds since the epoch; 0 for never.", []string{"breaker"}, nil)
	descFailures  = prometheus.NewDesc("speedybites_circuit_breaker_failures", "Failed calls in a row.", []string{"breaker"}, nil)
	descThreshold = prometheus.NewDesc("speedybites_circuit_breaker_threshold", "Failed calls in a row that open the breaker.",
		[]string{"breaker"}, nil)
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := c.db.Status()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	stat := c.db.pool.Stat()
	gauge(descConnections, float64(stat.IdleConns()), poolName, "idle")
	gauge(descConnections, float64(stat.AcquiredConns()), poolName, "used")
	gauge(descConnections, float64(stat.ConstructingConns()), poolName, "constructing")
	count(descClosed, float64(stat.MaxLifetimeDestroyCount()), poolName, "max_lifetime")
	count(descClosed, float64(stat.MaxIdleDestroyCount()), poolName, "max_idle")
	gauge(descMax, float64(c.db.cfg.PoolMax), poolName)
	gauge(descIdleMin, float64(c.db.cfg.PoolMin), poolName)
	gauge(descPending, float64(s.WaitingQueue), poolName)
	gauge(descOldest, c.db.gate.oldestWait().Seconds())
	gauge(descLimit, float64(c.db.gate.admissionLimit()))
	gauge(descMaxWaiting, float64(c.db.cfg.MaxWaiting))

	gauge(descConnected, truth(s.Connected), poolName)
	outage := 0.0
	if s.State == cluster.Lost {
		outage = time.Since(s.Since).Seconds()
	}
	gauge(descOutage, outage, poolName)

	for state, spent := range c.db.breaker.TimeInStates() {
		gauge(descState, truth(s.Breaker == state), poolName, label(state))
		count(descInState, spent.Seconds(), poolName, label(state))
	}
	last := 0.0
	if n := len(s.Transitions); n > 0 {
		last = float64(s.Transitions[n-1].At.UnixMilli()) / 1000
	}
	gauge(descLast, last, poolName)
	gauge(descFailures, float64(s.Failures), poolName)
	gauge(descThreshold, float64(s.Threshold), poolName)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
