package pgtest_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"speedybites/internal/localpg"
	"speedybites/internal/pgtest"
)

// patience is for what must happen, on a machine however slow.
const patience = time.Minute

func TestMain(m *testing.M) {
	var runs atomic.Int64
	os.Exit(pgtest.Main(m, func(ctx context.Context, url string) error {
		if runs.Add(1) > 1 {
			return errors.New("migrated twice")
		}
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, "CREATE TABLE orders (n int)")
		return errors.Join(err, conn.Close(ctx))
	}))
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func count(t *testing.T, conn *pgx.Conn, sql string) int {
	t.Helper()
	var n int
	if err := conn.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func TestDB(t *testing.T) { //nolint:tparallel // What comes after the subtest looks at what it left.
	t.Parallel()
	const tests = 3
	var urls [tests]string
	t.Run("EachItsOwn", func(t *testing.T) {
		for i := range tests {
			t.Run("Migrated", func(t *testing.T) {
				t.Parallel()
				urls[i] = pgtest.DB(t)
				conn := connect(t, urls[i]) // Left open: the database is dropped all the same.
				if got := count(t, conn, "SELECT count(*) FROM orders"); got != 0 {
					t.Errorf("got %d orders of other tests", got)
				}
				if _, err := conn.Exec(t.Context(), "INSERT INTO orders VALUES (1); CREATE TABLE mine ()"); err != nil {
					t.Error(err)
				}
			})
		}
	})
	// The server is the same for all, so that what is left of the databases above can be seen from here.
	admin := connect(t, pgtest.AsAdmin(t, pgtest.DB(t)))
	for _, u := range urls {
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		var there bool
		name := strings.TrimPrefix(parsed.Path, "/")
		if err := admin.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&there); err != nil {
			t.Fatal(err)
		}
		if there {
			t.Errorf("database %s was not dropped", name)
		}
	}
	if got := count(t, admin, "SELECT count(*) FROM pg_roles WHERE rolname = current_user AND rolsuper"); got != 1 {
		t.Error("AsAdmin is no superuser")
	}
}

func TestServer(t *testing.T) { //nolint:tparallel // What comes after the subtest looks at what it left.
	t.Parallel()
	var dirs []string
	var servers []*localpg.Server
	t.Run("Use", func(t *testing.T) {
		primary := pgtest.Server(t, func(c *localpg.Config) { c.Settings = map[string]string{"max_connections": "20"} })
		standby := pgtest.Standby(t, primary)
		if got := count(t, connect(t, standby.URL()), "SELECT current_setting('max_connections')::int"); got != 20 {
			t.Errorf("got max_connections %d, want 20", got)
		}
		if err := standby.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := primary.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		servers, dirs = append(servers, primary, standby), append(dirs, primary.Dir(), standby.Dir())
	})
	for i, dir := range dirs {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", dir, err)
		}
		if pid := servers[i].Pid(); pid != 0 {
			t.Errorf("process %d is still there", pid)
		}
	}
}
