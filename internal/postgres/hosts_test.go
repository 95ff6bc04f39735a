package postgres_test

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"speedybites/internal/dbtest"
	"speedybites/internal/localpg"
	"speedybites/internal/pgtest"
	"speedybites/internal/postgres"
	"speedybites/internal/postgres/breaker"
	"speedybites/internal/postgres/cluster"
)

// hosts returns the server's URL with other hosts in place of its own.
func hosts(t *testing.T, server *localpg.Server, addrs ...string) string {
	t.Helper()
	return strings.Replace(server.URL(), server.Addr(), strings.Join(addrs, ","), 1)
}

// closedPort returns an address that refuses connections.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// TestSeveralHosts: with several hosts, of which the last is the primary, an outage of 5 s costs a delay, and
// recovery takes under 1 s while CLOSED.
func TestSeveralHosts(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	for n := 3; n <= 4; n++ {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			server := pgtest.Server(t)
			addrs := []string{server.Addr()}
			for len(addrs) < n {
				addrs = append([]string{closedPort(t)}, addrs...)
			}
			db := open(t, dbtest.Config(hosts(t, server, addrs...)))
			if err := read(t.Context(), db); err != nil {
				t.Fatal(err)
			}
			if err := server.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- read(t.Context(), db) }()
			time.Sleep(5 * time.Second)
			if err := server.StartAgain(t.Context()); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			if err := <-done; err != nil {
				t.Errorf("the query that an outage of 5 s should only have delayed: %v", err)
			}
			eventually(t, "the recovery", func() bool { return db.Status().Connected })
			took := time.Since(begin)
			t.Logf("recovered after %v", took)
			if took > 2*time.Second {
				t.Errorf("recovered after %v, want under 1 s", took)
			}
		})
	}
}

// TestHungPrimary: the first host hangs, the standby is promoted. The query must come through inside the grace.
func TestHungPrimary(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	primary := pgtest.Server(t)
	standby := pgtest.Standby(t, primary)
	db := open(t, dbtest.Config(hosts(t, primary, primary.Addr(), standby.Addr())))
	if err := primary.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := read(t.Context(), db); err != nil {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
	t.Logf("answered after %v", time.Since(begin))
}

// TestReturnedPrimary: after a failover the old primary comes back, still writable. Nothing may be written to it.
func TestReturnedPrimary(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	primary := pgtest.Server(t)
	ledger(t, primary)
	standby := pgtest.Standby(t, primary)
	db := open(t, dbtest.Config(hosts(t, primary, primary.Addr(), standby.Addr())))
	if _, err := insert(t.Context(), db, 1, true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the standby to have the row", func() bool { n, _ := rows(t, standby); return n == 1 })
	if err := primary.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := insert(t.Context(), db, 2, true); err != nil {
		t.Fatal(err)
	}
	if err := primary.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	// More at once than there are connections: the pool dials.
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			err := db.Write(t.Context(), "test.slow", func(ctx context.Context, tx *postgres.Tx) error {
				_, err := tx.Exec(ctx, "insert into ledger (id, request) select $1::int, $1::int from pg_sleep(0.5)", 10+i)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n, _ := rows(t, standby); n != 12 {
		old, _ := rows(t, primary)
		t.Errorf("the new primary has %d of 12 acknowledged writes, the old one %d", n, old)
	}
	eventually(t, "the old primary to be known", func() bool {
		h := db.Status().Hosts
		return h[0].Role == postgres.HostFormerPrimary && h[1].Role == postgres.HostPrimary
	})
	// So does what needs one connection only: the first host in the URL can be written to, and is the wrong one.
	dsn, err := postgres.FindPrimary(t.Context(), dbtest.Config(hosts(t, primary, primary.Addr(), standby.Addr())))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	if got := conn.Config().Port; int(got) != standby.Port() {
		t.Errorf("the primary is found at port %d, want %d", got, standby.Port())
	}
	_ = conn.Close(t.Context())
	// A process that has not seen any of it sees the higher timeline.
	if fresh := open(t, dbtest.Config(hosts(t, primary, primary.Addr(), standby.Addr()))); fresh.Status().Server != standby.Addr() {
		t.Errorf("a fresh process takes %s for the primary", fresh.Status().Server)
	}
}

// TestUselessHost: the other host refuses the password, or has no such database. That says nothing about the primary: its
// restart is bridged.
func TestUselessHost(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	for name, spoil := range map[string]string{
		"WrongPassword": "alter role " + localpg.User + " password 'another'",
		"NoDatabase":    "drop database speedybites",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary, useless := pgtest.Server(t), pgtest.Server(t)
			conn, err := pgx.Connect(t.Context(), useless.AdminURL("postgres"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Exec(t.Context(), spoil); err != nil {
				t.Fatal(err)
			}
			if name == "NoDatabase" { // the right password, then
				if _, err := conn.Exec(t.Context(), "alter role "+localpg.User+" password '"+password(t, primary)+"'"); err != nil {
					t.Fatal(err)
				}
			}
			_ = conn.Close(t.Context())
			db := open(t, dbtest.Config(hosts(t, primary, useless.Addr(), primary.Addr())))
			if err := primary.Kill(t.Context()); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- read(t.Context(), db) }()
			eventually(t, "the loss", func() bool { return !db.Status().Connected })
			if s := db.Status(); s.State != cluster.Lost {
				t.Errorf("the primary's loss is %q: %v", s.State, s.Err)
			}
			if err := primary.StartAgain(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Errorf("the query that should only have waited: %v", err)
			}
		})
	}
}

// TestPromotedBesideTheOld: a standby is promoted while the primary can still be reached and written to. Whoever promotes
// means it: the pool moves, without a query that fails and without waiting for the next full look, 30 s later.
func TestPromotedBesideTheOld(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	primary := pgtest.Server(t)
	ledger(t, primary)
	standby := pgtest.Standby(t, primary)
	db := open(t, dbtest.Config(hosts(t, primary, primary.Addr(), standby.Addr())))
	eventually(t, "both roles", func() bool {
		h := db.Status().Hosts
		return h[0].Role == postgres.HostPrimary && h[1].Role == postgres.HostStandby
	})
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	eventually(t, "the move", func() bool { return db.Status().Server == standby.Addr() })
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("moved after %v, want about a second", took)
	}
	for i := range 30 { // more than there are connections
		if _, err := insert(t.Context(), db, i+1, true); err != nil {
			t.Error(err)
		}
	}
	if n, _ := rows(t, standby); n != 30 {
		old, _ := rows(t, primary)
		t.Errorf("the new primary has %d of 30 writes, the old one %d", n, old)
	}
	if s := db.Status(); s.Breaker != breaker.Closed || s.Failures != 0 {
		t.Errorf("breaker: %+v", s.ServerStatus)
	}
}

// TestCancelRequestsHoldThePool: callers give up on a primary that hangs; pgx dials it to cancel their statements
// and waits 15 s for its answer. The new primary must not wait for that.
func TestCancelRequestsHoldThePool(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	primary := pgtest.Server(t)
	standby := pgtest.Standby(t, primary)
	cfg := dbtest.Config(hosts(t, primary, standby.Addr(), primary.Addr()))
	cfg.PoolMax = 4
	db := open(t, cfg)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 4 {
		wg.Go(func() {
			_ = db.Read(ctx, "test.sleep", func(ctx context.Context, q postgres.Querier) error {
				_, err := q.Exec(ctx, "select pg_sleep(60)")
				return err
			})
		})
	}
	eventually(t, "4 queries", func() bool { return db.Status().ActiveConnections == 4 })
	time.Sleep(200 * time.Millisecond)
	if err := primary.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	cancel()
	wg.Wait()
	eventually(t, "the loss", func() bool { return !db.Status().Connected })
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new primary", func() bool { return db.Status().Connected })
	begin := time.Now()
	if err := read(t.Context(), db); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("the first query after the reconnection took %v, want under 1 s", took)
	}
}

// TestInFlightOnAHungPrimary: the standby is promoted before the primary's silence is noticed, so that the prober
// finds it with the login that confirms the loss. A query in flight on the old primary must be cut all the same.
func TestInFlightOnAHungPrimary(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	primary := pgtest.Server(t)
	standby := pgtest.Standby(t, primary)
	db := open(t, dbtest.Config(hosts(t, primary, standby.Addr(), primary.Addr())))
	done := make(chan error, 1)
	go func() {
		done <- db.Read(t.Context(), "test.sleep", func(ctx context.Context, q postgres.Querier) error {
			_, err := q.Exec(ctx, "select pg_sleep(1)")
			return err
		})
	}()
	eventually(t, "the query", func() bool { return db.Status().ActiveConnections == 1 })
	time.Sleep(300 * time.Millisecond)
	if err := primary.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The contract's bound: 5 s to find it, the grace, 1 s.
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	case <-time.After(18 * time.Second):
		t.Errorf("a query has been on a hung primary for 18 s; connected %v", db.Status().Connected)
	}
}
