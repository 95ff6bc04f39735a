// Package app builds the service out of its parts, runs it, and takes it down again in order.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"speedybites/internal/accounts"
	"speedybites/internal/audit"
	"speedybites/internal/catalog"
	"speedybites/internal/config"
	"speedybites/internal/httpapi"
	"speedybites/internal/localpg"
	"speedybites/internal/ordering"
	"speedybites/internal/postgres"
	"speedybites/internal/postgres/retry"
	"speedybites/observability"
)

// Options is what the command line adds to the configuration.
type Options struct {
	// Version is shown in the health and logged at the start.
	Version string
	// DataDir is where the private PostgreSQL lives when no database is configured. Default .data.
	DataDir string
	// Stderr gets a copy of the log.
	Stderr io.Writer
	// Getenv returns the OTEL_* variables; nil means that none is set.
	Getenv func(name string) string
}

// App is the running service. Create it with New.
type App struct {
	cfg  config.Config
	opts Options
	log  *slog.Logger
	logs *observability.Logs

	telemetry *observability.Telemetry
	private   *localpg.Server
	db        *postgres.DB
	relay     atomic.Pointer[audit.Relay] // the database comes first, and may announce a transition before
	orders    *ordering.Service
	server    *httpapi.Server
	addr      string
	opsAddr   string

	closers []closer
	once    sync.Once
	closed  error
}

type closer struct {
	name  string
	close func(context.Context) error
}

// New builds the service and listens. It does not wait for a database that is away. On an error, everything that was
// begun is taken back.
//
// It is one straight line on purpose: the order of the code is the order of the dependencies, and its reverse is the
// order of the shutdown.
func New(ctx context.Context, cfg config.Config, opts Options) (_ *App, err error) {
	a := &App{cfg: cfg, opts: opts}
	defer func() {
		if err != nil {
			rollback, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.Shutdown.Timeout)
			defer cancel()
			err = errors.Join(err, a.Close(rollback))
		}
	}()

	a.logs, err = observability.OpenLogs(observability.LogConfig{
		Dir: cfg.Log.Dir, Level: cfg.Log.Level, MaxSizeMB: cfg.Log.MaxSizeMB, MaxBackups: cfg.Log.MaxBackups,
		MaxAgeDays: cfg.Log.MaxAgeDays, Compress: cfg.Log.Compress,
		Terminal: observability.IsTerminal(opts.Stderr), AttrsFromContext: requestAttrs, Thin: thinning,
	}, opts.Stderr)
	if err != nil {
		return nil, err
	}
	a.onClose("logs", a.logs.Close)
	a.log = a.logs.Logger()
	a.log.LogAttrs(ctx, slog.LevelInfo, "starting", slog.String("version", opts.Version), slog.Any("settings", cfg))
	if cfg.Token.SecretGenerated {
		a.log.WarnContext(ctx, "TOKEN_SECRET is not set: tokens end with this process and no other instance accepts them")
	}

	a.telemetry = observability.Start(ctx, observability.TelemetryConfig{
		ServiceName: "speedy-bites", Version: opts.Version, Environment: string(cfg.Env), Getenv: opts.Getenv, Logger: a.log,
	})
	a.onClose("telemetry", a.telemetry.Shutdown)
	registry := a.telemetry.Registry()
	if err := registry.Register(a.logs); err != nil {
		return nil, fmt.Errorf("log metrics: %w", err)
	}

	url := cfg.Database.URL.Reveal()
	if url == "" {
		if url, err = a.startPrivate(ctx); err != nil {
			return nil, err
		}
	}
	dbConfig := databaseConfig(cfg.Database, url)
	a.db, err = postgres.Open(dbConfig, postgres.Deps{
		Logger: a.log, Tracers: a.telemetry.Tracers(), Registerer: registry, Queries: queries(), OnTransition: a.auditTransition,
	})
	if err != nil {
		return nil, err
	}
	a.onClose("database pool", func(ctx context.Context) error { a.db.Close(ctx); return nil })

	users, err := accounts.New(a.db, accounts.Config{
		TokenSecret: []byte(cfg.Token.Secret.Reveal()), TokenTTL: cfg.Token.TTL,
	}, a.log)
	if err != nil {
		return nil, err
	}
	a.orders, err = ordering.New(a.db, ordering.Config{IdempotencyTTL: cfg.Idempotency.TTL, Registerer: registry})
	if err != nil {
		return nil, err
	}
	a.onClose("order watchers", func(context.Context) error { a.orders.Close(); return nil })
	relay, err := audit.NewRelay(audit.Config{
		DB: a.db, Sink: a.logs.Audit(), Tail: audit.FileTail{Path: filepath.Join(cfg.Log.Dir, "audit.log")}, Log: a.log,
		Stream: audit.Stream(cfg.Log.Dir), Registerer: registry,
	})
	if err != nil {
		return nil, err
	}
	a.relay.Store(relay)

	schema, err := a.prepareSchema(ctx)
	if err != nil {
		return nil, err
	}
	probes, err := a.syntheticProbes()
	if err != nil {
		return nil, err
	}
	a.background(ctx, schema, a.relayAudit, a.deleteExpiredKeys, probes)

	pages, err := a.opsPages(ctx)
	if err != nil {
		return nil, err
	}
	requests, connections := httpLimits(cfg.Database, openFiles())
	a.server, err = httpapi.New(httpapi.Config{
		Addr: cfg.HTTP.Addr(), Version: opts.Version, OpsLoopbackOnly: cfg.Env == config.Production,
		Replicas: dbConfig.ReplicaURL != "", MaxRequests: requests, MaxConnections: connections,
		// The longest that the database layer may take, and a little to answer.
		RequestTimeout: cfg.Database.StatementTimeout + cfg.Database.OutageGrace + 10*time.Second,
	}, httpapi.Deps{
		Logger: a.log, Accounts: users, Catalog: catalog.New(a.db), Orders: a.orders, Audit: audit.NewReader(a.db), Health: a.health,
		Tracers: a.telemetry.Tracers(), Registerer: registry, Ops: pages,
	})
	if err != nil {
		return nil, err
	}
	addr, err := a.server.Listen(ctx)
	if err != nil {
		return nil, err
	}
	a.addr = addr.String()
	a.onClose("http", a.server.Shutdown)
	return a, nil
}

// Addr returns the address that the API listens on.
func (a *App) Addr() string { return a.addr }

// OpsAddr returns the address of the operators' listener, "" where they are on the API's.
func (a *App) OpsAddr() string { return a.opsAddr }

// DB returns the database, for commands and tests.
func (a *App) DB() *postgres.DB { return a.db }

// Run serves until ctx ends, then drains and closes everything. Requests in flight are finished, within the configured
// bound.
func (a *App) Run(ctx context.Context) error {
	serving := make(chan error, 1)
	go func() { serving <- a.server.Serve() }()
	a.log.LogAttrs(ctx, slog.LevelInfo, "listening", slog.String("addr", a.addr))

	var served error
	select {
	case served = <-serving:
	case <-ctx.Done():
		a.log.LogAttrs(ctx, slog.LevelInfo, "draining", slog.Duration("drain", a.cfg.Shutdown.Drain))
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.cfg.Shutdown.Timeout)
	defer cancel()
	if served == nil {
		a.drain(stop)
	}
	return errors.Join(served, a.Close(stop))
}

// drain keeps accepting while balancers learn from /readyz that no more should come.
func (a *App) drain(ctx context.Context) {
	a.server.Drain()
	timer := time.NewTimer(a.cfg.Shutdown.Drain)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Close takes everything down in the reverse order of New and returns what went wrong, by name. A second call returns
// the first one's result.
func (a *App) Close(ctx context.Context) error {
	a.once.Do(func() {
		var errs []error
		for _, c := range slices.Backward(a.closers) {
			if err := c.close(ctx); err != nil {
				errs = append(errs, fmt.Errorf("close %s: %w", c.name, err))
			}
		}
		a.closed = errors.Join(errs...)
	})
	return a.closed
}

func (a *App) onClose(name string, f func(context.Context) error) {
	a.closers = append(a.closers, closer{name, f})
}

// requestAttrs is what every line of a request carries.
func requestAttrs(ctx context.Context) []slog.Attr {
	if id := httpapi.RequestID(ctx); id != "" {
		return []slog.Attr{slog.String("requestId", id)} //nolint:sloglint // the contract's name
	}
	return nil
}

func databaseConfig(c config.Database, url string) postgres.Config {
	return postgres.Config{
		URL: url, SSL: c.SSL, SSLRootCert: c.SSLRootCert,
		ReplicaURL: c.ReplicaURL.Reveal(), ReplicaMaxLag: c.ReplicaMaxLag,
		PoolMin: c.PoolMin, PoolMax: c.PoolMax,
		IdleTimeout: c.IdleTimeout, ConnectTimeout: c.ConnectTimeout, MaxConnAge: c.MaxConnAge,
		StatementTimeout: c.StatementTimeout, HealthCheckInterval: c.HealthCheckInterval,
		Retry:            retry.Policy{Attempts: c.RetryAttempts, Base: c.RetryBase},
		BreakerThreshold: c.BreakerThreshold, BreakerTimeout: c.BreakerTimeout,
		OutageGrace: c.OutageGrace, MaxWaiting: c.MaxWaiting,
	}
}
