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

// TestReplicaGone: a replica that dies, hangs or is cut off costs no read.
func TestReplicaGone(t *testing.T) { //nolint:tparallel // the subtests break one standby in turn
	pgtest.Slow(t)
	t.Parallel()
	primary := pgtest.Server(t)
	standby := pgtest.Standby(t, primary)
	db := openWithReplicas(t, nil, primary, standby)
	for name, fault := range map[string]struct{ end func() error }{
		"Killed": {func() error { return standby.Kill(t.Context()) }},
		"Hung":   {func() error { return standby.Pause(t.Context()) }},
	} {
		t.Run(name, func(t *testing.T) {
			eventuallyUse(t, db, postgres.ReplicaUsable)
			var wg sync.WaitGroup
			stop := make(chan struct{})
			for range 4 {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						if _, err := servedBy(tolerant(t.Context(), 0), db, "test.read"); err != nil {
							t.Errorf("a read failed: %v", err)
						}
						time.Sleep(time.Millisecond)
					}
				})
			}
			time.Sleep(200 * time.Millisecond)
			if err := fault.end(); err != nil {
				t.Error(err)
			}
			eventuallyUse(t, db, postgres.ReplicaDisconnected)
			wantServedBy(tolerant(t.Context(), 0), t, db, "test.read", "primary")
			close(stop)
			wg.Wait()
			if s := db.Status(); s.Failures != 0 || s.Breaker != breaker.Closed || len(s.Transitions) != 0 {
				t.Errorf("the replica touched the primary's breaker: %+v", s.ServerStatus)
			}
			if err := standby.Resume(); err != nil && !errors.Is(err, localpg.ErrNotRunning) {
				t.Error(err)
			}
			if err := standby.StartAgain(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	eventuallyUse(t, db, postgres.ReplicaUsable)
}

// TestMisplacedReplicas: a primary, another cluster, and a wrong password, each named and served around.
func TestMisplacedReplicas(t *testing.T) {
	t.Parallel()
	primary := pgtest.Server(t)
	stranger := pgtest.Server(t)
	strangers := pgtest.Standby(t, stranger)
	at := func(s *localpg.Server) func(*postgres.Config) {
		return func(cfg *postgres.Config) { cfg.ReplicaURL = s.URL() }
	}
	for _, c := range []struct {
		name   string
		change func(*postgres.Config)
		use    postgres.ReplicaState
		log    string
	}{
		{"ThePrimary", at(primary), postgres.ReplicaIsPrimary, "it is a primary"},
		{"AnotherPrimary", at(stranger), postgres.ReplicaOtherCluster, "gets no reads"},
		{"AnotherCluster", at(strangers), postgres.ReplicaOtherCluster, "gets no reads"},
		{"WrongPassword", func(cfg *postgres.Config) {
			cfg.ReplicaURL = strings.Replace(cfg.URL, ":"+password(t, primary)+"@", ":wrong@", 1)
		}, postgres.ReplicaUnauthorized, "authentication failed"},
		{"NoSuchDatabase", func(cfg *postgres.Config) {
			cfg.ReplicaURL = strings.Replace(cfg.URL, "/speedybites?", "/missing?", 1)
		}, postgres.ReplicaMissing, "missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db, log := openLogged(t, c.change, primary, primary)
			eventuallyUse(t, db, c.use)
			eventually(t, "the log to say so", func() bool { return log.has(c.log, "role=replica-1") })
			wantServedBy(tolerant(t.Context(), 0), t, db, "other.read", "primary")
			if s := db.Status(); s.Failures != 0 || s.ReplicaAlone() {
				t.Errorf("status: %+v", s)
			}
		})
	}
}

// TestReplicaBehindAMigration: a table that the standby does not have yet is read on the primary.
func TestReplicaBehindAMigration(t *testing.T) {
	t.Parallel()
	primary := pgtest.Server(t)
	standby := pgtest.Standby(t, primary)
	db := openWithReplicas(t, nil, primary, standby)
	eventuallyUse(t, db, postgres.ReplicaUsable)
	replay(t, standby, false)
	ledger(t, primary)
	var n int
	count := func(ctx context.Context, q postgres.Querier) error {
		return q.QueryRow(ctx, "select count(*) from ledger").Scan(&n)
	}
	if err := db.Read(tolerant(t.Context(), 0), "other.read", count); err != nil {
		t.Errorf("a read of a new table: %v", err)
	}
	if s := db.Status().Replicas[0]; s.Failures != 0 {
		t.Errorf("an SQL error counts as a failure of the replica: %+v", s)
	}
	replay(t, standby, true)
}

// TestRecoveryConflict: what the standby cancels, because it must replay what the query looks at, is read elsewhere.
func TestRecoveryConflict(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	primary := pgtest.Server(t)
	ledger(t, primary)
	standby := pgtest.Standby(t, primary, func(cfg *localpg.Config) {
		cfg.Settings = map[string]string{"max_standby_streaming_delay": "0", "hot_standby_feedback": "off"}
	})
	db := openWithReplicas(t, nil, primary, standby)
	eventuallyUse(t, db, postgres.ReplicaUsable)
	tries, standbys := 0, 0
	done := make(chan error, 1)
	go func() {
		done <- db.Read(tolerant(t.Context(), 0), "other.read", func(ctx context.Context, q postgres.Querier) error {
			tries++
			var standby bool
			if err := q.QueryRow(ctx, "select pg_is_in_recovery()").Scan(&standby); err != nil {
				return err
			}
			if !standby {
				return nil
			}
			standbys++
			_, err := q.Exec(ctx, "select count(*), pg_sleep(20) from ledger")
			return err
		})
	}()
	eventually(t, "the query on the standby", func() bool { return db.Status().Replicas[0].ActiveConnections == 1 })
	time.Sleep(200 * time.Millisecond)
	admin(t, primary, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "truncate ledger")
		return err
	})
	if err := <-done; err != nil || tries != 2 || standbys != 1 {
		t.Errorf("got %v after %d attempts, %d on the standby; want an answer of the primary after one there", err, tries, standbys)
	}
}

// TestReplicaPromoted: the replica becomes the primary, and no reads are left for it as a replica.
func TestReplicaPromoted(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	primary := pgtest.Server(t)
	ledger(t, primary)
	standby := pgtest.Standby(t, primary)
	db := openWithReplicas(t, func(cfg *postgres.Config) { cfg.URL = hosts(t, primary, primary.Addr(), standby.Addr()) }, primary, standby)
	eventuallyUse(t, db, postgres.ReplicaUsable)
	if err := primary.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := insert(t.Context(), db, 1, true); err != nil {
		t.Error(err)
	}
	eventuallyUse(t, db, postgres.ReplicaIsPrimary)
	wantServedBy(tolerant(t.Context(), 0), t, db, "test.read", "primary")
	eventually(t, "the new primary to have the replica's connections back", func() bool {
		return db.Status().Replicas[0].TotalConnections == 0
	})
	s := db.Status()
	if s.Server != standby.Addr() || s.Hosts[1].Role != postgres.HostPrimary {
		t.Errorf("the primary is %q, hosts %v", s.Server, s.Hosts)
	}
	eventually(t, "the dead host to be known", func() bool { return db.Status().Hosts[0].Role == postgres.HostUnreachable })
}

// TestHostsOfDifferentClusters: the first host of the URL that is a primary says which cluster is meant.
func TestHostsOfDifferentClusters(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	primary, stranger := pgtest.Server(t), pgtest.Server(t)
	admin(t, stranger, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf("alter role %s password '%s'", localpg.User, password(t, primary)))
		return err
	})
	for _, order := range [][]*localpg.Server{{primary, stranger}, {stranger, primary}} {
		db, log := openLogged(t, func(cfg *postgres.Config) {
			cfg.URL = hosts(t, primary, order[0].Addr(), order[1].Addr())
			cfg.ReplicaURL = ""
		}, primary, primary)
		if got := db.Status().Server; got != order[0].Addr() {
			t.Errorf("the primary is %s, want the first host of the URL, %s", got, order[0].Addr())
		}
		eventually(t, "the other host to be named", func() bool {
			return db.Status().Hosts[1].Role == postgres.HostOtherCluster && log.has("host not used", order[1].Addr(), "another database cluster")
		})
		if err := order[0].Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		err := read(ctx, db)
		cancel()
		if !errors.Is(err, postgres.ErrUnavailable) {
			t.Errorf("without its primary: %v, want ErrUnavailable, and never the other cluster", err)
		}
		if err := order[0].StartAgain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReadsOwnWritesWhileSessionsDie: the primary is there all the time, its sessions are ended again and again, and the
// replica has stopped replaying. A read that must be current never goes there.
func TestReadsOwnWritesWhileSessionsDie(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	primary := pgtest.Server(t)
	ledger(t, primary)
	standby := pgtest.Standby(t, primary)
	db := openWithReplicas(t, nil, primary, standby)
	eventuallyUse(t, db, postgres.ReplicaUsable)
	replay(t, standby, false)
	stop := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
			if _, err := primary.TerminateBackends(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 25 {
				id := 1000*worker + i
				if _, err := insert(t.Context(), db, id, true); err != nil {
					t.Errorf("write: %v", err)
					return
				}
				n := 0
				err := db.Read(t.Context(), "test.read", func(ctx context.Context, q postgres.Querier) error {
					return q.QueryRow(ctx, "select count(*) from ledger where id = $1", id).Scan(&n)
				})
				if err != nil || n != 1 {
					t.Errorf("read %d of the row just written (%v)", n, err)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	killer.Wait()
	if s := db.Status(); s.Breaker != breaker.Closed {
		t.Errorf("breaker: %v", s.Breaker)
	}
}

// TestStandInCatchesUp: what the standby had received when the primary died is read, once it is replayed; what is never
// replayed is not waited for in vain.
func TestStandInCatchesUp(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	primary := pgtest.Server(t)
	ledger(t, primary)
	standby := pgtest.Standby(t, primary)
	db := openWithReplicas(t, nil, primary, standby)
	eventuallyUse(t, db, postgres.ReplicaUsable)
	if err := primary.SetSettings(t.Context(), map[string]string{"synchronous_standby_names": "standby"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "synchronous replication", func() (on bool) {
		admin(t, primary, func(ctx context.Context, conn *pgx.Conn) error {
			return conn.QueryRow(ctx, "select exists (select from pg_stat_replication where sync_state = 'sync')").Scan(&on)
		})
		return on
	})
	replay(t, standby, false)
	write(t, db)
	if err := primary.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss", func() bool { return !db.Status().Connected })
	count := func() (n int) {
		err := db.Read(t.Context(), "test.read", func(ctx context.Context, q postgres.Querier) error {
			return q.QueryRow(ctx, "select count(*) from ledger").Scan(&n)
		})
		if err != nil {
			t.Error(err)
		}
		return n
	}
	begin := time.Now()
	if n := count(); n != 0 || time.Since(begin) < 300*time.Millisecond {
		t.Errorf("a standby that does not replay: %d rows after %v", n, time.Since(begin))
	}
	resumed := make(chan struct{})
	go func() {
		defer close(resumed)
		time.Sleep(100 * time.Millisecond)
		conn, err := pgx.Connect(context.Background(), standby.AdminURL(""))
		if err == nil {
			_, err = conn.Exec(context.Background(), "select pg_wal_replay_resume()")
			_ = conn.Close(context.Background())
		}
		if err != nil {
			t.Error(err)
		}
	}()
	for range 3 { // on a slow machine the resumption may come late
		if count() == 1 {
			break
		}
		<-resumed
	}
	if n := count(); n != 1 {
		t.Errorf("%d rows, want the one that was acknowledged", n)
	}
}
