package patroni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"speedybites/internal/localpg"
	"speedybites/internal/monitoring/proctest"
)

const (
	password = "secret" // every role's
	database = "speedybites"
	admin    = "postgres"
)

// Member is a PostgreSQL server with the Patroni that runs it.
type Member struct {
	tb        testing.TB
	programs  programs
	name      string
	dir       string
	addr, api string
	patroni   *proctest.Process
}

// newMember writes the configuration of a member, and ends its server when the test ends.
func newMember(tb testing.TB, p programs, name, etcd, dir string) *Member {
	tb.Helper()
	api := "127.0.0.1:" + proctest.FreePort(tb)
	m := &Member{
		tb: tb, programs: p, name: name, dir: dir,
		addr: "127.0.0.1:" + proctest.FreePort(tb), api: "http://" + api,
	}
	role := func(name string) map[string]string { return map[string]string{"username": name, "password": password} }
	text, err := json.Marshal(map[string]any{ // JSON is YAML
		"scope": "speedy-bites", "name": name,
		"restapi": map[string]any{"listen": api, "connect_address": api},
		"etcd3":   map[string]any{"hosts": etcd},
		"bootstrap": map[string]any{
			"dcs": map[string]any{
				"ttl": TTL, "loop_wait": LoopWait, "retry_timeout": RetryTimeout,
				// Only a standby that has everything acknowledged is promoted.
				"synchronous_mode": true,
				"postgresql":       map[string]any{"use_pg_rewind": true, "parameters": map[string]any{"wal_log_hints": "on"}},
			},
			"initdb": []any{map[string]string{"encoding": "UTF8"}, map[string]string{"locale": "C.UTF-8"}, "data-checksums"},
		},
		"postgresql": map[string]any{
			"listen": m.addr, "connect_address": m.addr, "bin_dir": p.postgres,
			"data_dir": m.data(), "pgpass": filepath.Join(m.dir, "pgpass"),
			"pg_hba": []string{"host all all 127.0.0.1/32 scram-sha-256", "host replication all 127.0.0.1/32 scram-sha-256"},
			"authentication": map[string]any{
				"superuser": role(admin), "replication": role("replicator"), "rewind": role("rewinder"),
			},
			"parameters": map[string]any{
				// Not below the data, which pg_rewind makes equal to the other's.
				"logging_collector": "on", "log_directory": filepath.Join(m.dir, "log"), "log_filename": "postgres.log",
				"log_statement": "all", "log_line_prefix": "%m [%p] %u@%d %a ", "log_timezone": "UTC",
				"fsync": "off", "shared_buffers": "16MB", "unix_socket_directories": m.dir,
			},
		},
	})
	if err == nil {
		err = errors.Join(os.WriteFile(m.config(), text, 0o600), os.Chmod(m.config(), 0o644)) //nolint:gosec // G302: whatever the umask is, its user has to read it
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(m.stopPostgres)
	return m
}

func (m *Member) config() string { return filepath.Join(m.dir, "patroni.yml") }

func (m *Member) data() string { return filepath.Join(m.dir, "data") }

// Start starts Patroni, for the first time or again.
func (m *Member) Start() {
	m.tb.Helper()
	// An orphaned Patroni is to stop its server before it ends.
	m.patroni = proctest.Start(m.tb, m.programs.command(m.programs.patroni, syscall.SIGTERM, m.config()))
}

// KillPatroni ends Patroni with SIGKILL. Its server goes on, with nobody to tell it that it is the leader no more.
func (m *Member) KillPatroni() {
	m.tb.Helper()
	m.patroni.Stop(m.tb, syscall.SIGKILL)
}

// Kill ends Patroni and all processes of its server with SIGKILL, as the loss of the machine would.
func (m *Member) Kill() {
	m.tb.Helper()
	m.KillPatroni()
	pid := m.pid()
	if pid == 0 {
		m.tb.Fatalf("the PostgreSQL of %s does not run", m.name)
	}
	// It would react to the end of its children otherwise.
	err := syscall.Kill(pid, syscall.SIGSTOP)
	for _, victim := range append(children(pid), pid) {
		err = errors.Join(err, syscall.Kill(victim, syscall.SIGKILL))
	}
	if err != nil {
		m.tb.Fatal(err)
	}
	m.untilGone()
}

// stopPostgres ends the server, which outlives its Patroni.
func (m *Member) stopPostgres() {
	if pid := m.pid(); pid != 0 && syscall.Kill(pid, syscall.SIGQUIT) == nil {
		m.untilGone()
	}
}

func (m *Member) untilGone() {
	m.tb.Helper()
	err := eventually(context.WithoutCancel(m.tb.Context()), func() error {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.WithoutCancel(m.tb.Context()), "tcp", m.addr)
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			return nil
		case err == nil:
			err = errors.Join(errors.New("it lets connections in"), conn.Close())
		}
		return err
	})
	if err != nil {
		m.tb.Errorf("wait for the end of the PostgreSQL of %s: %v", m.name, err)
	}
}

// pid is the server's first process, 0 where there is none. One that was killed leaves its file.
func (m *Member) pid() int {
	text, _ := os.ReadFile(filepath.Join(m.data(), "postmaster.pid")) // none: it has ended in good order
	line, _, _ := strings.Cut(string(text), "\n")
	pid, _ := strconv.Atoi(line)
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil || cwd != m.data() {
		return 0
	}
	return pid
}

// children returns the children of a process.
func children(pid int) (list []int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid)) // none: there is no such process
	for field := range strings.FieldsSeq(string(text)) {
		if child, err := strconv.Atoi(field); err == nil {
			list = append(list, child)
		}
	}
	return list
}

// is asks Patroni for the member's role: "primary" or "synchronous".
func (m *Member) is(role string) bool {
	_, status, err := proctest.Get(m.api + "/" + role)
	return err == nil && status == http.StatusOK
}

// URL is where the database is, on this member, for the ordinary user.
func (m *Member) URL() string { return m.url(localpg.User, database) }

// AdminURL is like URL, for the superuser. An empty name of a database stands for the one of URL.
func (m *Member) AdminURL(name string) string {
	if name == "" {
		name = database
	}
	return m.url(admin, name)
}

func (m *Member) url(role, name string) string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", role, password, m.addr, name)
}

// Statements returns the lines of the server's log about statements of the service since a moment, the prober's aside. Those
// of the tests are the superuser's.
func (m *Member) Statements(since time.Time) (found []string, err error) {
	text, err := os.ReadFile(filepath.Join(m.dir, "log", "postgres.log"))
	if err != nil {
		return nil, err
	}
	line := regexp.MustCompile(`(?m)^(\S+ \S+ \S+) \[\d+\] ` + localpg.User + `@\S+ (.*?) LOG:  (?:statement|execute|fastpath).*$`)
	for _, f := range line.FindAllStringSubmatch(string(text), -1) {
		at, err := time.Parse("2006-01-02 15:04:05.000 MST", f[1])
		if err != nil {
			return nil, err
		}
		if at.After(since) && f[2] != "speedy-bites prober" {
			found = append(found, f[0])
		}
	}
	return found, nil
}
