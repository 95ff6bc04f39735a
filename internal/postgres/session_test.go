package postgres_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"speedybites/internal/dbtest"
	"speedybites/internal/localpg"
	"speedybites/internal/pgtest"
	"speedybites/internal/postgres"
	"speedybites/internal/postgres/breaker"
)

// TestCommitLimit: a COMMIT that waits for a standby is given up at the limit, also when the server has sent
// something before it. PostgreSQL itself disarms statement_timeout before it commits, so nobody else ends that wait.
func TestCommitLimit(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	for name, last := range map[string]string{
		"NoticeBefore": "do $$ begin raise notice 'x'; end $$",
		"RowsBefore":   "select repeat('x', 100) from generate_series(1, 1000)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Server(t)
			ledger(t, server)
			cfg := dbtest.Config(server.URL())
			cfg.StatementTimeout = 2 * time.Second
			db := open(t, cfg)
			if err := server.SetSettings(t.Context(), map[string]string{"synchronous_standby_names": "nobody"}); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			go func() {
				done <- db.Write(ctx, "test.commit", func(ctx context.Context, tx *postgres.Tx) error {
					b := &pgx.Batch{}
					b.Queue("insert into ledger (id, request) values (1, 1)")
					b.Queue(last)
					return tx.CommitWith(ctx, b)
				})
			}()
			select {
			case err := <-done:
				if err == nil {
					t.Error("acknowledged although no standby has it")
				}
			case <-time.After(15 * time.Second):
				t.Error("no answer after 15 s, with a statement limit of 2 s and a context of 5 s")
				if err := server.SetSettings(t.Context(), map[string]string{"synchronous_standby_names": ""}); err != nil {
					t.Fatal(err)
				}
				if err := <-done; err != nil {
					t.Log(err)
				}
			}
		})
	}
}

// TestNoticeLiftsTheLimit: the client's own limit must hold also after the server has said something.
func TestNoticeLiftsTheLimit(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	server := pgtest.Server(t)
	cfg := dbtest.Config(server.URL())
	cfg.StatementTimeout = 500 * time.Millisecond
	db := open(t, cfg)
	begin := time.Now()
	err := db.Read(t.Context(), "test.notice", func(ctx context.Context, q postgres.Querier) error {
		if _, err := q.Exec(ctx, "set statement_timeout = 0"); err != nil {
			return err
		}
		_, err := q.Exec(ctx, "do $$ begin raise notice 'x'; perform pg_sleep(8); end $$")
		return err
	})
	if took := time.Since(begin); took > 5*time.Second || !errors.Is(err, postgres.ErrStatementTimeout) {
		t.Errorf("got %v after %v, want ErrStatementTimeout after about 1.5 s", err, took)
	}
}

// TestProberWithoutASlot: the prober loses its session and finds the server full. The pool's sessions work, and
// must be left alone.
func TestProberWithoutASlot(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	db := open(t, dbtest.Config(server.URL()))
	if err := read(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	runs := 0
	err := db.Read(t.Context(), "test.once", func(ctx context.Context, q postgres.Querier) error {
		if runs++; runs > 1 {
			return nil
		}
		admin(t, server, func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.Exec(ctx, `alter role `+pgx.Identifier{localpg.User}.Sanitize()+` connection limit 1;
				select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'speedy-bites prober'`)
			return err
		})
		_, err := q.Exec(ctx, "select pg_sleep(3)")
		return err
	})
	if err != nil || runs > 1 {
		t.Errorf("got %v after %d runs: a working session was cut", err, runs)
	}
}

// TestSmartShutdown: the server waits for its sessions to end and lets nobody in. Once it is down and back, no
// query may have failed.
func TestSmartShutdown(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	server := pgtest.Server(t)
	db := open(t, dbtest.Config(server.URL()))
	if err := read(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	signalSmart(t, server)
	time.Sleep(300 * time.Millisecond)
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			err := db.Read(t.Context(), "test.sleep", func(ctx context.Context, q postgres.Querier) error {
				_, err := q.Exec(ctx, "select pg_sleep(1)")
				return err
			})
			if err != nil {
				t.Errorf("%v", err)
			}
		})
	}
	go func() {
		time.Sleep(5 * time.Second)
		_ = server.StartAgain(context.Background())
	}()
	wg.Wait()
	if s := db.Status(); s.Breaker != breaker.Closed {
		t.Errorf("breaker %v", s.Breaker)
	}
}

func TestReadAfterClose(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	db := open(t, dbtest.Config(server.URL()))
	db.Close(t.Context())
	begin := time.Now()
	err := read(t.Context(), db)
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("a query on a closed pool took %v: %v", took, err)
	}
}

func signalSmart(t *testing.T, server *localpg.Server) {
	t.Helper()
	p, err := os.FindProcess(server.Pid())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}
