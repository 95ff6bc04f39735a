package instances_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"speedybites/internal/localpg"
	"speedybites/internal/monitoring/localstack"
	"speedybites/internal/monitoring/proctest"
	"speedybites/internal/pgtest"
)

// pooler is pgbouncer with the documented configuration, of which only addresses and the file of passwords are others. It
// keeps its address over restarts.
type pooler struct {
	*proctest.Process
	server    *localpg.Server
	dir, addr string
}

// documented is the text of docs/pgbouncer.ini.
func documented(t *testing.T) string {
	t.Helper()
	root, err := localstack.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "pgbouncer.ini"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// newPooler starts pgbouncer in front of a server.
func newPooler(t *testing.T, server *localpg.Server) *pooler {
	t.Helper()
	u, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	port := proctest.FreePort(t)
	p := &pooler{server: server, dir: pgtest.Dir(t), addr: "127.0.0.1:" + port}
	users := filepath.Join(p.dir, "userlist.txt")
	text := documented(t)
	for old, local := range map[string]string{
		"host=postgres port=5432 ":    fmt.Sprintf("host=127.0.0.1 port=%d ", server.Port()),
		"listen_addr = *\n":           "listen_addr = 127.0.0.1\n",
		"listen_port = 6432\n":        "listen_port = " + port + "\n",
		"/etc/pgbouncer/userlist.txt": users,
	} {
		if strings.Count(text, old) != 1 {
			t.Fatalf("docs/pgbouncer.ini has %q not once", old)
		}
		text = strings.Replace(text, old, local, 1)
	}
	for path, text := range map[string]string{
		p.file(): text,
		users:    fmt.Sprintf("%q %q\n", u.User.Username(), password),
	} {
		// Its own user has to read them, whatever the umask is.
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	p.start(t)
	return p
}

func (p *pooler) file() string { return filepath.Join(p.dir, "pgbouncer.ini") }

// start starts pgbouncer, for the first time or again.
func (p *pooler) start(t *testing.T) {
	t.Helper()
	args := []string{p.file()}
	if os.Geteuid() == 0 {
		args = append([]string{"-u", "nobody"}, args...) // It refuses to run as root.
	}
	p.Process = proctest.Start(t, exec.CommandContext(context.Background(), proctest.Program(t, proctest.Pgbouncer), args...))
	p.Until(t, func() error {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// url is DATABASE_URL as documented.
func (p *pooler) url(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(p.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.Host = p.addr
	return u.String()
}
