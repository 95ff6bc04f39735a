package migrate_test

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/migrate"
	"speedybites/internal/pgtest"
	"speedybites/migrations"
)

// The template database stays empty here: to migrate is what these tests do.
func TestMain(m *testing.M) {
	os.Exit(pgtest.Main(m, func(context.Context, string) error { return nil }))
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func files(t *testing.T) []string {
	t.Helper()
	names, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil || len(names) == 0 {
		t.Fatalf("got %v, %v", names, err)
	}
	return names
}

func TestUpAndDown(t *testing.T) {
	t.Parallel()
	url, all := pgtest.DB(t), int64(len(files(t)))
	version := func(want int64) {
		t.Helper()
		current, latest, err := migrate.Version(t.Context(), url)
		if err != nil || current != want || latest != all {
			t.Fatalf("got version %d of %d, %v, want %d of %d", current, latest, err, want, all)
		}
	}
	version(0)
	if n, err := migrate.Up(t.Context(), url, quiet()); err != nil || n != int(all) {
		t.Fatalf("got %d applied, %v, want %d", n, err, all)
	}
	version(all)
	if n, err := migrate.Up(t.Context(), url, quiet()); err != nil || n != 0 {
		t.Fatalf("got %d applied again, %v, want 0", n, err)
	}
	schema := dump(t, url)
	for want := all; want > 0; want-- {
		if v, err := migrate.Down(t.Context(), url, quiet()); err != nil || v != want {
			t.Fatalf("got %d taken back, %v, want %d", v, err, want)
		}
		version(want - 1)
	}
	if v, err := migrate.Down(t.Context(), url, quiet()); err != nil || v != 0 {
		t.Fatalf("got %d taken back of nothing, %v, want 0", v, err)
	}
	if left := dump(t, url); len(left) != 0 {
		t.Errorf("left behind by the way down: %v", left)
	}
	if n, err := migrate.Up(t.Context(), url, quiet()); err != nil || n != int(all) {
		t.Fatalf("got %d applied the second time, %v, want %d", n, err, all)
	}
	if diff := cmp.Diff(schema, dump(t, url)); diff != "" {
		t.Errorf("schema after down and up (-before +after):\n%s", diff)
	}
}

// dump names everything in the schema but goose's own.
func dump(t *testing.T, url string) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	rows, err := conn.Query(t.Context(), `
		SELECT 'relation ' || relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'goose%'
		UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
		UNION ALL SELECT 'constraint ' || conname FROM pg_constraint
			WHERE connamespace = 'public'::regnamespace AND conname NOT LIKE 'goose%'
		UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestUpConcurrently(t *testing.T) {
	t.Parallel()
	url := pgtest.DB(t)
	var (
		wg      sync.WaitGroup
		applied atomic.Int64
	)
	for range 4 {
		wg.Go(func() {
			n, err := migrate.Up(t.Context(), url, quiet())
			if err != nil {
				t.Error(err)
			}
			applied.Add(int64(n))
		})
	}
	wg.Wait()
	if want := int64(len(files(t))); applied.Load() != want {
		t.Errorf("got %d applied in all, want %d", applied.Load(), want)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	url, names := pgtest.DB(t), files(t)
	if _, err := migrate.Up(t.Context(), url, quiet()); err != nil {
		t.Fatal(err)
	}
	if _, err := migrate.Down(t.Context(), url, quiet()); err != nil {
		t.Fatal(err)
	}
	list, err := migrate.Status(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != len(names) {
		t.Fatalf("got %d migrations, want %d", len(list), len(names))
	}
	for i, m := range list {
		if m.Name != names[i] || m.Version != int64(i+1) || m.Applied() != (i < len(names)-1) {
			t.Errorf("got %+v as number %d", m, i+1)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"NoURL":       "postgres://user:hunter2@localhost:port/db",
		"Unreachable": "postgres://user:hunter2@127.0.0.1:1/db?connect_timeout=5",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := migrate.Up(t.Context(), url, quiet())
			if err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want an error without the password", err)
			}
		})
	}
}

// TestFilesKeepTheRules: see package migrations.
func TestFilesKeepTheRules(t *testing.T) {
	t.Parallel()
	for _, name := range files(t) {
		text, err := fs.ReadFile(migrations.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		body, alone := strings.CutPrefix(string(text), "-- +goose NO TRANSACTION\n")
		up, down, ok := strings.Cut(body, "-- +goose Down")
		if !ok || !strings.HasPrefix(up, "-- +goose Up") {
			t.Errorf("%s: wants an Up and a Down part", name)
		}
		for _, part := range []string{up, down} {
			if !strings.Contains(part, "lock_timeout") && (!alone || !strings.Contains(part, "CONCURRENTLY")) {
				t.Errorf("%s: a part sets no lock_timeout", name)
			}
		}
		if strings.Contains(strings.ReplaceAll(string(text), "timestamptz", ""), "timestamp") {
			t.Errorf("%s: a time without a zone", name)
		}
	}
}
