package synthetic_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"speedybites/internal/dbtest"
	"speedybites/internal/localpg"
	"speedybites/internal/pgtest"
	"speedybites/internal/postgres"
	"speedybites/internal/postgres/breaker"
	"speedybites/internal/postgres/retry"
	"speedybites/internal/synthetic"
)

func TestSuccess(t *testing.T) {
	t.Parallel()
	url := pgtest.DB(t)
	raw := dbtest.Raw(t, url)
	if _, err := raw.Exec(t.Context(), `INSERT INTO synthetic_probe VALUES
		('yesterday', now() - interval '25 hours'), ('today', now() - interval '23 hours')`); err != nil {
		t.Fatal(err)
	}
	spans := tracetest.NewSpanRecorder()
	f := start(t, dbtest.Config(url), func(c *synthetic.Config) {
		c.Tracers = trace.NewTracerProvider(trace.WithSpanProcessor(spans))
	})
	f.eventually("both probes to succeed twice", f.both(func(probe string) bool {
		return f.value("runs_total", probe, "success") >= 2 && f.succeeds(probe)
	}))
	for _, probe := range []string{"db_read", "db_write"} {
		if got := f.value("last_success_timestamp_seconds", probe); time.Since(time.Unix(int64(got), 0)) > time.Hour {
			t.Errorf("%s: last success at %v", probe, got)
		}
		if got := f.value("duration_seconds", probe); got < 2 {
			t.Errorf("%s: %v durations, want at least 2", probe, got)
		}
		if got := f.log.of(t, probe); len(got) > 0 {
			t.Errorf("%s: logged %v, want nothing", probe, got)
		}
	}
	rows, err := raw.Query(t.Context(), `SELECT instance FROM synthetic_probe ORDER BY instance`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if diff := cmp.Diff([]string{"here", "today"}, got); err != nil || diff != "" {
		t.Errorf("instances (-want +got): %v\n%s", err, diff)
	}
	if ended := spans.Ended(); len(ended) == 0 || ended[0].Parent().IsValid() || !strings.HasPrefix(ended[0].Name(), "synthetic ") {
		t.Errorf("spans: got %v, want a trace for each probe", ended)
	}
}

// TestOutage: an outage is on record, and not one failure is counted by the breaker but the users'.
func TestOutage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		grace time.Duration
	}{{"WithinTheGrace", time.Hour}, {"WithoutGrace", 0}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := server(t)
			cfg := dbtest.Config(s.URL())
			cfg.OutageGrace = c.grace
			cfg.Retry = retry.Policy{Attempts: 2, Base: time.Second}
			f := start(t, cfg, nil)
			f.eventually("success", f.both(f.succeeds))
			if err := s.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.eventually("probes that see the outage", f.both(func(probe string) bool {
				return f.value("runs_total", probe, "disconnected") >= 10 && f.value("success", probe) == 0
			}))
			if s := f.db.Status(); s.Failures != 0 || len(s.Transitions) != 0 || s.WaitingQueue != 0 {
				t.Fatalf("in the outage: %d failures, %v, %d waiting, want none", s.Failures, s.Transitions, s.WaitingQueue)
			}
			if c.grace == 0 {
				f.fiveFailures()
			}
			if err := s.StartAgain(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.eventually("success again", f.both(f.succeeds))
			if got := f.db.Status().Breaker; got != breaker.Closed {
				t.Errorf("breaker: got %v, want CLOSED", got)
			}
			for _, probe := range []string{"db_read", "db_write"} {
				// The first probe to see the loss may have been under way: what it says of it is up to the moment.
				got := f.log.of(t, probe)
				if len(got) != 2 || !strings.HasPrefix(got[0], "WARN synthetic probe failing ") || got[1] != "INFO synthetic probe succeeds again" {
					t.Errorf("%s: logged %q, want one line for the beginning and one for the end", probe, got)
				}
			}
		})
	}
}

// TestNeverConnected: a database that is known to be away is not asked, not even once.
func TestNeverConnected(t *testing.T) {
	t.Parallel()
	s := pgtest.Server(t)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg := dbtest.Config(s.URL())
	cfg.OutageGrace, cfg.Retry.Attempts = 0, 1 // the first attempt of a query would be counted
	f := start(t, cfg, nil)
	f.eventually("probes", f.both(func(probe string) bool { return f.value("runs_total", probe, "disconnected") >= 10 }))
	if s := f.db.Status(); s.Failures != 0 || s.Breaker != breaker.Closed {
		t.Errorf("got %d failures and %v, want none and CLOSED", s.Failures, s.Breaker)
	}
	if got := f.value("duration_seconds", "db_read") + f.value("duration_seconds", "db_write"); got != 0 {
		t.Errorf("got %v durations, want none without a query", got)
	}
}

// fiveFailures makes five requests fail and counts along.
func (f *fixture) fiveFailures() {
	f.t.Helper()
	for n := 1; n <= 5; n++ {
		err := f.db.Read(f.t.Context(), "test.read", func(ctx context.Context, q postgres.Querier) error {
			_, err := q.Exec(ctx, "select 1")
			return err
		})
		if s := f.db.Status(); !errors.Is(err, postgres.ErrUnavailable) || s.Failures != n {
			f.t.Errorf("request %d: %d failures, %v; want ErrUnavailable and %d failures", n, s.Failures, err, n)
		}
	}
	f.eventually("rejected probes", f.both(func(probe string) bool { return f.value("runs_total", probe, "rejected") >= 2 }))
}

// TestFullServer: a server without a free connection (53300) is never lost, so that only a query can find out that it
// has room again. Nobody makes one but the probes.
func TestFullServer(t *testing.T) {
	t.Parallel()
	s := server(t, func(c *localpg.Config) { c.Settings = map[string]string{"max_connections": "12"} })
	cfg := dbtest.Config(s.URL())
	cfg.PoolMin, cfg.BreakerTimeout = 0, 300*time.Millisecond
	cfg.Retry.Base = 5 * time.Millisecond
	var taken []*pgx.Conn
	f := start(t, cfg, func(c *synthetic.Config) {
		// Its pool has no connection yet, and now there is none to be had.
		taken = exhaust(t, pgtest.AsAdmin(t, s.URL()))
	})
	f.eventually("the breaker to open", func() bool { return f.db.Status().Breaker == breaker.Open })
	f.eventually("failed and rejected probes", func() bool {
		return f.value("runs_total", "db_read", "failure")+f.value("runs_total", "db_write", "failure") >= 5 &&
			f.value("runs_total", "db_read", "rejected") > 0 && f.value("runs_total", "db_write", "rejected") > 0
	})
	if s := f.db.Status(); !s.Connected {
		t.Fatalf("the reconnector has lost a server that is only full: %v", s.Err)
	}
	for _, conn := range taken {
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	f.eventually("the breaker to close", func() bool { return f.db.Status().Breaker == breaker.Closed })
	f.eventually("success", f.both(f.succeeds))
}

// exhaust takes every connection that a server has.
func exhaust(t *testing.T, url string) (taken []*pgx.Conn) {
	t.Helper()
	for len(taken) < 100 {
		conn, err := pgx.Connect(t.Context(), url)
		if pgErr := (*pgconn.PgError)(nil); errors.As(err, &pgErr) && pgErr.Code == "53300" {
			return taken
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		taken = append(taken, conn)
	}
	t.Fatal("the server has more connections than expected")
	return nil
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	url := pgtest.DB(t)
	lock, err := dbtest.Raw(t, url).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Rollback(context.Background()) })
	if _, err := lock.Exec(t.Context(), `LOCK TABLE synthetic_probe IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	f := start(t, dbtest.Config(url), func(c *synthetic.Config) { c.Timeout = 500 * time.Millisecond })
	f.eventually("timeouts", f.both(func(probe string) bool { return f.value("runs_total", probe, "timeout") >= 2 }))
	if s := f.db.Status(); s.Failures != 0 {
		t.Errorf("%d failures counted, want none", s.Failures)
	}
	if err := lock.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.eventually("success", f.both(f.succeeds))
}

func TestNew(t *testing.T) {
	t.Parallel()
	good := synthetic.Config{
		DB: dbtest.OpenDefault(t, pgtest.DB(t)), Interval: time.Second, Logger: slog.New(slog.DiscardHandler), Instance: "here",
	}
	if _, err := synthetic.New(good); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*synthetic.Config){
		"Database": func(c *synthetic.Config) { c.DB = nil },
		"Logger":   func(c *synthetic.Config) { c.Logger = nil },
		"Interval": func(c *synthetic.Config) { c.Interval = 0 },
		"Timeout":  func(c *synthetic.Config) { c.Timeout = -1 },
		"Nameless": func(c *synthetic.Config) { c.Instance = "" },
		"LongName": func(c *synthetic.Config) { c.Instance = strings.Repeat("ä", 256) },
	} {
		bad := good
		change(&bad)
		if _, err := synthetic.New(bad); err == nil {
			t.Errorf("%s: New succeeded", name)
		}
	}
}

func TestQueries(t *testing.T) {
	t.Parallel()
	dbtest.Queries(t, synthetic.Queries())
}
