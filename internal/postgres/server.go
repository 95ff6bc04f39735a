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
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"
	"go.opentelemetry.io/otel/trace"

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

// server is one PostgreSQL server, or the primary among several, behind a pool that heals itself.
type server struct {
	cfg       Config
	name      string // for people, metrics and the breaker: "primary", "replica-1"
	log       *slog.Logger
	tracer    trace.Tracer // nil: nothing is traced
	metrics   *metrics
	lossLevel slog.Level // of the lines about its loss, and about the opening of its breaker
	announce  func(breaker.Transition)
	pool      *pgxpool.Pool
	gate      *gate
	breaker   *breaker.Breaker
	monitor   *cluster.Monitor
	sessions  sessions
	hosts     []host
	closed    atomic.Bool
	pooled    atomic.Bool // a pooler is between the server and us
	// admits reports whether the pool may have connections with the server, being what it is now; nil is always.
	admits func() bool

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

// serverConfig is what makes one server different from the others.
type serverConfig struct {
	name string
	pool *pgxpool.Config
	// login opens a session of the prober; it is called once the server is complete.
	login     func(ctx context.Context) (cluster.Session, error)
	heartbeat time.Duration
	lossLevel slog.Level
	announce  func(breaker.Transition)
}

// newServer returns a server whose prober does not run yet.
func newServer(cfg Config, sc serverConfig, log *slog.Logger, tracer trace.Tracer, m *metrics) (*server, error) {
	srv := &server{
		cfg: cfg, name: sc.name, log: log.With(slog.String("role", sc.name)), tracer: tracer, metrics: m,
		announce: sc.announce, lossLevel: sc.lossLevel,
		gate: newGate(cfg.PoolMax, cfg.MaxWaiting, cfg.ConnectTimeout), halfOpen: make(chan struct{}, 1),
		hosts: hostsOf(sc.pool.ConnConfig),
	}
	var err error
	srv.breaker, err = breaker.New(breaker.Config{
		Name: sc.name, Threshold: cfg.BreakerThreshold, Timeout: cfg.BreakerTimeout, OnTransition: srv.onTransition,
	})
	if err != nil {
		return nil, err
	}
	srv.breaker.DatabaseLost()
	srv.setUp(false)
	srv.monitor = cluster.New(cluster.Config{
		Login: sc.login, Look: cfg.HealthCheckInterval, Heartbeat: sc.heartbeat,
		OnConnected: srv.onConnected, OnLost: srv.onLost, Logger: srv.log, LossLevel: sc.lossLevel,
	})
	pc := sc.pool
	pc.BeforeConnect = srv.beforeConnect
	pc.AfterConnect = srv.afterConnect
	pc.ShouldPing = srv.shouldPing
	pc.BeforeClose = srv.beforeClose
	srv.pool, err = pgxpool.NewWithConfig(context.Background(), pc)
	if err != nil {
		return nil, fmt.Errorf("open pool of %s: %w", sc.name, err)
	}
	return srv, nil
}

// start lets the prober look for the server.
func (srv *server) start() {
	srv.monitor.Start()
	ctx, cancel := context.WithCancel(context.Background())
	srv.stop = cancel
	srv.tending.Go(func() { srv.tend(ctx) })
}

// close waits for queries under way and closes all connections. When ctx ends first, the connections are cut.
func (srv *server) close(ctx context.Context) {
	srv.closed.Store(true)
	srv.stop()
	srv.tending.Wait()
	cut := context.AfterFunc(ctx, func() {
		srv.up.Load().cancel()
		srv.sessions.severAll(errSevered, func(*session) bool { return true })
	})
	defer cut()
	srv.pool.Close() // the monitor still tells logins under way when to give up
	srv.monitor.Close()
}

// onConnected is told of a new connection of the prober before any query can see it.
func (srv *server) onConnected(previous, now cluster.View) {
	if previous.State != cluster.Connected {
		srv.gate.rampUp()
		srv.setUp(true)
	} else {
		srv.metrics.sessions.Inc()
	}
	if previous.State == cluster.Lost && previous.Check > 0 {
		srv.endOutage(previous, now)
	}
	srv.sessions.only(now.Server)
	if previous.Server != "" && previous.Server != now.Server {
		srv.sever(func(s *session) bool { return s.connector.server != now.Server })
	}
	if !now.SilentSince.IsZero() {
		silent := int64(now.SilentSince.Sub(start))
		srv.sever(func(s *session) bool { return s.heard.Load() < silent })
	}
	// Sessions from before may be dead without knowing it.
	srv.lastFailure.Store(sinceStart())
	srv.breaker.DatabaseReached(now.Epoch)
}

// onLost frees every query that is under way: what has not answered by now never will. A server that only refuses new
// logins still serves the sessions it has.
func (srv *server) onLost(now cluster.View) {
	srv.breaker.DatabaseLost()
	srv.setUp(false)
	if now.State == cluster.Lost {
		srv.metrics.outages.Inc()
		srv.sever(func(*session) bool { return true })
	}
}

// sever cuts the sessions that which says, and lets the pool forget the idle ones.
func (srv *server) sever(which func(*session) bool) {
	cut := srv.sessions.severAll(errSevered, which)
	srv.metrics.severed["lost"].Add(float64(cut))
	srv.pool.Reset()
	srv.log.LogAttrs(context.Background(), slog.LevelWarn, "database sessions given up", slog.Int("sessions", cut))
}

func (srv *server) setUp(up bool) {
	if old := srv.up.Load(); old != nil {
		old.cancel()
	}
	ctx, cancel := context.WithCancel(context.Background())
	if !up {
		cancel()
	}
	srv.up.Store(&upness{ctx: ctx, cancel: cancel})
}

// tend does what no query can be relied on to do: it makes the trial when none comes, lets the breaker's timeout pass,
// and cuts sessions whose server has stopped answering.
func (srv *server) tend(ctx context.Context) {
	tick := time.NewTicker(tendPeriod)
	defer tick.Stop()
	trial := time.NewTimer(time.Hour)
	defer trial.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-srv.halfOpen:
			trial.Reset(trialPause)
		case <-trial.C:
			srv.tending.Go(func() { srv.ownTrial(ctx) }) // there is one place, so there is one trial
			if srv.breaker.State() == breaker.HalfOpen {
				trial.Reset(trialPause)
			}
		case <-tick.C:
			srv.breaker.Elapse()
			cut := srv.sessions.severAll(errSilent, func(s *session) bool { return s.silent(srv.cfg.StatementTimeout) })
			srv.metrics.severed["silent"].Add(float64(cut))
		}
	}
}

// ownTrial makes the test query of HALF_OPEN when its place is free.
func (srv *server) ownTrial(ctx context.Context) {
	permit, ok := srv.breaker.TryTrial()
	if !ok {
		return
	}
	q := &query{srv: srv, name: trialQuery, root: true, trial: true, permit: permit, read: func(ctx context.Context, q Querier) error {
		_, err := q.Exec(ctx, "select 1")
		return err
	}}
	_ = q.run(ctx)
}

// beforeConnect refuses to let the pool dial a database that is lost, or for which a verdict is still out: all pooled
// connections tend to fail together, and one login is enough to learn why.
func (srv *server) beforeConnect(ctx context.Context, cc *pgx.ConnConfig) error {
	ctx, cancel := context.WithTimeout(ctx, srv.cfg.ConnectTimeout)
	defer cancel()
	v, err := srv.monitor.Verdict(ctx)
	if err != nil {
		return err
	}
	if v.State != cluster.Connected || (srv.admits != nil && !srv.admits()) {
		return errNoDial
	}
	// Every session must be with the server that the prober knows to be the primary.
	tries := 1
	if i := slices.IndexFunc(srv.hosts, func(h host) bool { return h.name == v.Server }); i >= 0 {
		srv.hosts[i].pin(cc)
		tries += len(srv.hosts[i].fallbacks)
	}
	c := &connector{
		server: v.Server, login: addresses{each: tries}, dialer: newDialer(), sessions: &srv.sessions,
		lost: srv.connectedness, dialed: srv.dialed, began: time.Now(),
	}
	cc.DialFunc = c.dial
	if srv.pooled.Load() && cc.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		cc.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	return nil
}

// noticePooler notes whether a pooler, such as pgbouncer, is between the server and us. In its transaction mode a statement
// that was prepared on one connection of the server is run on another, so that none is prepared then; whatever the URL says
// about it counts.
func (srv *server) noticePooler(pooled bool) {
	if srv.pooled.Swap(pooled) == pooled || !pooled {
		return
	}
	srv.log.LogAttrs(context.Background(), slog.LevelInfo, "a connection pooler is in between: statements are not prepared by name")
}

// dialed counts a network connection that was attempted.
func (srv *server) dialed(purpose string, err error) {
	srv.metrics.dials(purpose, dialOutcome(err)).Inc()
}

// connectedness returns a context that ends with the current connectedness, and whether there is one.
func (srv *server) connectedness() (context.Context, bool) {
	ctx := srv.up.Load().ctx
	return ctx, ctx.Err() == nil
}

func (srv *server) afterConnect(_ context.Context, conn *pgx.Conn) error {
	s := sessionOf(conn)
	s.connector.established.Store(s)
	srv.metrics.createTime.Observe(time.Since(s.connector.began).Seconds())
	// Without it, a uuid.UUID goes through its text form: a twentieth of the CPU of a request that reads one row.
	pgxuuid.Register(conn.TypeMap())
	return nil
}

// shouldPing has pgxpool ping a connection that was idle for long, or not heard from since some query lost its own.
func (srv *server) shouldPing(_ context.Context, params pgxpool.ShouldPingParams) bool {
	return params.IdleDuration > idlePing || sessionOf(params.Conn).heard.Load() < srv.lastFailure.Load()
}

// beforeClose closes the network connection of a server that is lost first: a farewell to it could hold the pool's slot
// for seconds.
func (srv *server) beforeClose(conn *pgx.Conn) {
	if _, connected := srv.connectedness(); !connected {
		sessionOf(conn).sever(errSevered)
	}
}

// classify is sqlstate's view of err, corrected by what this package did to the session itself.
func classify(ctx context.Context, s *session, err error) verdict {
	v := verdictOf(sqlstate.Classify(ctx, err))
	if v == disconnected && s.cause() == errSilent { //nolint:errorlint // the cause is stored as it is
		return overdue
	}
	return v
}
