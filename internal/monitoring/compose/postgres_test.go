package compose_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"speedybites/internal/localpg"
	"speedybites/internal/monitoring/proctest"
)

const postgresDir = "observability/stack/postgres"

// database is a directory for servers, and the programs that run them, as an unprivileged user where the test is root:
// PostgreSQL refuses root.
type database struct {
	dir, bin string
	owner    *syscall.Credential
}

func newDatabase(t *testing.T) *database {
	t.Helper()
	programs, err := localpg.Find(t.Context(), localpg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := &database{bin: filepath.Dir(programs.Postgres)}
	if d.dir, err = os.MkdirTemp("", "compose-postgres-"); err != nil { //nolint:usetesting // others may not enter the test's own
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(d.dir); err != nil {
			t.Error(err)
		}
	})
	if os.Geteuid() == 0 {
		d.owner = unprivileged(t)
	}
	// What the containers mount, where the other user can read it: the repository may be in a closed directory.
	for _, name := range []string{"pg_hba.conf", "roles.sh", "replica.sh"} {
		d.write(t, name, read(t, filepath.Join(postgresDir, name)))
	}
	for _, name := range []string{"postgres_password", "replication_password", "exporter_password"} {
		d.write(t, name, name+"-of-the-test")
	}
	d.own(t, d.dir)
	return d
}

func unprivileged(t *testing.T) *syscall.Credential {
	t.Helper()
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	t.Fatal("there is no user postgres or nobody to run PostgreSQL as")
	return nil
}

func (d *database) own(t *testing.T, path string) {
	t.Helper()
	if d.owner != nil {
		if err := os.Chown(path, int(d.owner.Uid), int(d.owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
}

func (d *database) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d.own(t, path)
}

// command prepares a program with an environment like a container's.
func (d *database) command(env []string, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), name, args...)
	if !strings.HasPrefix(name, "/") {
		cmd.Path = filepath.Join(d.bin, name)
		cmd.Err = nil
	}
	cmd.Dir = d.dir
	cmd.Env = append([]string{"PATH=" + d.bin + ":/usr/bin:/bin", "LC_ALL=C", "SECRETS=" + d.dir, "TMPDIR=" + d.dir, "HOME=" + d.dir}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: d.owner}
	return cmd
}

func (d *database) must(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, code := run(t, cmd)
	if code != 0 {
		t.Fatalf("%s: exit code %d\n%s", cmd.Path, code, out)
	}
	return strings.TrimSpace(out)
}

// primary starts a server as the container of the primary does.
func (d *database) primary(t *testing.T, flags ...string) (port string) {
	t.Helper()
	data := filepath.Join(d.dir, "primary")
	d.must(t, d.command(nil, "initdb", "--pgdata", data, "--username", "speedybites", "--pwfile", "postgres_password", "--no-sync"))
	port = proctest.FreePort(t)
	args := slices.Concat([]string{"-D", data, "-p", port}, d.flags(t, "postgres"), flags)
	d.serve(t, port, d.command(nil, "postgres", args...))
	return port
}

// flags are those that a container gives to its server, and some to keep it private and small.
func (d *database) flags(t *testing.T, service string) []string {
	t.Helper()
	flags := []string{"-h", "127.0.0.1", "-k", d.dir, "-c", "shared_buffers=16MB", "-c", "fsync=off"}
	for _, arg := range shipped(t).Services[service].Command {
		if arg != "postgres" {
			flags = append(flags, strings.ReplaceAll(arg, "/etc/postgresql", d.dir))
		}
	}
	return flags
}

// serve runs a server and waits until it answers.
func (d *database) serve(t *testing.T, port string, cmd *exec.Cmd) *proctest.Process {
	t.Helper()
	r := proctest.Start(t, cmd)
	r.Until(t, func() error {
		_, err := d.query(port, "postgres_password", "speedybites", "SELECT 1")
		return err
	})
	return r
}

// query runs SQL over TCP, with the password in a secret.
func (d *database) query(port, secret, role, sql string) (string, error) {
	env := []string{"PGPASSWORD=" + secret + "-of-the-test", "PGCONNECT_TIMEOUT=5"}
	cmd := d.command(env, "psql", "-X", "-h", "127.0.0.1", "-p", port, "-U", role, "-d", "postgres", "-Atqc", sql)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s as %s: %w: %s", sql, role, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// ask is query for what must work.
func (d *database) ask(t *testing.T, port, sql string) string {
	t.Helper()
	out, err := d.query(port, "postgres_password", "speedybites", sql)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (d *database) roles(t *testing.T, port string) {
	t.Helper()
	env := []string{"PGHOST=127.0.0.1,127.0.0.1", "PGPORT=1," + port, "PGTARGETSESSIONATTRS=read-write", "PGUSER=speedybites", "PGDATABASE=postgres"}
	if out := d.must(t, d.command(env, "/bin/sh", filepath.Join(d.dir, "roles.sh"))); out != "" {
		t.Errorf("roles.sh says %q", out)
	}
}

// replica is the command of a replica, which copies the primary if it has no data yet.
func (d *database) replica(t *testing.T, primary, port string) *exec.Cmd {
	t.Helper()
	env := []string{"PGDATA=" + filepath.Join(d.dir, "replica"), "PRIMARY_HOST=127.0.0.1", "PRIMARY_PORT=" + primary}
	return d.command(env, "/bin/sh", append([]string{filepath.Join(d.dir, "replica.sh"), "-p", port}, d.flags(t, "postgres-replica")...)...)
}

// TestRoles: the script may run again, changes passwords, and gives no more than is needed.
func TestRoles(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	port := d.primary(t)
	d.roles(t, port)
	d.roles(t, port)
	if got := d.ask(t, port, "SELECT slot_name, slot_type FROM pg_replication_slots"); got != "replica|physical" {
		t.Errorf("slots: got %q", got)
	}
	// Who may not see what others do, is given this in its place.
	const hidden = "SELECT count(*) FROM pg_stat_activity WHERE query = '<insufficient privilege>'"
	if got, err := d.query(port, "exporter_password", "exporter", hidden); err != nil || got != "0" {
		t.Errorf("%q processes are hidden from the exporter (%v)", got, err)
	}
	for _, c := range []struct{ role, secret, sql string }{
		{"exporter", "exporter_password", "CREATE TABLE mine (n int)"},
		{"exporter", "postgres_password", "SELECT 1"},
		{"replicator", "replication_password", "CREATE TABLE mine (n int)"},
		{"speedybites", "exporter_password", "SELECT 1"},
	} {
		if _, err := d.query(port, c.secret, c.role, c.sql); err == nil {
			t.Errorf("%s with %s may %s", c.role, c.secret, c.sql)
		}
	}
	d.write(t, "exporter_password", "another-of-the-test")
	d.roles(t, port)
	if _, err := d.query(port, "another", "exporter", "SELECT 1"); err != nil {
		t.Errorf("with the new password: %v", err)
	}
	if err := os.Remove(filepath.Join(d.dir, "replication_password")); err != nil {
		t.Fatal(err)
	}
	env := []string{"PGHOST=127.0.0.1", "PGPORT=" + port, "PGUSER=speedybites", "PGDATABASE=postgres"}
	if out, code := run(t, d.command(env, "/bin/sh", filepath.Join(d.dir, "roles.sh"))); code == 0 || !strings.Contains(out, "replication_password") {
		t.Errorf("without a secret: exit code %d, %q", code, out)
	}
}

// TestReplica: it copies the primary once, follows it, catches up after a stop, and can take its place.
func TestReplica(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	primary := d.primary(t)
	d.ask(t, primary, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
	d.roles(t, primary)

	// A first copy that was cut off must not be taken for data.
	cut := filepath.Join(d.dir, "replica.unfinished")
	if err := os.Mkdir(cut, 0o700); err != nil {
		t.Fatal(err)
	}
	d.own(t, cut)
	d.write(t, "replica.unfinished/PG_VERSION", "17\n")
	port := proctest.FreePort(t)
	server := d.serve(t, port, d.replica(t, primary, port))
	sum := func(want string) {
		t.Helper()
		server.Until(t, func() error {
			if got, err := d.query(port, "postgres_password", "speedybites", "SELECT sum(n) FROM kept"); err != nil || got != want {
				return fmt.Errorf("the replica has %q (%w), want %s", got, err, want)
			}
			return nil
		})
	}
	sum("1")
	d.ask(t, primary, "INSERT INTO kept VALUES (2)")
	sum("3")
	if got := d.ask(t, primary, "SELECT application_name, state FROM pg_stat_replication"); got != "replica|streaming" {
		t.Errorf("the primary has replicas %q", got)
	}
	if _, err := d.query(port, "postgres_password", "speedybites", "INSERT INTO kept VALUES (9)"); err == nil {
		t.Error("the replica can be written to")
	}

	server.Stop(t, syscall.SIGINT) // as the image's STOPSIGNAL
	d.ask(t, primary, "INSERT INTO kept SELECT 1 FROM generate_series(1, 10000); SELECT pg_switch_wal(); INSERT INTO kept VALUES (4)")
	server = d.serve(t, port, d.replica(t, primary, port))
	sum("10007")

	d.must(t, d.command([]string{"PGDATA=" + filepath.Join(d.dir, "replica")}, "pg_ctl", "promote"))
	d.ask(t, port, "INSERT INTO kept VALUES (5)")
	sum("10012")
	d.roles(t, port) // The slot is not copied; the next replica needs one here.
	if got := d.ask(t, port, "SELECT slot_name FROM pg_replication_slots"); got != "replica" {
		t.Errorf("slots of the new primary: %q", got)
	}

	found := d.command(nil, "/bin/sh", "-c", "grep -rl replication_password-of-the-test "+filepath.Join(d.dir, "replica"))
	if out, code := run(t, found); code == 0 {
		t.Errorf("the password is part of the data: %s", out)
	}
}

// TestReplicaLostSlot: a replica that was away for too long is made anew with a new slot.
func TestReplicaLostSlot(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	primary := d.primary(t, "-c", "max_slot_wal_keep_size=1MB") // of several, the last counts
	d.roles(t, primary)
	port := proctest.FreePort(t)
	d.serve(t, port, d.replica(t, primary, port)).Stop(t, syscall.SIGINT)
	d.ask(t, primary, "CREATE TABLE filler (n int)")
	for range 3 {
		d.ask(t, primary, "INSERT INTO filler VALUES (1); SELECT pg_switch_wal()")
	}
	d.ask(t, primary, "CHECKPOINT")
	const status = "SELECT wal_status = 'lost' FROM pg_replication_slots"
	if got := d.ask(t, primary, status); got != "t" {
		t.Fatalf("the slot is lost: %q", got)
	}
	d.roles(t, primary)
	if got := d.ask(t, primary, status); got == "t" {
		t.Error("the slot is still lost")
	}
	if err := os.RemoveAll(filepath.Join(d.dir, "replica")); err != nil { // docker volume rm
		t.Fatal(err)
	}
	d.serve(t, port, d.replica(t, primary, port))
}
