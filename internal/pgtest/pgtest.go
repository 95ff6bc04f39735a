// Package pgtest gives tests real PostgreSQL servers. It is for tests only.
//
// A package that needs databases has one line in its TestMain and one in each test:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, migrate)) }
//
//	url := pgtest.DB(t) // a migrated database of the test's own
//
// A test that stops, kills or pauses its server takes one of its own, and one that breaks the network puts a proxy
// between:
//
//	server := pgtest.Server(t)
//	proxy := pgtest.Proxy(t, server.Addr())
//	url := proxy.URL(server.URL())
//
// A [TCPProxy] is a network that refuses, resets, swallows, delays or throttles; a [WireProxy] can also strike at a message,
// such as COMMIT: see [Fault].
package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"speedybites/internal/localpg"
)

// patience ends what would hang: much longer than anything here takes on a loaded machine.
const patience = 2 * time.Minute

// Server starts a server for this test alone, and removes it with all its data when the test ends, also when it is
// paused or killed then. Each option may change the configuration; its directory is set and Ephemeral is on.
func Server(tb testing.TB, options ...func(*localpg.Config)) *localpg.Server {
	tb.Helper()
	cfg := localpg.Config{Dir: Dir(tb), Ephemeral: true}
	for _, option := range options {
		option(&cfg)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	server, err := localpg.Start(ctx, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	removeAtEnd(tb, server)
	return server
}

// Standby starts a standby of a server, see [localpg.Server.Standby], and removes it when the test ends.
func Standby(tb testing.TB, primary *localpg.Server, options ...func(*localpg.Config)) *localpg.Server {
	tb.Helper()
	cfg := localpg.Config{Dir: Dir(tb)}
	for _, option := range options {
		option(&cfg)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	standby, err := primary.Standby(ctx, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	removeAtEnd(tb, standby)
	return standby
}

func removeAtEnd(tb testing.TB, server *localpg.Server) {
	tb.Helper()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), patience)
		defer cancel()
		if err := server.Remove(ctx); err != nil {
			tb.Error(err)
		}
	})
}

// Dir returns a new directory for a server, removed when the test ends. Unlike t.TempDir's it can be reached by the
// unprivileged user that runs the server when root runs the tests.
func Dir(tb testing.TB) string {
	tb.Helper()
	dir, err := makeDir()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

const dirPrefix = "speedybites-pgtest-"

func makeDir() (string, error) {
	if err := sweep(); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", dirPrefix, os.Getpid()))
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755) //nolint:gosec // G302: what is secret in it is protected on its own.
}

// sweep removes what test programs left behind that were killed or panicked: directories that name a process which is
// no more, and are old enough not to be those of a container that numbers its processes differently.
func sweep() error {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), dirPrefix), "-")
		pid, err := strconv.Atoi(owner)
		if err != nil || syscall.Kill(pid, 0) == nil {
			continue
		}
		if info, err := os.Stat(dir); err != nil || time.Since(info.ModTime()) < time.Hour {
			continue
		}
		_ = os.RemoveAll(dir) // Another test program may be doing the same, or it is another user's.
	}
	return nil
}

// AsAdmin returns the URL of a database with the superuser in place of its ordinary user.
func AsAdmin(tb testing.TB, database string) string {
	tb.Helper()
	u, err := url.Parse(database)
	if err != nil {
		tb.Fatal(err)
	}
	password, _ := u.User.Password()
	u.User = url.UserPassword(localpg.Admin, password)
	return u.String()
}
