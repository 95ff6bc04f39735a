package postgres

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"speedybites/internal/postgres/breaker"
	"speedybites/internal/postgres/cluster"
)

// DB is a PostgreSQL database: its primary, wherever that is, and its replicas, each behind a pool that heals itself. It
// is safe for concurrent use.
type DB struct {
	primary  *server
	replicas []*replica
	topology *topology

	turn    atomic.Uint64            // of the replicas
	written map[string]*atomic.Int64 // by group of queries, when it was last written, in ns since start; nil without replicas

	stop    context.CancelFunc
	watches sync.WaitGroup
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
	// OnTransition is told of every change of the state of the primary's breaker. It must not block, and not call the DB.
	OnTransition func(breaker.Transition)
}

// The names of servers, for people, metrics and breakers. Replicas are numbered in the order of their URL.
const (
	primaryName   = "primary"
	replicaPrefix = "replica-"
)

// Open returns a DB that looks for its servers in the background; it does not wait for one.
func Open(cfg Config, deps Deps) (*DB, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("database configuration: %w", err)
	}
	var tracer trace.Tracer
	tracers := deps.Tracers
	if tracers != nil {
		tracer = tracers.Tracer("speedybites/internal/postgres")
	} else {
		tracers = noop.NewTracerProvider()
	}
	families := newFamilies(deps.Queries)
	db := &DB{}
	if err := db.openPrimary(cfg, deps, tracers, tracer, families); err != nil {
		return nil, err
	}
	err := db.openReplicas(cfg, deps, tracers, tracer, families)
	if err == nil {
		err = register(deps.Registerer, append(families.collectors, collector{db}))
	}
	if err != nil {
		for _, srv := range db.servers() {
			srv.pool.Close()
		}
		return nil, fmt.Errorf("open database: %w", err)
	}
	if len(db.replicas) > 0 {
		db.written = map[string]*atomic.Int64{}
		for _, name := range deps.Queries {
			db.written[group(name)] = new(atomic.Int64)
		}
	}
	for _, srv := range db.servers() {
		srv.start()
	}
	db.watch()
	deps.Logger.LogAttrs(context.Background(), slog.LevelInfo, "database pool open", slog.Any("hosts", names(db.topology.hosts)),
		slog.Int("replicas", len(db.replicas)), slog.Int("min", cfg.PoolMin), slog.Int("max", cfg.PoolMax))
	return db, nil
}

func (db *DB) openPrimary(cfg Config, deps Deps, tracers trace.TracerProvider, tracer trace.Tracer, f *families) error {
	pc, err := cfg.primaryPool(tracers)
	if err != nil {
		return err
	}
	t := newTopology(hostsOf(pc.ConnConfig), deps.Logger)
	db.topology = t
	db.primary, err = newServer(cfg, serverConfig{
		name: primaryName, pool: pc, login: t.login, heartbeat: cfg.heartbeat(), lossLevel: slog.LevelError,
		announce: deps.OnTransition,
	}, deps.Logger, tracer, f.of(primaryName))
	if err != nil {
		return err
	}
	t.monitor, t.prober = db.primary.monitor, newProber(pc.ConnConfig, db.primary)
	return nil
}

func (db *DB) openReplicas(cfg Config, deps Deps, tracers trace.TracerProvider, tracer trace.Tracer, f *families) error {
	if cfg.ReplicaURL == "" {
		return nil
	}
	hosts, pools, err := cfg.replicaPools(tracers)
	if err != nil {
		return err
	}
	for i, h := range hosts {
		r := &replica{host: h, topology: db.topology, maxLag: cfg.ReplicaMaxLag}
		name := fmt.Sprint(replicaPrefix, i+1)
		r.server, err = newServer(cfg, serverConfig{
			name: name, pool: pools[i], login: r.login, heartbeat: cfg.heartbeat(), lossLevel: slog.LevelWarn,
		}, deps.Logger, tracer, f.of(name))
		if err != nil {
			return err
		}
		r.prober, r.admits = newProber(pools[i].ConnConfig, r.server), r.isStandby
		db.replicas = append(db.replicas, r)
	}
	return nil
}

// servers returns the primary and the replicas.
func (db *DB) servers() []*server {
	all := []*server{db.primary}
	for _, r := range db.replicas {
		all = append(all, r.server)
	}
	return all
}

// watch keeps an eye on every host that could become the primary.
func (db *DB) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	db.stop = cancel
	if db.topology.alone() {
		return
	}
	for _, h := range db.topology.hosts {
		db.watches.Go(func() { db.topology.watch(ctx, h) })
	}
}

// Close waits for queries under way and closes all connections. When ctx ends first, the connections are cut.
func (db *DB) Close(ctx context.Context) {
	db.stop()
	db.watches.Wait()
	var closing sync.WaitGroup
	for _, srv := range db.servers() {
		closing.Go(func() { srv.close(ctx) })
	}
	closing.Wait()
}

// Verdict waits until the first look for the primary, or one that a failed query has asked for, is over, and reports
// whether it is connected. The error is ctx's.
func (db *DB) Verdict(ctx context.Context) (bool, error) {
	v, err := db.primary.monitor.Verdict(ctx)
	return v.State == cluster.Connected, err
}

// Connected reports whether the prober has a session with the primary. It costs next to nothing, unlike Status.
func (db *DB) Connected() bool { return db.primary.monitor.View().State == cluster.Connected }

// PrimaryDSN returns the URL of the primary alone, for what needs a connection of its own. The error wraps ErrUnavailable
// while no primary is known.
func (db *DB) PrimaryDSN() (string, error) {
	view := db.primary.monitor.View()
	if view.State != cluster.Connected || view.Server == "" {
		return "", fmt.Errorf("%w: %w", ErrUnavailable, cmp.Or(view.Err, errNoDial))
	}
	return db.primary.cfg.pinned(view.Server)
}

// FindPrimary looks for the primary as a DB does, at most until ctx ends, and returns its URL: with several hosts, the
// first that can be written to may be a former primary, and one that never answers must not hold up the others.
func FindPrimary(ctx context.Context, cfg Config) (string, error) {
	if dsn, err := cfg.DSN(); err != nil || !severalHosts(dsn) {
		return dsn, err // whose errors say more, and at once
	}
	cfg.PoolMin, cfg.ReplicaURL = 0, ""
	db, err := Open(cfg, Deps{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return "", err
	}
	defer db.Close(context.WithoutCancel(ctx))
	for {
		dsn, err := db.PrimaryDSN()
		if err == nil {
			return dsn, nil
		}
		view := db.primary.monitor.View()
		if view.State == cluster.AuthenticationFailed || view.State == cluster.DatabaseMissing {
			return "", err
		}
		select {
		case <-view.Changed:
		case <-ctx.Done():
			return "", err
		}
	}
}

// Read runs fn on a pooled connection. fn may be run several times, so it must only read, and set what it captures
// anew each time. name names the query in logs and telemetry; it must be a constant, and its part before the dot says
// which writes of this process the read must include at once.
//
// It reads from the primary, unless ctx's Consistency lets a replica answer. While the primary is away, any replica does,
// however far behind. A lost connection is retried, then bridged for the outage grace, then counted by the circuit
// breaker. The error is fn's own, an SQL error, ctx's, or wraps ErrUnavailable, ErrSaturated, ErrStatementTimeout or
// ErrConflict.
func (db *DB) Read(ctx context.Context, name string, fn func(ctx context.Context, q Querier) error) error {
	q := query{srv: db.primary, name: name, read: fn}
	if len(db.replicas) > 0 {
		q.db = db
	}
	return q.run(ctx)
}

// Write runs fn in a transaction on the primary and commits it. Like Read's, fn may be run several times, also when COMMIT
// was sent and its answer lost: see Tx.InDoubt for what that demands of it. The errors are Read's; with ErrUnavailable and
// ErrStatementTimeout, and with ErrSaturated after an outage, its outcome may be unknown: asking again tells.
func (db *DB) Write(ctx context.Context, name string, fn func(ctx context.Context, tx *Tx) error) error {
	q := query{srv: db.primary, name: name, write: fn}
	if len(db.replicas) == 0 {
		return q.run(ctx)
	}
	c, _ := ctx.Value(consistencyKey{}).(*Consistency)
	q.positioned = c != nil
	err := q.run(ctx)
	db.wrote(name) // also after an error: the outcome may be unknown
	if c != nil && q.position > 0 {
		c.written.Store(uint64(q.position))
	}
	return err
}

// Background runs fn in a transaction for a loop that nobody waits for: once, without retries, and without a say in the
// circuit breaker. While the primary is not connected or the breaker not closed it fails at once with ErrUnavailable.
func (db *DB) Background(ctx context.Context, name string, fn func(ctx context.Context, tx *Tx) error) error {
	if db.primary.breaker.State() != breaker.Closed {
		return fmt.Errorf("%w: %w", ErrUnavailable, breaker.ErrOpen)
	}
	q := query{srv: db.primary, name: name, write: fn, root: true, once: true}
	return q.run(ctx)
}

func register(r prometheus.Registerer, collectors []prometheus.Collector) error {
	if r == nil {
		return nil
	}
	for _, c := range collectors {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}
