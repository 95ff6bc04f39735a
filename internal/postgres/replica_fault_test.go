package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"speedybites/internal/localpg"
	"speedybites/internal/pgtest"
	"speedybites/internal/postgres"
	"speedybites/internal/postgres/breaker"
)

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
