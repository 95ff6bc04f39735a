package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
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
)

// openWithReplicas opens a DB whose queries are the tests'; change may be nil.
func openWithReplicas(t *testing.T, change func(*postgres.Config), primary *localpg.Server, replicas ...*localpg.Server) *postgres.DB {
	t.Helper()
	db, _ := openLogged(t, change, primary, replicas...)
	return db
}

// openLogged is openWithReplicas with what the DB logs.
func openLogged(t *testing.T, change func(*postgres.Config), primary *localpg.Server, replicas ...*localpg.Server) (*postgres.DB, *logged) {
	t.Helper()
	cfg := dbtest.Config(primary.URL())
	addrs := make([]string, len(replicas))
	for i, r := range replicas {
		addrs[i] = r.Addr()
	}
	cfg.ReplicaURL = hosts(t, primary, addrs...)
	if change != nil {
		change(&cfg)
	}
	log := &logged{}
	db, err := postgres.Open(cfg, postgres.Deps{
		Logger:  slog.New(slog.NewTextHandler(log, nil)),
		Queries: []string{"test.read", "test.write", "other.read"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close(context.Background()) })
	if _, err := db.Verdict(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db, log
}

type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) has(parts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		found := true
		for _, part := range parts {
			found = found && strings.Contains(line, part)
		}
		if found {
			return true
		}
	}
	return false
}

// tolerant is a context whose reads may go to a replica.
func tolerant(ctx context.Context, after postgres.Position) context.Context {
	return postgres.WithConsistency(ctx, &postgres.Consistency{Replica: true, After: after})
}

// servedBy returns "replica" or "primary", whichever answers a read.
func servedBy(ctx context.Context, db *postgres.DB, name string) (string, error) {
	var standby bool
	err := db.Read(ctx, name, func(ctx context.Context, q postgres.Querier) error {
		return q.QueryRow(ctx, "select pg_is_in_recovery()").Scan(&standby)
	})
	if standby {
		return "replica", err
	}
	return "primary", err
}

func wantServedBy(ctx context.Context, t *testing.T, db *postgres.DB, name, want string) {
	t.Helper()
	if got, err := servedBy(ctx, db, name); err != nil || got != want {
		t.Errorf("%s was served by the %s (%v), want the %s", name, got, err, want)
	}
}

func eventuallyUse(t *testing.T, db *postgres.DB, want postgres.ReplicaState) {
	t.Helper()
	eventually(t, fmt.Sprintf("a replica that is %q", want), func() bool { return db.Status().Replicas[0].Use == want })
}

// write commits a row and returns the position of the commit.
func write(t *testing.T, db *postgres.DB) postgres.Position {
	t.Helper()
	c := &postgres.Consistency{}
	err := db.Write(postgres.WithConsistency(t.Context(), c), "test.write", func(ctx context.Context, tx *postgres.Tx) error {
		_, err := tx.Exec(ctx, "insert into ledger (id, request) values (1, 1)")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Written() == 0 {
		t.Error("a write has no position")
	}
	return c.Written()
}

// password is the one of the server's users.
func password(t *testing.T, server *localpg.Server) string {
	t.Helper()
	u, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	p, _ := u.User.Password()
	return p
}

// replay pauses or resumes what a standby replays.
func replay(t *testing.T, standby *localpg.Server, on bool) {
	t.Helper()
	admin(t, standby, func(ctx context.Context, conn *pgx.Conn) error {
		if on {
			_, err := conn.Exec(ctx, "select pg_wal_replay_resume()")
			return err
		}
		if _, err := conn.Exec(ctx, "select pg_wal_replay_pause()"); err != nil {
			return err
		}
		for state := ""; state != "paused"; {
			if err := conn.QueryRow(ctx, "select pg_get_wal_replay_pause_state()").Scan(&state); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestReplicaReads: who reads where, and that nobody misses a write that must be seen.
func TestReplicaReads(t *testing.T) {
	t.Parallel()
	primary := pgtest.Server(t)
	ledger(t, primary)
	standby := pgtest.Standby(t, primary)
	db := openWithReplicas(t, nil, primary, standby)
	eventuallyUse(t, db, postgres.ReplicaUsable)
	ctx := t.Context()

	wantServedBy(ctx, t, db, "test.read", "primary")
	wantServedBy(postgres.WithConsistency(ctx, &postgres.Consistency{}), t, db, "test.read", "primary")
	wantServedBy(tolerant(ctx, 0), t, db, "test.read", "replica")

	replay(t, standby, false)
	position := write(t, db)
	wantServedBy(tolerant(ctx, position), t, db, "other.read", "primary")
	wantServedBy(tolerant(ctx, position-1), t, db, "other.read", "primary") // the standby has not even that
	// The group was written by this process; another one was not, and its replica is fresh enough.
	wantServedBy(tolerant(ctx, 0), t, db, "test.read", "primary")
	wantServedBy(tolerant(ctx, 0), t, db, "other.read", "replica")

	replay(t, standby, true)
	eventually(t, "the standby to have the write", func() bool { n, _ := rows(t, standby); return n == 1 })
	eventually(t, "the replica to serve it", func() bool {
		got, err := servedBy(tolerant(ctx, position), db, "test.read")
		if err != nil {
			t.Error(err)
		}
		return got == "replica"
	})

	// A request that has written reads the latest itself.
	c := &postgres.Consistency{Replica: true}
	ctx = postgres.WithConsistency(ctx, c)
	err := db.Write(ctx, "test.write", func(ctx context.Context, tx *postgres.Tx) error {
		b := &pgx.Batch{}
		b.Queue("insert into ledger (id, request) values (2, 2)")
		return tx.CommitWith(ctx, b)
	})
	if err != nil || c.Written() <= position {
		t.Errorf("written at %v (%v), the write before at %v", c.Written(), err, position)
	}
	wantServedBy(ctx, t, db, "other.read", "primary")
}

// TestReplicaLags: a standby that stops replaying gets no reads once it is too far behind, by name, and gets them again.
func TestReplicaLags(t *testing.T) {
	t.Parallel()
	primary := pgtest.Server(t)
	ledger(t, primary)
	standby := pgtest.Standby(t, primary)
	db, log := openLogged(t, func(cfg *postgres.Config) { cfg.ReplicaMaxLag = 700 * time.Millisecond }, primary, standby)
	eventuallyUse(t, db, postgres.ReplicaUsable)

	// Nobody writes: the standby has everything, however long ago that was.
	time.Sleep(2 * time.Second)
	wantServedBy(tolerant(t.Context(), 0), t, db, "other.read", "replica")

	replay(t, standby, false)
	write(t, db)
	eventuallyUse(t, db, postgres.ReplicaLagging)
	wantServedBy(tolerant(t.Context(), 0), t, db, "other.read", "primary")
	eventually(t, "the log to say so", func() bool { return log.has("replica gets no reads", standby.Addr(), "Lagging") })
	if r := db.Status().Replicas[0]; !r.LagKnown || r.Lag < 700*time.Millisecond || r.Server != standby.Addr() || !r.Connected {
		t.Errorf("status: %+v", r)
	}
	replay(t, standby, true)
	eventuallyUse(t, db, postgres.ReplicaUsable)
	wantServedBy(tolerant(t.Context(), 0), t, db, "other.read", "replica")
	if log.has("pooler") {
		t.Error("a server of its own is taken for a pooler")
	}
}

// TestReadsWithoutAPrimary: every read goes to the replica, however far behind; writes wait, and fail after the grace.
func TestReadsWithoutAPrimary(t *testing.T) {
	t.Parallel()
	primary := pgtest.Server(t)
	ledger(t, primary)
	standby := pgtest.Standby(t, primary)
	db := openWithReplicas(t, func(cfg *postgres.Config) {
		cfg.OutageGrace, cfg.ReplicaMaxLag = time.Second, 500*time.Millisecond
	}, primary, standby)
	eventuallyUse(t, db, postgres.ReplicaUsable)
	replay(t, standby, false)
	write(t, db)
	eventuallyUse(t, db, postgres.ReplicaLagging)

	// Reads under way and new ones: none fails.
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	served := map[string]int{}
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				by, err := servedBy(t.Context(), db, "test.read")
				if err != nil {
					t.Errorf("a read failed: %v", err)
					return
				}
				mu.Lock()
				served[by]++
				mu.Unlock()
				time.Sleep(time.Millisecond)
			}
		})
	}
	if err := primary.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		if _, err := insert(t.Context(), db, 10+i, true); !errors.Is(err, postgres.ErrUnavailable) {
			t.Errorf("write %d without a primary: %v, want ErrUnavailable", i, err)
		}
	}
	s := db.Status()
	if s.Breaker != breaker.Open || !s.ReplicaAlone() || s.Replicas[0].Breaker != breaker.Closed {
		t.Errorf("after 6 failed writes: %+v", s)
	}
	if err := primary.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a write", func() bool { _, err := insert(t.Context(), db, 20, true); return err == nil })
	wantServedBy(t.Context(), t, db, "test.read", "primary")
	close(stop)
	wg.Wait()
	t.Logf("served by: %v", served)
	if served["replica"] == 0 {
		t.Error("no read was served by the replica")
	}
}
