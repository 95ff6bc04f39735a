package localpg_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"speedybites/internal/localpg"
)

func TestKill(t *testing.T) {
	t.Parallel()
	s := start(t, localpg.Config{Dir: newDir(t), Ephemeral: true})
	query(t, s.URL(), "CREATE TABLE kept (n int)")
	// Sessions at work, so that the death of the first process alone would not end them at once.
	for range 4 {
		conn := connect(t, s.URL())
		go conn.Exec(t.Context(), "SELECT sum(n) FROM generate_series(1, 1e12) n").Close()
	}
	eventually(t, "sessions at work", func() bool {
		return query(t, s.AdminURL(""), "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT sum%' AND state = 'active'") == "4"
	})
	for i := range 3 {
		query(t, s.URL(), fmt.Sprintf("INSERT INTO kept VALUES (%d)", i))
		pid, port := s.Pid(), s.Port()
		before := processes(t, s)
		if err := s.Kill(bounded(t)); err != nil {
			t.Fatal(err)
		}
		if left := processes(t, s); len(left) > 0 {
			t.Fatalf("processes %v of %v are still there", left, before)
		}
		if s.AcceptsConnections(t.Context()) || s.Pid() != 0 {
			t.Fatalf("it accepts connections, or has a pid (%d), after Kill", s.Pid())
		}
		wantError(t, s.Kill(bounded(t)), localpg.ErrNotRunning)
		if err := s.StartAgain(bounded(t)); err != nil {
			t.Fatal(err)
		}
		if s.Port() != port || s.Pid() == pid {
			t.Errorf("got process %d on port %d, want another than %d on port %d", s.Pid(), s.Port(), pid, port)
		}
		if got, want := query(t, s.URL(), "SELECT count(*) FROM kept"), strconv.Itoa(i+1); got != want {
			t.Errorf("got %s rows after recovery, want %s", got, want)
		}
	}
	log, err := os.ReadFile(s.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	if want := "automatic recovery in progress"; strings.Count(string(log), want) != 3 {
		t.Errorf("the log does not say %q three times:\n%s", want, log)
	}
}

// processes of a server, where the system tells.
func processes(t *testing.T, s *localpg.Server) []int {
	t.Helper()
	pids, err := localpg.ProcessesOn(s)
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

func TestEndsByItself(t *testing.T) {
	t.Parallel()
	s := start(t, localpg.Config{Dir: newDir(t), Ephemeral: true})
	if err := syscall.Kill(s.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "pid 0", func() bool { return s.Pid() == 0 })
	wantError(t, s.WaitReady(bounded(t)), localpg.ErrNotRunning)
	wantError(t, s.Pause(bounded(t)), localpg.ErrNotRunning)
	// Its children may still be about to notice.
	if err := s.StartAgain(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.StopImmediate(bounded(t)); err != nil {
		t.Fatal(err)
	}
	wantError(t, s.Stop(bounded(t)), localpg.ErrNotRunning)
	if err := s.Restart(bounded(t)); err != nil {
		t.Fatal(err)
	}
	pid := s.Pid()
	if err := s.StartAgain(bounded(t)); err != nil || s.Pid() != pid {
		t.Errorf("got process %d, error %v; want %d to go on", s.Pid(), err, pid)
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	s := start(t, localpg.Config{Dir: newDir(t), Ephemeral: true})
	conn := connect(t, s.URL())
	if err := s.Pause(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if s.AcceptsConnections(t.Context()) {
		t.Error("a paused server answers")
	}
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.WaitReady(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	answered := make(chan error, 1)
	go func() { answered <- conn.Exec(t.Context(), "SELECT 1").Close() }()
	select {
	case err := <-answered:
		t.Fatalf("a paused server answers a session: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Errorf("the session is lost: %v", err)
	}
	// Whatever ends it has to work on a paused one.
	for name, end := range map[string]func(context.Context) error{"Stop": s.Stop, "Kill": s.Kill} {
		if err := s.Pause(bounded(t)); err != nil {
			t.Fatal(err)
		}
		if err := end(bounded(t)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := s.StartAgain(bounded(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Pause(bounded(t)); err != nil {
		t.Fatal(err)
	} // And so has the end of the test.
}

func TestTerminateBackends(t *testing.T) {
	t.Parallel()
	s := start(t, localpg.Config{Dir: newDir(t), Ephemeral: true, Settings: map[string]string{"max_connections": "10"}})
	// All connections that ordinary users may have; the superuser still gets in.
	var sessions []*pgconn.PgConn
	for len(sessions) < 10 {
		conn, err := pgconn.Connect(bounded(t), s.URL())
		if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "53300" && len(sessions) > 0 {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
		sessions = append(sessions, conn)
	}
	n, err := s.TerminateBackends(bounded(t))
	if err != nil || n < len(sessions) {
		t.Errorf("got %d, %v; want %d terminated", n, err, len(sessions))
	}
	for _, conn := range sessions {
		eventually(t, "end of the session", func() bool { return conn.Ping(bounded(t)) != nil })
	}
	eventually(t, "a free connection", func() bool {
		_, err := tryQuery(bounded(t), s.URL(), "SELECT 1")
		return err == nil
	})
}

func TestSetSettings(t *testing.T) {
	t.Parallel()
	s := start(t, localpg.Config{Dir: newDir(t), Ephemeral: true, Settings: map[string]string{"work_mem": "5MB"}})
	query(t, s.URL(), "CREATE TABLE orders (n int)")
	conn := connect(t, s.URL())
	if err := s.SetSettings(bounded(t), map[string]string{"synchronous_standby_names": "nobody"}); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { answered <- conn.Exec(t.Context(), "INSERT INTO orders VALUES (1)").Close() }()
	eventually(t, "COMMIT waits", func() bool {
		return query(t, s.AdminURL(""), "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == "1"
	})
	for _, mistake := range []map[string]string{{"work_mem": "much"}, {"no_such_setting": "1"}, {"port": "1"}} {
		if err := s.SetSettings(bounded(t), mistake); err == nil {
			t.Errorf("%v was accepted", mistake)
		}
	}
	if err := s.SetSettings(bounded(t), map[string]string{"synchronous_standby_names": "", "max_connections": "50"}); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if got := query(t, s.URL(), "SHOW max_connections"); got != "100" {
		t.Errorf("got max_connections %s before the restart, want 100", got)
	}
	if err := s.Restart(bounded(t)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"max_connections": "50", "work_mem": "5MB", "synchronous_standby_names": ""} {
		if got := query(t, s.URL(), "SHOW "+name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestStandby(t *testing.T) {
	t.Parallel()
	primary := start(t, localpg.Config{Dir: newDir(t), Ephemeral: true})
	query(t, primary.URL(), "CREATE TABLE orders (n int)")
	standby, err := primary.Standby(bounded(t), localpg.Config{Dir: newDir(t), StandbyName: "east", Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, standby) })
	if err := primary.SetSettings(bounded(t), map[string]string{
		"synchronous_standby_names": "east", "synchronous_commit": "remote_apply",
	}); err != nil {
		t.Fatal(err)
	}
	// With these settings it is on the standby when COMMIT is answered.
	query(t, primary.URL(), "INSERT INTO orders VALUES (1)")
	if got := query(t, standby.URL(), "SELECT pg_is_in_recovery() || ' ' || count(*) FROM orders"); got != "true 1" {
		t.Errorf("got %q, want true 1", got)
	}
	if got := query(t, primary.AdminURL(""), "SELECT active FROM pg_replication_slots WHERE slot_name = 'east'"); got != "t" {
		t.Errorf("slot in use: got %q, want t", got)
	}
	// Started again it goes on from where it was, with what was written meanwhile.
	if err := standby.Kill(bounded(t)); err != nil {
		t.Fatal(err)
	}
	query(t, primary.URL(), "SET synchronous_commit = local; INSERT INTO orders VALUES (2)")
	if err := standby.StartAgain(bounded(t)); err != nil {
		t.Fatal(err)
	}
	query(t, primary.URL(), "INSERT INTO orders VALUES (3)")

	if err := primary.Kill(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(bounded(t)); err != nil {
		t.Fatal(err)
	}
	query(t, standby.URL(), "INSERT INTO orders VALUES (4)")
	if got := query(t, standby.URL(), "SELECT string_agg(n::text, ',' ORDER BY n) FROM orders"); got != "1,2,3,4" {
		t.Errorf("got orders %s, want 1,2,3,4", got)
	}
	if err := standby.Promote(bounded(t)); err == nil {
		t.Error("a primary was promoted")
	}
}
