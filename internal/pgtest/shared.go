package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"speedybites/internal/localpg"
)

// shared is the one server of the test program. A test program has one TestMain, which has nowhere to keep a thing for
// the tests but the package level.
var shared sharedServer

type sharedServer struct {
	mu      sync.Mutex
	migrate func(ctx context.Context, url string) error
	dir     string
	server  *localpg.Server
	err     error // of the start; no test needs to try again
	count   int   // databases made so far, for their names
}

// template is the database that migrate has filled, and that those of the tests are copies of.
const template = "migrated"

// Main runs the tests of a program that uses [DB], and returns its exit code. The server is started when the first test
// asks for a database, and removed at the end. migrate brings an empty database up to date; it must leave no connection
// behind.
func Main(m *testing.M, migrate func(ctx context.Context, url string) error) int {
	shared.mu.Lock()
	shared.migrate = migrate
	shared.mu.Unlock()
	code := m.Run()
	if err := shared.remove(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// DB returns the URL of a new database, a copy of a migrated one, for [localpg.User]. It is dropped when the test ends.
// The server is shared with the other tests of the program, so leave it running; see [Server] for one of your own.
func DB(tb testing.TB) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	name, err := shared.create(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), patience)
		defer cancel()
		if err := execute(ctx, shared.server.AdminURL("postgres"), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			tb.Errorf("drop the test's database: %v", err)
		}
	})
	u, err := url.Parse(shared.server.URL())
	if err != nil {
		tb.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

func (s *sharedServer) create(ctx context.Context) (string, error) {
	s.mu.Lock()
	if s.server == nil && s.err == nil {
		s.err = s.start(ctx)
	}
	s.count++
	name, err := fmt.Sprintf("test_%d", s.count), s.err
	s.mu.Unlock()
	if err != nil {
		return "", fmt.Errorf("shared postgresql: %w", err)
	}
	create := fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s OWNER %s", name, template, localpg.User)
	if err := execute(ctx, s.server.AdminURL("postgres"), create); err != nil {
		return "", fmt.Errorf("copy the migrated database: %w", err)
	}
	return name, nil
}

func (s *sharedServer) start(ctx context.Context) error {
	if s.migrate == nil {
		return errors.New("no migrations known: let TestMain call pgtest.Main")
	}
	var err error
	if s.dir, err = makeDir(); err != nil {
		return err
	}
	s.server, err = localpg.Start(ctx, localpg.Config{
		Dir: s.dir, Database: template, Ephemeral: true, Settings: map[string]string{"max_connections": "300"},
	})
	if err != nil {
		return err
	}
	if err := s.migrate(ctx, s.server.URL()); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	// A connection to it would keep it from being copied.
	return execute(ctx, s.server.AdminURL("postgres"), "ALTER DATABASE "+template+" ALLOW_CONNECTIONS false")
}

func (s *sharedServer) remove() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		return os.RemoveAll(s.dir) // "" if nothing was started, which removes nothing.
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s.server.Remove(ctx)
}

func execute(ctx context.Context, url, sql string) error {
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql).ReadAll()
	return errors.Join(err, conn.Close(ctx))
}
