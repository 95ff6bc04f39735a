package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"speedybites/internal/dbtest"
	"speedybites/internal/localpg"
	"speedybites/internal/pgtest"
	"speedybites/internal/postgres"
)

// ledger is a table whose rows stand for requests: a second row of one request is a doubled write.
func ledger(t *testing.T, server *localpg.Server) {
	t.Helper()
	admin(t, server, func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, `create table ledger (id int primary key, request int not null, note text);
			grant all on ledger to public`)
		return err
	})
}

func admin(t *testing.T, server *localpg.Server, f func(context.Context, *pgx.Conn) error) {
	t.Helper()
	ctx := t.Context()
	c, err := pgx.Connect(ctx, server.AdminURL(""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }()
	if err := f(ctx, c); err != nil {
		t.Fatal(err)
	}
}

// rows returns how many rows the ledger has and how many requests they are of.
func rows(t *testing.T, server *localpg.Server) (rows, requests int) {
	t.Helper()
	admin(t, server, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, "select count(*), count(distinct request) from ledger").Scan(&rows, &requests)
	})
	return rows, requests
}

// insert writes one row the way every write of the service does: its key is drawn before, and a repeated run finds it.
func insert(ctx context.Context, db *postgres.DB, id int, batch bool) (resolved bool, err error) {
	err = db.Write(ctx, "test.insert", func(ctx context.Context, tx *postgres.Tx) error {
		resolved = false
		const sql = "insert into ledger (id, request) values ($1, $1) on conflict (id) do nothing"
		b := &pgx.Batch{}
		var inserted int64
		if batch {
			tag, err := tx.Exec(ctx, sql, id)
			if err != nil {
				return err
			}
			inserted = tag.RowsAffected()
			b.Queue("update ledger set note = 'x' where id = $1", id)
			if err := tx.CommitWith(ctx, b); err != nil {
				return err
			}
		} else {
			b.Queue(sql, id)
			results := tx.SendBatch(ctx, b)
			tag, err := results.Exec()
			if err := errors.Join(err, results.Close()); err != nil {
				return err
			}
			inserted = tag.RowsAffected()
		}
		if inserted == 0 {
			if !tx.InDoubt() {
				return fmt.Errorf("row %d is there, but nothing is in doubt", id)
			}
			resolved = true
		}
		return nil
	})
	return resolved, err
}

func TestWrite(t *testing.T) { //nolint:tparallel // the subtests count the rows of one table
	t.Parallel()
	server := pgtest.Server(t)
	ledger(t, server)
	db := open(t, dbtest.Config(server.URL()))

	t.Run("Commits", func(t *testing.T) {
		for id, batch := range []bool{true, false} {
			if _, err := insert(t.Context(), db, id, batch); err != nil {
				t.Errorf("batch %v: %v", batch, err)
			}
		}
		if n, _ := rows(t, server); n != 2 {
			t.Errorf("rows: got %d, want 2", n)
		}
	})

	t.Run("RollsBackOnError", func(t *testing.T) {
		boom := errors.New("boom")
		err := db.Write(t.Context(), "test.fail", func(ctx context.Context, tx *postgres.Tx) error {
			if _, err := tx.Exec(ctx, "insert into ledger values (100, 100)"); err != nil {
				return err
			}
			return boom
		})
		if !errors.Is(err, boom) {
			t.Errorf("got %v, want the function's error", err)
		}
		if n, _ := rows(t, server); n != 2 {
			t.Errorf("rows: got %d, want 2", n)
		}
	})

	t.Run("RollsBackOnPanic", func(t *testing.T) {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic did not reach the caller")
				}
			}()
			_ = db.Write(t.Context(), "test.panic", func(ctx context.Context, tx *postgres.Tx) error {
				_, _ = tx.Exec(ctx, "insert into ledger values (101, 101)")
				panic("boom")
			})
		}()
		if n, _ := rows(t, server); n != 2 {
			t.Errorf("rows: got %d, want 2", n)
		}
		eventually(t, "the connection to be given back", func() bool { return db.Status().ActiveConnections == 0 })
	})

	t.Run("ReportsAStatementOfTheLastBatch", func(t *testing.T) {
		err := db.Write(t.Context(), "test.duplicate", func(ctx context.Context, tx *postgres.Tx) error {
			b := &pgx.Batch{}
			b.Queue("insert into ledger values (102, 102)")
			b.Queue("insert into ledger values (0, 0)")
			return tx.CommitWith(ctx, b)
		})
		if got := postgres.Violation(err); got != "ledger_pkey" {
			t.Errorf("violation: got %q (%v), want ledger_pkey", got, err)
		}
		if n, _ := rows(t, server); n != 2 {
			t.Errorf("rows: got %d, want 2", n)
		}
	})

	t.Run("RetriesAConflict", func(t *testing.T) {
		var runs atomic.Int32
		err := db.Write(t.Context(), "test.conflict", func(ctx context.Context, tx *postgres.Tx) error {
			if runs.Add(1) < 3 {
				_, err := tx.Exec(ctx, "do $$ begin raise serialization_failure; end $$")
				return err
			}
			return nil
		})
		if err != nil || runs.Load() != 3 {
			t.Errorf("got %v after %d runs, want success in the third", err, runs.Load())
		}
		runs.Store(-10)
		err = db.Write(t.Context(), "test.conflict", func(ctx context.Context, tx *postgres.Tx) error {
			runs.Add(1)
			_, err := tx.Exec(ctx, "do $$ begin raise deadlock_detected; end $$")
			return err
		})
		if !errors.Is(err, postgres.ErrConflict) || runs.Load() != -7 {
			t.Errorf("got %v after %d runs, want ErrConflict after 3", err, runs.Load()+10)
		}
	})

	t.Run("BackgroundRunsOnce", func(t *testing.T) {
		runs := 0
		err := db.Background(t.Context(), "test.background", func(ctx context.Context, tx *postgres.Tx) error {
			runs++
			_, err := tx.Exec(ctx, "do $$ begin raise serialization_failure; end $$")
			return err
		})
		if !errors.Is(err, postgres.ErrConflict) || runs != 1 {
			t.Errorf("got %v after %d runs", err, runs)
		}
	})
}

// TestCommitInDoubt has the server make 16 commits durable without answering, and then dies. Each write must be there
// once, and each caller must be told so.
func TestCommitInDoubt(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	ledger(t, server)
	db := open(t, dbtest.Config(server.URL()))
	ctx := t.Context()
	if err := server.SetSettings(ctx, map[string]string{"synchronous_standby_names": "nobody"}); err != nil {
		t.Fatal(err)
	}
	var resolved atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			again, err := insert(ctx, db, 1000+i, i%2 == 0)
			if err != nil {
				t.Error(err)
			}
			if again {
				resolved.Add(1)
			}
		})
	}
	waiting := func() (n int) {
		admin(t, server, func(ctx context.Context, c *pgx.Conn) error {
			return c.QueryRow(ctx, "select count(*) from pg_stat_activity where wait_event = 'SyncRep'").Scan(&n)
		})
		return n
	}
	eventually(t, "16 commits without an answer", func() bool { return waiting() == 16 })
	if err := server.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	if err := server.SetSettings(ctx, map[string]string{"synchronous_standby_names": ""}); err != nil {
		t.Fatal(err)
	}
	if err := server.StartAgain(ctx); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if n, requests := rows(t, server); n != 16 || requests != 16 {
		t.Errorf("%d rows of %d requests, want 16 of 16", n, requests)
	}
	if resolved.Load() != 16 {
		t.Errorf("%d of 16 writes found their own earlier attempt", resolved.Load())
	}
}

// TestCommitInDoubtWhileTheServerLives cuts the connection under commits that the server still works on: the repeated
// run must wait for the first one's fate instead of guessing.
func TestCommitInDoubtWhileTheServerLives(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	ledger(t, server)
	proxy := pgtest.Proxy(t, server.Addr())
	db := open(t, dbtest.Config(proxy.URL(server.URL())))
	ctx := t.Context()
	if err := server.SetSettings(ctx, map[string]string{"synchronous_standby_names": "nobody"}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := insert(ctx, db, 1, true)
		done <- err
	}()
	syncRep := func(want int) func() bool {
		return func() bool {
			n := 0
			admin(t, server, func(ctx context.Context, c *pgx.Conn) error {
				return c.QueryRow(ctx, "select count(*) from pg_stat_activity where wait_event in ('SyncRep', 'transactionid')").Scan(&n)
			})
			return n == want
		}
	}
	eventually(t, "a commit without an answer", syncRep(1))
	proxy.Cut()
	eventually(t, "the second attempt to wait for the first", syncRep(2))
	if err := server.SetSettings(ctx, map[string]string{"synchronous_standby_names": ""}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("no answer")
	}
	if n, _ := rows(t, server); n != 1 {
		t.Errorf("rows: got %d, want 1", n)
	}
}
