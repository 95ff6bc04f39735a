package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"speedybites/internal/postgres/breaker"
	"speedybites/internal/postgres/cluster"
	"speedybites/internal/postgres/sqlstate"
)

const (
	// pingTimeout bounds the ping that pgxpool sends on a connection which may be dead before handing it out. A server
	// that is merely slow must not lose its connections for it; a silent one is the prober's to find.
	pingTimeout = 5 * time.Second
	// idlePing is the idle time after which a connection is pinged before its use.
	idlePing = time.Second
	// trialPause is how long HALF_OPEN waits for a query to make the trial before the DB makes its own.
	trialPause = 250 * time.Millisecond
	// tendPeriod is the time between looks for silent sessions and for the end of the breaker's timeout.
	tendPeriod = 250 * time.Millisecond
)

// DB is a PostgreSQL server behind a pool that heals itself. It is safe for concurrent use.
type DB struct {
	cfg      Config
	log      *slog.Logger
	tracer   trace.Tracer // nil: nothing is traced
	metrics  *metrics
	announce func(breaker.Transition)
	pool     *pgxpool.Pool
	gate     *gate
	breaker  *breaker.Breaker
	monitor  *cluster.Monitor
	sessions sessions
	hosts    []host
	closed   atomic.Bool

	// up is the context of the current connectedness: done as soon as the database is lost.
	up atomic.Pointer[upness]
	// lastFailure is when a query last lost its connection, in ns since start: sessions that have not been heard from
	// since are pinged before their next use.
	lastFailure atomic.Int64

	halfOpen chan struct{} // capacity 1: the breaker has gone to HALF_OPEN
	stop     context.CancelFunc
	tending  sync.WaitGroup
}

type upness struct {
	ctx    context.Context
	cancel context.CancelFunc
}

// Deps is what a DB reports to. Only Logger is required.
type Deps struct {
	Logger *slog.Logger
	// Tracers makes the spans of queries, probes and transitions.
	Tracers trace.TracerProvider
	// Registerer takes the metrics; one of them can have only one DB.
	Registerer prometheus.Registerer
	// Queries are the names that are passed to Read, Write and Background, for the labels of metrics. Others are counted
	// together.
	Queries []string
	// OnTransition is told of every change of the breaker's state. It must not block, and not call the DB.
	OnTransition func(breaker.Transition)
}

// Open returns a DB that looks for its server in the background; it does not wait for one.
func Open(cfg Config, deps Deps) (*DB, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("database configuration: %w", err)
	}
	tracers := deps.Tracers
	if tracers == nil {
		tracers = noop.NewTracerProvider()
	}
	pc, err := cfg.poolConfig(tracers)
	if err != nil {
		return nil, err
	}
	log := deps.Logger
	db := &DB{
		cfg: cfg, log: log, announce: deps.OnTransition, gate: newGate(cfg.PoolMax, cfg.MaxWaiting, cfg.ConnectTimeout),
		halfOpen: make(chan struct{}, 1),
	}
	if deps.Tracers != nil {
		db.tracer = tracers.Tracer("speedybites/internal/postgres")
	}
	var collectors []prometheus.Collector
	db.metrics, collectors = newMetrics(deps.Queries)
	db.breaker, err = breaker.New(breaker.Config{
		Name: "primary", Threshold: cfg.BreakerThreshold, Timeout: cfg.BreakerTimeout, OnTransition: db.onTransition,
	})
	if err != nil {
		return nil, err
	}
	db.breaker.DatabaseLost()
	db.setUp(false)
	prober := newProber(pc.ConnConfig, db)
	db.hosts = prober.hosts
	db.monitor = cluster.New(cluster.Config{
		Login: prober.login, Look: cfg.HealthCheckInterval,
		OnConnected: db.onConnected, OnLost: db.onLost, Logger: log,
	})
	pc.BeforeConnect = db.beforeConnect
	pc.AfterConnect = db.afterConnect
	pc.ShouldPing = db.shouldPing
	pc.BeforeClose = db.beforeClose
	db.pool, err = pgxpool.NewWithConfig(context.Background(), pc)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	if err := register(deps.Registerer, append(collectors, collector{db})); err != nil {
		db.pool.Close()
		return nil, fmt.Errorf("database metrics: %w", err)
	}
	db.monitor.Start()
	ctx, cancel := context.WithCancel(context.Background())
	db.stop = cancel
	db.tending.Go(func() { db.tend(ctx) })
	log.LogAttrs(ctx, slog.LevelInfo, "database pool open", slog.String("server", cfg.describe()),
		slog.Int("min", cfg.PoolMin), slog.Int("max", cfg.PoolMax))
	return db, nil
}

// Close waits for queries under way and closes all connections. When ctx ends first, the connections are cut.
func (db *DB) Close(ctx context.Context) {
	db.closed.Store(true)
	db.stop()
	db.tending.Wait()
	cut := context.AfterFunc(ctx, func() {
		db.up.Load().cancel()
		db.sessions.severAll(errSevered, func(*session) bool { return true })
	})
	defer cut()
	db.pool.Close() // the monitor still tells logins under way when to give up
	db.monitor.Close()
}

// Verdict waits until the first look for the database, or one that a failed query has asked for, is over, and reports
// whether it is connected. The error is ctx's.
func (db *DB) Verdict(ctx context.Context) (bool, error) {
	v, err := db.monitor.Verdict(ctx)
	return v.State == cluster.Connected, err
}

// onConnected is told of a new connection of the prober before any query can see it.
func (db *DB) onConnected(previous, now cluster.View) {
	if previous.State != cluster.Connected {
		db.gate.rampUp()
		db.setUp(true)
	} else {
		db.metrics.sessions.Inc()
	}
	if previous.State == cluster.Lost && previous.Check > 0 {
		db.endOutage(previous, now)
	}
	if previous.Server != "" && previous.Server != now.Server {
		db.sever(func(s *session) bool { return s.connector.server != now.Server })
	}
	if !now.SilentSince.IsZero() {
		silent := int64(now.SilentSince.Sub(start))
		db.sever(func(s *session) bool { return s.heard.Load() < silent })
	}
	// Sessions from before may be dead without knowing it.
	db.lastFailure.Store(sinceStart())
	db.breaker.DatabaseReached(now.Epoch)
}

// onLost frees every query that is under way: what has not answered by now never will. A server that only refuses new
// logins still serves the sessions it has.
func (db *DB) onLost(now cluster.View) {
	db.breaker.DatabaseLost()
	db.setUp(false)
	if now.State == cluster.Lost {
		db.metrics.outages.Inc()
		db.sever(func(*session) bool { return true })
	}
}

// sever cuts the sessions that which says, and lets the pool forget the idle ones.
func (db *DB) sever(which func(*session) bool) {
	cut := db.sessions.severAll(errSevered, which)
	db.metrics.severed["lost"].Add(float64(cut))
	db.pool.Reset()
	db.log.LogAttrs(context.Background(), slog.LevelWarn, "database sessions given up", slog.Int("sessions", cut))
}

func (db *DB) setUp(up bool) {
	if old := db.up.Load(); old != nil {
		old.cancel()
	}
	ctx, cancel := context.WithCancel(context.Background())
	if !up {
		cancel()
	}
	db.up.Store(&upness{ctx: ctx, cancel: cancel})
}

// tend does what no query can be relied on to do: it makes the trial when none comes, lets the breaker's timeout pass,
// and cuts sessions whose server has stopped answering.
func (db *DB) tend(ctx context.Context) {
	tick := time.NewTicker(tendPeriod)
	defer tick.Stop()
	trial := time.NewTimer(time.Hour)
	defer trial.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-db.halfOpen:
			trial.Reset(trialPause)
		case <-trial.C:
			db.tending.Go(func() { db.ownTrial(ctx) }) // there is one place, so there is one trial
			if db.breaker.State() == breaker.HalfOpen {
				trial.Reset(trialPause)
			}
		case <-tick.C:
			db.breaker.Elapse()
			cut := db.sessions.severAll(errSilent, func(s *session) bool { return s.silent(db.cfg.StatementTimeout) })
			db.metrics.severed["silent"].Add(float64(cut))
		}
	}
}

// ownTrial makes the test query of HALF_OPEN when its place is free.
func (db *DB) ownTrial(ctx context.Context) {
	permit, ok := db.breaker.TryTrial()
	if !ok {
		return
	}
	q := &query{db: db, name: trialQuery, trial: true, root: true, read: func(ctx context.Context, q Querier) error {
		_, err := q.Exec(ctx, "select 1")
		return err
	}}
	_ = q.runWith(ctx, permit)
}

// beforeConnect refuses to let the pool dial a database that is lost, or for which a verdict is still out: all pooled
// connections tend to fail together, and one login is enough to learn why.
func (db *DB) beforeConnect(ctx context.Context, cc *pgx.ConnConfig) error {
	ctx, cancel := context.WithTimeout(ctx, db.cfg.ConnectTimeout)
	defer cancel()
	v, err := db.monitor.Verdict(ctx)
	if err != nil {
		return err
	}
	if v.State != cluster.Connected {
		return errNoDial
	}
	// Every session must be with the server that the prober knows to be the primary.
	tries := 1
	if i := slices.IndexFunc(db.hosts, func(h host) bool { return h.name == v.Server }); i >= 0 {
		db.hosts[i].pin(cc)
		tries += len(db.hosts[i].fallbacks)
	}
	c := &connector{
		server: v.Server, login: addresses{each: tries}, dialer: newDialer(), sessions: &db.sessions,
		lost: db.connectedness, dialed: db.dialed, began: time.Now(),
	}
	cc.DialFunc = c.dial
	return nil
}

// dialed counts a network connection that was attempted.
func (db *DB) dialed(purpose string, err error) {
	db.metrics.dials.WithLabelValues(purpose, dialOutcome(err)).Inc()
}

// connectedness returns a context that ends with the current connectedness, and whether there is one.
func (db *DB) connectedness() (context.Context, bool) {
	ctx := db.up.Load().ctx
	return ctx, ctx.Err() == nil
}

func (db *DB) afterConnect(_ context.Context, conn *pgx.Conn) error {
	s := sessionOf(conn)
	s.connector.established.Store(s)
	db.metrics.createTime.Observe(time.Since(s.connector.began).Seconds())
	// Without it, a uuid.UUID goes through its text form: a twentieth of the CPU of a request that reads one row.
	pgxuuid.Register(conn.TypeMap())
	return nil
}

// shouldPing has pgxpool ping a connection that was idle for long, or not heard from since some query lost its own.
func (db *DB) shouldPing(_ context.Context, params pgxpool.ShouldPingParams) bool {
	return params.IdleDuration > idlePing || sessionOf(params.Conn).heard.Load() < db.lastFailure.Load()
}

// beforeClose closes the network connection of a server that is lost first: a farewell to it could hold the pool's slot
// for seconds.
func (db *DB) beforeClose(conn *pgx.Conn) {
	if _, connected := db.connectedness(); !connected {
		sessionOf(conn).sever(errSevered)
	}
}

// Read runs fn on a pooled connection. fn may be run several times, so it must only read, and set what it captures
// anew each time. name names the query in logs and telemetry; it must be a constant.
//
// A lost connection is retried, then bridged for the outage grace, then counted by the circuit breaker. The error is
// fn's own, an SQL error, ctx's, or wraps ErrUnavailable, ErrSaturated, ErrStatementTimeout or ErrConflict.
func (db *DB) Read(ctx context.Context, name string, fn func(ctx context.Context, q Querier) error) error {
	q := query{db: db, name: name, read: fn}
	return q.run(ctx)
}

// Write runs fn in a transaction and commits it. Like Read's, fn may be run several times, also when COMMIT was sent and
// its answer lost: see Tx.InDoubt for what that demands of it. The errors are Read's; with ErrUnavailable and
// ErrStatementTimeout, and with ErrSaturated after an outage, its outcome may be unknown: asking again tells.
func (db *DB) Write(ctx context.Context, name string, fn func(ctx context.Context, tx *Tx) error) error {
	q := query{db: db, name: name, write: fn}
	return q.run(ctx)
}

// Background runs fn in a transaction for a loop that nobody waits for: once, without retries, and without a say in the
// circuit breaker. While the database is not connected or the breaker not closed it fails at once with ErrUnavailable.
func (db *DB) Background(ctx context.Context, name string, fn func(ctx context.Context, tx *Tx) error) error {
	if db.breaker.State() != breaker.Closed {
		return fmt.Errorf("%w: %w", ErrUnavailable, breaker.ErrOpen)
	}
	q := query{db: db, name: name, write: fn, root: true}
	return q.once(ctx)
}

func register(r prometheus.Registerer, collectors []prometheus.Collector) error {
	if r == nil {
		return nil
	}
	for _, c := range collectors {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// classify is sqlstate's view of err, corrected by what this package did to the session itself.
func classify(ctx context.Context, s *session, err error) verdict {
	v := verdictOf(sqlstate.Classify(ctx, err))
	if v == disconnected && s.cause() == errSilent { //nolint:errorlint // the cause is stored as it is
		return overdue
	}
	return v
}
