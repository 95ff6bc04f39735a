package postgres_test

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"speedybites/internal/dbtest"
	"speedybites/internal/pgtest"
	"speedybites/internal/postgres"
	"speedybites/internal/postgres/breaker"
	"speedybites/internal/postgres/cluster"
)

// open opens a DB that logs to the test's output.
func open(tb testing.TB, cfg postgres.Config) *postgres.DB {
	tb.Helper()
	return dbtest.Open(tb, cfg, slog.New(slog.NewTextHandler(tb.Output(), nil)))
}

func selectOne(ctx context.Context, q postgres.Querier) error {
	var one int
	return q.QueryRow(ctx, "select 1").Scan(&one)
}

func read(ctx context.Context, db *postgres.DB) error { return db.Read(ctx, "test.read", selectOne) }

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s for %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestOutageWithoutGrace(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	cfg := dbtest.Config(server.URL())
	cfg.OutageGrace = 0
	db := open(t, cfg)
	if err := read(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 5; n++ {
		begin := time.Now()
		if err := read(t.Context(), db); !errors.Is(err, postgres.ErrUnavailable) {
			t.Fatalf("read %d: got %v, want ErrUnavailable", n, err)
		}
		if took := time.Since(begin); took < 300*time.Millisecond {
			t.Errorf("read %d gave up after %v, before its attempts at 100 and 300 ms", n, took)
		}
		if got := db.Status().Failures; got != n {
			t.Errorf("failures: got %d, want %d", got, n)
		}
	}
	if got := db.Status().Breaker; got != breaker.Open {
		t.Fatalf("breaker: got %v, want OPEN", got)
	}
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	eventually(t, "the breaker to close without traffic", func() bool { return db.Status().Breaker == breaker.Closed })
	t.Logf("closed %v after the server was back", time.Since(begin))
	if err := read(t.Context(), db); err != nil {
		t.Errorf("after the recovery: %v", err)
	}
}

func TestOutageWithinTheGrace(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	db := open(t, dbtest.Config(server.URL()))
	if err := server.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := read(t.Context(), db); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "50 parked queries", func() bool { return db.Status().WaitingQueue == 50 })
	if s := db.Status(); s.Connected || !s.InGrace || s.Breaker != breaker.Closed {
		t.Errorf("during the outage: %+v", s)
	}
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if s := db.Status(); s.WaitingQueue != 0 || s.Failures != 0 || len(s.Transitions) != 0 {
		t.Errorf("after the outage: %+v", s)
	}
}

func TestGraceEnds(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	cfg := dbtest.Config(server.URL())
	cfg.OutageGrace = time.Second
	db := open(t, cfg)
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := read(t.Context(), db); !errors.Is(err, postgres.ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
		})
	}
	wg.Wait()
	if got := db.Status().Failures; got != 4 {
		t.Errorf("failures: got %d, want one for each of 4 queries", got)
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	with := func(t *testing.T, change func(*url.URL)) string {
		t.Helper()
		u, err := url.Parse(server.URL())
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		return u.String()
	}
	for _, c := range []struct {
		name string
		url  string
		want cluster.State
	}{
		{"WrongPassword", with(t, func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "wrong-secret") }), cluster.AuthenticationFailed},
		{"MissingDatabase", with(t, func(u *url.URL) { u.Path = "/nowhere" }), cluster.DatabaseMissing},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db := open(t, dbtest.Config(c.url))
			for range 20 {
				begin := time.Now()
				err := read(t.Context(), db)
				if !errors.Is(err, postgres.ErrUnavailable) {
					t.Fatalf("got %v, want ErrUnavailable", err)
				}
				if took := time.Since(begin); took > 5*time.Second {
					t.Errorf("waited %v for what waiting cannot mend", took)
				}
				if strings.Contains(err.Error(), "wrong-secret") {
					t.Errorf("the error tells the password: %v", err)
				}
			}
			if s := db.Status(); s.State != c.want || s.Failures != 0 || s.Breaker != breaker.Closed {
				t.Errorf("got %+v, want %v and nothing counted", s, c.want)
			}
		})
	}
}

func TestStartsWithTheDatabaseDown(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	db := open(t, dbtest.Config(server.URL()))
	if s := db.Status(); s.Connected || s.EverConnected || !s.InGrace {
		t.Errorf("got %+v", s)
	}
	done := make(chan error, 1)
	go func() { done <- read(t.Context(), db) }()
	eventually(t, "a parked query", func() bool { return db.Status().WaitingQueue == 1 })
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTerminatedSessions(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	server := pgtest.Server(t)
	db := open(t, dbtest.Config(server.URL()))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := read(t.Context(), db); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 15 {
		time.Sleep(200 * time.Millisecond)
		if _, err := server.TerminateBackends(t.Context()); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	if s := db.Status(); len(s.Transitions) != 0 {
		t.Errorf("transitions %v", s.Transitions)
	}
}

func TestStatementLimit(t *testing.T) { //nolint:tparallel // the subtests share a pool that they wear out
	t.Parallel()
	server := pgtest.Server(t)
	cfg := dbtest.Config(server.URL())
	cfg.StatementTimeout = 500 * time.Millisecond
	db := open(t, cfg)
	sleep := func(setup string) error {
		return db.Read(t.Context(), "test.sleep", func(ctx context.Context, q postgres.Querier) error {
			if _, err := q.Exec(ctx, setup); err != nil {
				return err
			}
			_, err := q.Exec(ctx, "select pg_sleep(60)")
			return err
		})
	}
	t.Run("OnTheServer", func(t *testing.T) {
		if err := sleep("select 1"); !errors.Is(err, postgres.ErrStatementTimeout) {
			t.Errorf("got %v, want ErrStatementTimeout", err)
		}
	})
	t.Run("OnTheClient", func(t *testing.T) {
		begin := time.Now()
		if err := sleep("set statement_timeout = 0"); !errors.Is(err, postgres.ErrStatementTimeout) {
			t.Errorf("got %v, want ErrStatementTimeout", err)
		}
		t.Logf("cut after %v", time.Since(begin))
	})
	if s := db.Status(); s.Failures != 0 {
		t.Errorf("failures: got %d, want 0", s.Failures)
	}
}

func TestNothingButConnectionsCounts(t *testing.T) {
	t.Parallel()
	db := open(t, dbtest.Config(pgtest.Server(t).URL()))
	for range 10 {
		err := db.Read(t.Context(), "test.syntax", func(ctx context.Context, q postgres.Querier) error {
			_, err := q.Exec(ctx, "selec 1")
			return err
		})
		if err == nil || errors.Is(err, postgres.ErrUnavailable) {
			t.Errorf("syntax error: got %v", err)
		}
		err = db.Read(t.Context(), "test.none", func(ctx context.Context, q postgres.Querier) error {
			return q.QueryRow(ctx, "select 1 where false").Scan(new(int))
		})
		if !errors.Is(err, pgx.ErrNoRows) {
			t.Errorf("no rows: got %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err = db.Read(ctx, "test.cancelled", func(ctx context.Context, q postgres.Querier) error {
			_, err := q.Exec(ctx, "select pg_sleep(60)")
			return err
		})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, postgres.ErrUnavailable) {
			t.Errorf("cancelled: got %v", err)
		}
	}
	if s := db.Status(); s.Failures != 0 || s.Breaker != breaker.Closed {
		t.Errorf("got %v with %d failures", s.Breaker, s.Failures)
	}
}

func TestHungServer(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	server := pgtest.Server(t)
	cfg := dbtest.Config(server.URL())
	cfg.OutageGrace = 2 * time.Second
	db := open(t, cfg)
	if err := server.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := read(t.Context(), db); !errors.Is(err, postgres.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	// The contract's bound: 5 s to find it, the grace, 1 s.
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("a request on a hung server took %v", took)
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the recovery", func() bool { return read(t.Context(), db) == nil })
}
