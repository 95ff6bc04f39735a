package postgres

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"speedybites/internal/postgres/cluster"
)

// collector reads what is only known at the moment of a scrape.
type collector struct{ db *DB }

var (
	descConnections = prometheus.NewDesc("db_client_connection_count", "Pooled connections by state.",
		[]string{poolLabel, "db_client_connection_state"}, nil)
	descMax = prometheus.NewDesc("db_client_connection_max", "Most connections that the pool may have.",
		[]string{poolLabel}, nil)
	descIdleMin = prometheus.NewDesc("db_client_connection_idle_min", "Connections that the pool keeps.",
		[]string{poolLabel}, nil)
	descPending = prometheus.NewDesc("db_client_connection_pending_requests",
		"Calls that wait for a connection or for the end of an outage: the health's waitingQueue.",
		[]string{poolLabel}, nil)
	descOldest = prometheus.NewDesc("speedybites_db_oldest_wait_seconds", "How long the call that waits longest has waited.",
		[]string{roleLabel}, nil)
	descLimit = prometheus.NewDesc("speedybites_db_admission_limit",
		"Calls that may have a connection at once: the pool's maximum, less while a recovery ramps up.",
		[]string{roleLabel}, nil)
	descMaxWaiting = prometheus.NewDesc("speedybites_db_max_waiting", "Calls that may wait; one more is refused.",
		[]string{roleLabel}, nil)
	descClosed = prometheus.NewDesc("speedybites_db_pool_conns_closed_total", "Connections that the pool retired.",
		[]string{poolLabel, "reason"}, nil)
	descConnected = prometheus.NewDesc("speedybites_database_connected",
		"1 while the prober reaches the database: the health's database.connected.", []string{roleLabel}, nil)
	descOutage = prometheus.NewDesc("speedybites_database_current_outage_seconds", "Length of the outage so far, 0 without one.",
		[]string{roleLabel}, nil)
	descState = prometheus.NewDesc("speedybites_circuit_breaker_state", "1 for the state that the breaker is in, 0 for the others.",
		[]string{"breaker", "state"}, nil)
	descInState = prometheus.NewDesc("speedybites_circuit_breaker_seconds_in_state_total", "Time that the breaker has spent in each state.",
		[]string{"breaker", "state"}, nil)
	descLast = prometheus.NewDesc("speedybites_circuit_breaker_last_transition_timestamp_seconds",
		"When the breaker last changed its state, in seconds since the epoch; 0 for never.", []string{"breaker"}, nil)
	descFailures  = prometheus.NewDesc("speedybites_circuit_breaker_failures", "Failed calls in a row.", []string{"breaker"}, nil)
	descThreshold = prometheus.NewDesc("speedybites_circuit_breaker_threshold", "Failed calls in a row that open the breaker.",
		[]string{"breaker"}, nil)
	descServer = prometheus.NewDesc("speedybites_database_server_info",
		"1 for the server that has the role now: the primary moves with a failover.", []string{roleLabel, "server"}, nil)
	descUsable = prometheus.NewDesc("speedybites_replica_usable", "1 while reads go to the replica.", []string{roleLabel}, nil)
	descLag    = prometheus.NewDesc("speedybites_replica_lag_seconds",
		"How old the replica's data may be: the time since the primary was last seen where the replica is now. Up to a second is the pace of looking.",
		[]string{roleLabel}, nil)
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	e := emitter{ch}
	e.server(c.db.primary)
	if server := c.db.primary.monitor.View().Server; server != "" {
		e.gauge(descServer, 1, primaryName, server)
	}
	for _, r := range c.db.replicas {
		e.server(r.server)
		e.gauge(descServer, 1, r.name, r.host.name)
		e.gauge(descUsable, truth(r.state() == ReplicaUsable), r.name)
		lag, _ := r.lag()
		e.gauge(descLag, lag.Seconds(), r.name)
	}
}

type emitter struct{ ch chan<- prometheus.Metric }

func (e emitter) gauge(d *prometheus.Desc, v float64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (e emitter) count(d *prometheus.Desc, v float64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func (e emitter) server(srv *server) {
	stat, view, name := srv.pool.Stat(), srv.monitor.View(), srv.name
	e.gauge(descConnections, float64(stat.IdleConns()), name, "idle")
	e.gauge(descConnections, float64(stat.AcquiredConns()), name, "used")
	e.gauge(descConnections, float64(stat.ConstructingConns()), name, "constructing")
	e.count(descClosed, float64(stat.MaxLifetimeDestroyCount()), name, "max_lifetime")
	e.count(descClosed, float64(stat.MaxIdleDestroyCount()), name, "max_idle")
	e.gauge(descMax, float64(srv.cfg.PoolMax), name)
	e.gauge(descIdleMin, float64(srv.cfg.PoolMin), name)
	e.gauge(descPending, float64(srv.gate.waitingQueue()), name)
	e.gauge(descOldest, srv.gate.oldestWait().Seconds(), name)
	e.gauge(descLimit, float64(srv.gate.admissionLimit()), name)
	e.gauge(descMaxWaiting, float64(srv.cfg.MaxWaiting), name)

	e.gauge(descConnected, truth(view.State == cluster.Connected), name)
	outage := 0.0
	if view.State == cluster.Lost {
		outage = time.Since(view.Since).Seconds()
	}
	e.gauge(descOutage, outage, name)

	now := srv.breaker.State()
	for state, spent := range srv.breaker.TimeInStates() {
		e.gauge(descState, truth(now == state), name, label(state))
		e.count(descInState, spent.Seconds(), name, label(state))
	}
	last := 0.0
	if transitions := srv.breaker.Transitions(); len(transitions) > 0 {
		last = float64(transitions[len(transitions)-1].At.UnixMilli()) / 1000
	}
	e.gauge(descLast, last, name)
	e.gauge(descFailures, float64(srv.breaker.Failures()), name)
	e.gauge(descThreshold, float64(srv.breaker.Threshold()), name)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
