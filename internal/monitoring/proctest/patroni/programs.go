package patroni

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"speedybites/internal/localpg"
	"speedybites/internal/monitoring/localstack"
	"speedybites/internal/monitoring/proctest"
	"speedybites/internal/pgtest"
)

var (
	patroniProgram = sync.OnceValues(func() (string, error) {
		return localstack.Debian(context.Background(), "patroni", "patroni")
	})
	etcdProgram = sync.OnceValues(func() (string, error) {
		return localstack.Debian(context.Background(), "etcd", "etcd-server")
	})
)

// programs are what a cluster consists of, and whom they run as: PostgreSQL refuses root.
type programs struct {
	patroni, etcd string
	postgres      string // the directory
	credential    *syscall.Credential
}

func findPrograms() (p programs, err error) {
	if p.patroni, err = patroniProgram(); err != nil {
		return p, err
	}
	if p.etcd, err = etcdProgram(); err != nil {
		return p, err
	}
	found, err := localpg.Find(context.Background(), localpg.Options{})
	if err != nil {
		return p, err
	}
	p.postgres = filepath.Dir(found.Postgres)
	if _, err := os.Stat(filepath.Join(p.postgres, "pg_rewind")); err != nil {
		return p, fmt.Errorf("a cluster needs a complete PostgreSQL, such as Debian's package postgresql: %w", err)
	}
	p.credential, err = unprivileged()
	return p, err
}

// dir returns a directory of the programs' user.
func (p programs) dir(tb testing.TB) string {
	tb.Helper()
	dir := pgtest.Dir(tb)
	if p.credential != nil {
		if err := os.Chown(dir, int(p.credential.Uid), int(p.credential.Gid)); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// command prepares a program that gets the signal should the test be killed.
func (p programs) command(path string, orphaned syscall.Signal, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), path, args...)
	cmd.Dir, cmd.Env = "/", append(os.Environ(), "LC_ALL=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1")
	cmd.WaitDelay = 100 * time.Millisecond // PostgreSQL outlives its Patroni, and holds on to the output
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.credential}
	proctest.Tie(cmd, orphaned)
	return cmd
}

// unprivileged is whom root runs the programs as; nil, ourselves, where that is not root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // as SysProcAttr wants it
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("root cannot run PostgreSQL, and there is neither a user postgres nor nobody")
}
