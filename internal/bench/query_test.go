//go:build bench

package bench

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace/noop"

	"speedybites/internal/dbtest"
	"speedybites/internal/pgtest"
	"speedybites/internal/postgres"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }

// The promises for the closed path of one query, over plain pgxpool with otelpgx.
const (
	maxOverhead = 2 * time.Microsecond
	maxAllocs   = 4
)

// plainPool is what a service without this package would use: pgxpool with otelpgx.
func plainPool(tb testing.TB, url string) *pgxpool.Pool {
	tb.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		tb.Fatal(err)
	}
	cfg.MaxConns, cfg.MinConns = 20, 2
	cfg.ConnConfig.Tracer = otelpgx.NewTracer(otelpgx.WithTracerProvider(noop.NewTracerProvider()),
		otelpgx.WithDisableAcquireTracer())
	pool, err := pgxpool.NewWithConfig(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

// TestClosedPath measures breaker, gate, prober and bookkeeping of one Read, by what they add to Acquire and Release
// of an idle connection. The statement itself is left out: its round trip is 20 times as long, and noisier than all that
// is measured here. The wrapped network connection is part of the statement, so that one is compared as well.
func TestClosedPath(t *testing.T) {
	url := pgtest.DB(t)
	pool, db := plainPool(t, url), dbtest.OpenDefault(t, url)
	ctx, cancel := context.WithCancel(t.Context()) // like a request's
	defer cancel()

	acquire := func() {
		conn, err := pool.Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		conn.Release()
	}
	nothing := func(context.Context, postgres.Querier) error { return nil }
	read := func() {
		if err := db.Read(ctx, "bench.nothing", nothing); err != nil {
			t.Fatal(err)
		}
	}
	path := compare(t, "closed path", 40, 20_000, acquire, read)
	extra := testing.AllocsPerRun(10_000, read) - testing.AllocsPerRun(10_000, acquire)
	t.Logf("closed path: Acquire+Release %v, Read %v; added: %v and %.0f allocations a query",
		path.plain, path.ours, path.ours-path.plain, extra)
	if path.ours-path.plain > maxOverhead {
		t.Errorf("the closed path adds %v a query, want at most %v", path.ours-path.plain, maxOverhead)
	}
	if extra > maxAllocs {
		t.Errorf("the closed path adds %.0f allocations a query, want at most %d", extra, maxAllocs)
	}

	var one int
	statement := func(q interface {
		QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	},
	) error {
		return q.QueryRow(ctx, "select 1").Scan(&one)
	}
	whole := compare(t, "select 1", 40, 2_000,
		func() {
			if err := statement(pool); err != nil {
				t.Fatal(err)
			}
		},
		func() {
			err := db.Read(ctx, "bench.one", func(_ context.Context, q postgres.Querier) error { return statement(q) })
			if err != nil {
				t.Fatal(err)
			}
		})
	t.Logf("select 1: pgxpool %v, Read %v; ratio %.3f (%.3f to %.3f in the middle half of the rounds)",
		whole.plain, whole.ours, whole.ratio, whole.low, whole.high)
}
