package postgres_test

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"speedybites/internal/dbtest"
	"speedybites/internal/pgtest"
	"speedybites/internal/postgres"
)

// slowLog takes a moment for one kind of line, as a busy machine may take anywhere: between cutting the sessions with the
// old server and telling everybody of the new one.
type slowLog struct{ slog.Handler }

func (h slowLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "database sessions given up" {
		time.Sleep(20 * time.Millisecond)
	}
	return h.Handler.Handle(ctx, r)
}

func (h slowLog) WithAttrs(a []slog.Attr) slog.Handler { return slowLog{h.Handler.WithAttrs(a)} }
func (h slowLog) WithGroup(n string) slog.Handler      { return slowLog{h.Handler.WithGroup(n)} }

// TestSwitchUnderLoad: a hung primary is replaced while queries wait for a connection. When it wakes up, nobody is
// there any more: it would take their writes.
func TestSwitchUnderLoad(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	primary := pgtest.Server(t)
	ledger(t, primary)
	standby := pgtest.Standby(t, primary)
	cfg := dbtest.Config(hosts(t, primary, primary.Addr(), standby.Addr()))
	cfg.PoolMax = 4
	db := dbtest.Open(t, cfg, slog.New(slowLog{slog.NewTextHandler(t.Output(), nil)}))
	ctx, cancel := context.WithCancel(t.Context())
	var acknowledged, next atomic.Int64
	var mu sync.Mutex
	told := map[int]bool{}
	var wg sync.WaitGroup
	// Connections that have been idle are pinged before their use.
	for range cfg.PoolMax {
		wg.Go(func() {
			_ = db.Read(ctx, "test", func(ctx context.Context, q postgres.Querier) error {
				_, err := q.Exec(ctx, "select pg_sleep(0.2)")
				return err
			})
		})
	}
	wg.Wait()
	time.Sleep(3 * time.Second)
	if err := primary.Pause(ctx); err != nil {
		t.Fatal(err)
	}
	for range 40 {
		wg.Go(func() {
			for ctx.Err() == nil {
				n := int(next.Add(1))
				if _, err := insert(context.Background(), db, n, true); err == nil {
					acknowledged.Add(1)
					mu.Lock()
					told[n] = true
					mu.Unlock()
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	time.Sleep(2700 * time.Millisecond) // the heartbeat that finds the silence is about to end
	if err := standby.Promote(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other server", func() bool { return db.Status().Server == standby.Addr() })
	if err := primary.Resume(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	var sessions int
	admin(t, primary, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, "select count(*) from pg_stat_activity where application_name = 'speedy-bites'").Scan(&sessions)
	})
	if sessions > 0 {
		t.Errorf("%d sessions with the former primary", sessions)
	}
	cancel()
	wg.Wait()
	var there []int
	admin(t, standby, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, "select array_agg(id) from ledger").Scan(&there)
	})
	for _, n := range there {
		delete(told, n)
	}
	t.Logf("%d acknowledged, %d in the database", acknowledged.Load(), len(there))
	if len(told) > 0 {
		t.Errorf("%d acknowledged rows are lost", len(told))
	}
}
