package localpg_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"speedybites/internal/localpg"
)

// TestRootIsUnprivileged looks at who the processes of a server belong to when root starts it.
func TestRootIsUnprivileged(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root: others run the server as themselves")
	}
	for path := os.TempDir(); path != "/"; path = filepath.Dir(path) {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&1 == 0 {
			t.Skipf("needs a directory for temporary files that other users can reach, unlike %s: set TMPDIR", path)
		}
	}
	dir := newDir(t)
	s := start(t, localpg.Config{Dir: dir, Ephemeral: true})
	if uid := owner(t, filepath.Join(dir, "data")); uid == 0 {
		t.Error("the data belongs to root")
	}
	if uid := owner(t, dir); uid != 0 {
		t.Errorf("the directory belongs to user %d, want root as before", uid)
	}
	// The data binds the next start to its owner: when that one cannot reach it any more, nobody else will do.
	if err := s.Stop(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := localpg.Start(bounded(t), localpg.Config{Dir: dir})
	wantError(t, err, localpg.ErrAccount)
	if want := dir + " is not open to other users (chmod o+x would open it)"; !strings.Contains(err.Error(), want) {
		t.Errorf("got error %q, want it to say %q", err, want)
	}
}

// TestRootUnderClosedDirectory is make run in root's home: no unprivileged user can get there.
func TestRootUnderClosedDirectory(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root: others run the server as themselves")
	}
	closed := newDir(t)
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(closed, "data", "postgres")
	s, err := localpg.Start(bounded(t), localpg.Config{Dir: dir, Ephemeral: true, Logger: testLogger(t)})
	if errors.Is(err, localpg.ErrAccount) {
		if !strings.Contains(err.Error(), closed) {
			t.Errorf("got error %q, want it to name %s", err, closed)
		}
		t.Skipf("needs user namespaces, which this system refuses: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, s) })
	query(t, s.URL(), "CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")
	if err := s.Kill(bounded(t)); err != nil {
		t.Fatal(err)
	}
	again := start(t, localpg.Config{Dir: dir, Ephemeral: true})
	if got := query(t, again.URL(), "SELECT n FROM kept"); got != "42" {
		t.Errorf("got %q, want 42", got)
	}
	if uid := owner(t, filepath.Join(dir, "data")); uid != 0 {
		t.Errorf("the data belongs to user %d, want root", uid)
	}
	standby, err := again.Standby(bounded(t), localpg.Config{Dir: filepath.Join(closed, "standby")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, standby) })
}

func owner(t *testing.T, path string) uint32 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Uid
}
