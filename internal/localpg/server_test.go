package localpg_test

import (
	"context"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"speedybites/internal/localpg"
)

func TestStart(t *testing.T) { //nolint:tparallel // The last subtest stops the server of the others.
	t.Parallel()
	dir := filepath.Join(newDir(t), "made", "by", "start")
	s := start(t, localpg.Config{Dir: dir, Settings: map[string]string{"application_name": `it's a \ test`}})

	t.Run("URL", func(t *testing.T) {
		got := query(t, s.URL(), "SELECT current_user || '@' || current_database() || ' ' || rolsuper FROM pg_roles WHERE rolname = current_user")
		if want := "speedybites@speedybites false"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		got = query(t, s.AdminURL(""), "SELECT current_user || '@' || current_database()")
		if want := "postgres@speedybites"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("Settings", func(t *testing.T) {
		for name, want := range map[string]string{
			"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "port": strconv.Itoa(s.Port()),
			"server_encoding": "UTF8", "fsync": "on", "application_name": `it's a \ test`, "max_connections": "100",
		} {
			if got := query(t, s.AdminURL(""), "SHOW "+name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
	})
	t.Run("LowerCaseOfAllLetters", func(t *testing.T) {
		if got := query(t, s.URL(), "SELECT lower('CRÈME') = 'crème'"); got != "t" {
			t.Errorf("got %s, want t", got)
		}
	})
	t.Run("WrongPassword", func(t *testing.T) {
		u, err := url.Parse(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(u.User.Username(), "wrong")
		conn, err := pgconn.Connect(bounded(t), u.String())
		if err == nil {
			_ = conn.Close(t.Context())
			t.Error("a wrong password was accepted")
		}
	})
	t.Run("PasswordIsSecret", func(t *testing.T) {
		info, err := os.Stat(filepath.Join(dir, "password"))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("got mode %o, want 600", got)
		}
	})
	t.Run("AgainFindsTheData", func(t *testing.T) {
		query(t, s.URL(), "CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")
		address := s.URL()
		if err := s.Stop(bounded(t)); err != nil {
			t.Fatal(err)
		}
		if s.Pid() != 0 || s.AcceptsConnections(t.Context()) {
			t.Errorf("pid %d, accepts connections: %v; want it stopped", s.Pid(), s.AcceptsConnections(t.Context()))
		}
		again := start(t, localpg.Config{Dir: dir})
		if again.URL() != address {
			t.Errorf("got URL %s, want the same as before, %s", again.URL(), address)
		}
		if got := query(t, again.URL(), "SELECT n FROM kept"); got != "42" {
			t.Errorf("got %q, want 42", got)
		}
	})
}

func TestStartRefuses(t *testing.T) { //nolint:tparallel // They spoil one directory, one after the other.
	t.Parallel()
	// The directory of a server that was stopped, to be spoilt in several ways.
	dir := newDir(t)
	s := start(t, localpg.Config{Dir: dir, Ephemeral: true})
	if err := s.Stop(bounded(t)); err != nil {
		t.Fatal(err)
	}
	version := filepath.Join(dir, "data", "PG_VERSION")
	sign := filepath.Join(dir, "speedy-bites-postgres.json")
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T)
		want  error
		says  string
	}{
		{"Foreign", func(t *testing.T) { t.Helper(); moveAway(t, sign) }, localpg.ErrForeign, "choose another directory"},
		{"MarkerUnreadable", func(t *testing.T) { t.Helper(); overwrite(t, sign, "{") }, localpg.ErrCorrupt, "move " + dir + " away"},
		{"NoVersion", func(t *testing.T) { t.Helper(); moveAway(t, version) }, localpg.ErrCorrupt, "PG_VERSION"},
		{"NoData", func(t *testing.T) { t.Helper(); moveAway(t, filepath.Join(dir, "data")) }, localpg.ErrCorrupt, "PG_VERSION"},
		{"NoPassword", func(t *testing.T) { t.Helper(); moveAway(t, filepath.Join(dir, "password")) }, localpg.ErrCorrupt, "password"},
		{"OtherVersion", func(t *testing.T) { t.Helper(); overwrite(t, version, "9\n") }, localpg.ErrVersion, "install PostgreSQL 9"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.spoil(t)
			before := tree(t, dir)
			_, err := localpg.Start(bounded(t), localpg.Config{Dir: dir})
			wantError(t, err, test.want)
			for _, want := range []string{dir, test.says, "nothing was changed"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got error %q, want it to say %q", err, want)
				}
			}
			if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
				t.Errorf("the directory was changed (-before +after):\n%s", diff)
			}
		})
	}
	t.Run("File", func(t *testing.T) {
		path := filepath.Join(newDir(t), "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := localpg.Start(bounded(t), localpg.Config{Dir: path})
		wantError(t, err, localpg.ErrForeign)
	})
	t.Run("Configuration", func(t *testing.T) {
		_, err := localpg.Start(t.Context(), localpg.Config{
			Port: -1, StandbyName: "a-b", Settings: map[string]string{"port": "1", "a = b\nc": "1"},
		})
		for _, want := range []string{"dir is empty", "port -1", `"a-b"`, "setting port", `"a = b\nc"`} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got error %v, want it to say %s", err, want)
			}
		}
	})
	t.Run("Setting", func(t *testing.T) {
		_, err := localpg.Start(bounded(t), localpg.Config{Dir: dir, Settings: map[string]string{"work_mem": "much"}})
		wantError(t, err, localpg.ErrNotRunning)
		if want := `invalid value for parameter "work_mem"`; !strings.Contains(err.Error(), want) {
			t.Errorf("got error %q, want the end of the log in it, with %s", err, want)
		}
	})
	t.Run("PortTaken", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, err = localpg.Start(bounded(t), localpg.Config{Dir: dir, Port: l.Addr().(*net.TCPAddr).Port})
		wantError(t, err, localpg.ErrNotRunning)
		if want := "Address already in use"; !strings.Contains(err.Error(), want) {
			t.Errorf("got error %q, want it to say %s", err, want)
		}
	})
	t.Run("UnspoiltItStarts", func(t *testing.T) {
		start(t, localpg.Config{Dir: dir})
	})
}

// moveAway hides a file until the end of the test.
func moveAway(t *testing.T, path string) {
	t.Helper()
	hidden := filepath.Join(newDir(t), "hidden")
	if err := os.Rename(path, hidden); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Rename(hidden, path); err != nil {
			t.Error(err)
		}
	})
}

// overwrite changes a file's content until the end of the test.
func overwrite(t *testing.T, path, content string) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(path, before, 0o600); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStartAfterInterruptedInitdb(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	binaries, err := localpg.Find(bounded(t), localpg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// It says that it has begun, and never ends.
	binaries.Initdb = filepath.Join(newDir(t), "initdb")
	script(t, binaries.Initdb, `mkdir "$2"; touch "$2/PG_VERSION"; exec sleep 1000`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan error)
	go func() {
		_, err := localpg.Start(ctx, localpg.Config{Dir: dir, Binaries: binaries})
		failed <- err
	}()
	eventually(t, "begin of initdb", func() bool {
		found, _ := filepath.Glob(filepath.Join(dir, "unfinished-*", "data", "PG_VERSION"))
		return len(found) > 0
	})
	cancel()
	wantError(t, <-failed, context.Canceled)
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("half made data is in place")
	}
	// As if the program had been killed, and could not clean up.
	left := filepath.Join(dir, "unfinished-1", "data", "base")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	start(t, localpg.Config{Dir: dir})
	if found, _ := filepath.Glob(filepath.Join(dir, "unfinished-*")); len(found) > 0 {
		t.Errorf("%v is still there", found)
	}
}

func TestStartTwiceAtOnce(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	type result struct {
		s   *localpg.Server
		err error
	}
	results := make(chan result)
	for range 2 {
		go func() {
			s, err := localpg.Start(bounded(t), localpg.Config{Dir: dir, Ephemeral: true})
			results <- result{s, err}
		}()
	}
	first, second := <-results, <-results
	if first.err != nil {
		first, second = second, first
	}
	if first.err != nil {
		t.Fatalf("both failed: %v; %v", first.err, second.err)
	}
	t.Cleanup(func() { remove(t, first.s) })
	wantError(t, second.err, localpg.ErrInUse)
	if want := "process " + strconv.Itoa(os.Getpid()); !strings.Contains(second.err.Error(), want) {
		t.Errorf("got error %q, want it to say %s", second.err, want)
	}
}

func TestAdopt(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	lost := start(t, localpg.Config{Dir: dir, Ephemeral: true})
	pid, address := lost.Pid(), lost.URL()
	lost.Unlock()

	s, err := localpg.Start(bounded(t), localpg.Config{Dir: dir, Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	if s.Pid() != pid || s.URL() != address {
		t.Errorf("got process %d at %s, want the running one, %d at %s", s.Pid(), s.URL(), pid, address)
	}
	if err := s.Pause(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if s.Pid() == pid || s.URL() != address {
		t.Errorf("got process %d at %s, want another one than %d at %s", s.Pid(), s.URL(), pid, address)
	}
	if err := s.Stop(bounded(t)); err != nil {
		t.Fatal(err)
	}
}

func TestStalePidFile(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s := start(t, localpg.Config{Dir: dir, Ephemeral: true})
	if err := s.Kill(bounded(t)); err != nil {
		t.Fatal(err)
	}
	// After a reboot, or in a new container, the pid in the file is that of any process: here of one that is alive.
	path := filepath.Join(dir, "data", "postmaster.pid")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(content), "\n")
	if err := os.WriteFile(path, []byte("1\n"+rest), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.StartAgain(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if !s.AcceptsConnections(t.Context()) {
		t.Error("it does not accept connections")
	}
}

// TestParentKilled needs Linux to end the server; elsewhere the next Start has to adopt it.
func TestParentKilled(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	child, pid, address := startInChild(t, dir)
	query(t, address, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// At once: the old server is there yet, or about to stop, or gone.
	s := start(t, localpg.Config{Dir: dir, Ephemeral: true})
	if got := query(t, s.URL(), "SELECT n FROM kept"); got != "42" {
		t.Errorf("got %q, want 42", got)
	}
	if localpg.SeesEveryProcess {
		eventually(t, "the end of the server whose parent was killed", func() bool {
			return syscall.Kill(pid, 0) != nil || s.Pid() != pid
		})
	}
}
