// Package dbtest gives tests the service's own way to a database of theirs. It is test support only; the servers and
// their faults are package pgtest's.
package dbtest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"speedybites/internal/migrate"
	"speedybites/internal/pgtest"
	"speedybites/internal/postgres"
	"speedybites/internal/postgres/retry"
)

// Main runs the tests of a package, whose pgtest.DB databases then have the service's schema, and returns the exit code.
func Main(m *testing.M) int {
	return pgtest.Main(m, func(ctx context.Context, url string) error {
		_, err := migrate.Up(ctx, url, slog.New(slog.DiscardHandler))
		return err
	})
}

// Config returns the documented default configuration for a database.
func Config(url string) postgres.Config {
	return postgres.Config{
		URL: url, PoolMin: 2, PoolMax: 20,
		IdleTimeout: 30 * time.Second, ConnectTimeout: 10 * time.Second, MaxConnAge: 2 * time.Hour,
		StatementTimeout: 30 * time.Second, HealthCheckInterval: 30 * time.Second,
		Retry:            retry.Policy{Attempts: 3, Base: 100 * time.Millisecond},
		BreakerThreshold: 5, BreakerTimeout: time.Minute, OutageGrace: 10 * time.Second, MaxWaiting: 1000,
		ReplicaMaxLag: 5 * time.Second,
	}
}

// Open opens a database by cfg, waits for the first look at it, and closes it when the test ends.
func Open(tb testing.TB, cfg postgres.Config, log *slog.Logger) *postgres.DB {
	tb.Helper()
	db, err := postgres.Open(cfg, postgres.Deps{Logger: log})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		db.Close(ctx)
	})
	if _, err := db.Verdict(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return db
}

// OpenDefault opens a database with the default configuration, quietly.
func OpenDefault(tb testing.TB, url string) *postgres.DB {
	tb.Helper()
	return Open(tb, Config(url), slog.New(slog.DiscardHandler))
}

// Raw returns plain connections to a database, for what the service would not do.
func Raw(tb testing.TB, url string) *pgxpool.Pool {
	tb.Helper()
	pool, err := pgxpool.New(tb.Context(), url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return pool
}
