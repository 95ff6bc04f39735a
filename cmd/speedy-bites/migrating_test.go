package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/localpg"
	"speedybites/internal/migrate"
	"speedybites/internal/pgtest"
)

// TestMigrateTogether starts several instances at the same moment, on a database that is behind. One of them applies each
// migration, and all of them start.
func TestMigrateTogether(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		instances int
		pending   int64 // 0: all of them
	}{{"TwoOnEmpty", 2, 0}, {"FourOnEmpty", 4, 0}, {"ThreeWithPending", 3, 2}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Server(t)
			first, latest := int64(1), latestMigration(t, server)
			if c.pending > 0 {
				first = latest - c.pending + 1
				env := []string{"DATABASE_URL=" + server.URL()}
				for _, args := range append([][]string{{"up"}}, repeat([]string{"down"}, int(c.pending))...) {
					if _, stderr, code := tool(t, env, "", append([]string{"migrate"}, args...)...); code != 0 {
						t.Fatalf("migrate %v: exit code %d, %s", args, code, stderr)
					}
				}
			}
			var all []*program
			for range c.instances {
				all = append(all, startProgram(t, t.TempDir(), "APP_ENV=test", "DATABASE_URL="+server.URL()))
			}
			for _, p := range all {
				p.wait(t)
			}
			appliedOnce(t, all, first, latest)
			recordedOnce(t, server, latest)
		})
	}
}

func repeat[T any](v T, n int) (list []T) {
	for range n {
		list = append(list, v)
	}
	return list
}

// TestMigrateKilled kills an instance in the middle of a migration, while two others wait for it. They go on where it was.
func TestMigrateKilled(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	latest := latestMigration(t, server)
	env := []string{"APP_ENV=test", "DATABASE_URL=" + server.URL()}
	admin, err := pgx.Connect(t.Context(), server.AdminURL(""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(context.WithoutCancel(t.Context())) }()
	obstacle, err := pgx.Connect(t.Context(), server.AdminURL(""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = obstacle.Close(context.WithoutCancel(t.Context())) }()
	// A table of the third migration that is not there yet, and may never be: whoever wants to make it waits.
	if _, err := obstacle.Exec(t.Context(), "BEGIN; CREATE TABLE orders ()"); err != nil {
		t.Fatal(err)
	}

	victim := startProgram(t, t.TempDir(), env...)
	untilCount(t, admin, 1, "SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted")
	victim.signal(syscall.SIGSTOP)
	if _, err := obstacle.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	untilCount(t, admin, 1, "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'")
	untilCount(t, admin, 2, recorded)

	others := []*program{startProgram(t, t.TempDir(), env...), startProgram(t, t.TempDir(), env...)}
	untilCount(t, admin, len(others), `SELECT count(*) FROM pg_stat_activity
		WHERE query LIKE '%pg_try_advisory_lock%' AND state = 'idle' AND pid <> pg_backend_pid()`)
	for _, p := range others {
		select {
		case addr := <-p.addr:
			t.Errorf("%s listens while somebody else migrates", addr)
		default:
		}
	}
	victim.kill()
	for _, p := range others {
		p.wait(t)
	}
	appliedOnce(t, others, 3, latest)
	recordedOnce(t, server, latest)
}

// recorded counts the migrations that were applied and not taken back, each time of each.
const recorded = "SELECT count(*) FROM goose_db_version WHERE version_id > 0"

func latestMigration(t *testing.T, server *localpg.Server) int64 {
	t.Helper()
	_, latest, err := migrate.Version(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	return latest
}

// applied returns the migrations that an instance says it has applied. Nothing may have gone wrong there.
func applied(t *testing.T, p *program) (versions []int64) {
	t.Helper()
	for line := range strings.Lines(p.log.String()) {
		var l struct {
			Level, Msg string
			Version    any
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if l.Level == "ERROR" {
			t.Errorf("an instance had trouble: %s", line)
		}
		if v, ok := l.Version.(float64); ok && l.Msg == "migration applied" {
			versions = append(versions, int64(v))
		}
	}
	return versions
}

// appliedOnce demands that each migration from first to last was applied by one of the instances.
func appliedOnce(t *testing.T, all []*program, first, last int64) {
	t.Helper()
	got, want := map[int64]int{}, map[int64]int{}
	for _, p := range all {
		for _, v := range applied(t, p) {
			got[v]++
		}
	}
	for v := first; v <= last; v++ {
		want[v] = 1
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("how often each migration was applied (-want +got):\n%s", diff)
	}
}

// recordedOnce demands the same of the database's own record.
func recordedOnce(t *testing.T, server *localpg.Server, last int64) {
	t.Helper()
	list, err := migrate.Status(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if !m.Applied() {
			t.Errorf("%s is not applied", m.Name)
		}
	}
	conn, err := pgx.Connect(t.Context(), server.AdminURL(""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	untilCount(t, conn, int(last), recorded)
}

// untilCount waits until a query counts n.
func untilCount(t *testing.T, conn *pgx.Conn, n int, query string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var got int
		if err := conn.QueryRow(t.Context(), query).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(fmt.Errorf("%s: got %d, want %d", query, got, n))
		}
	}
}
