package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/dbtest"
	"speedybites/internal/demo"
	"speedybites/internal/load"
	"speedybites/internal/localpg"
	"speedybites/internal/pgtest"
)

// loaded is a program under load, which tests kill and start again.
type loaded struct {
	t       *testing.T
	server  *localpg.Server
	dir     string
	env     []string
	program *program
	load    *load.Generator
	stop    chan struct{}
	done    chan struct{} // closed when the load has ended
}

// underLoad starts the program on a server of its own and puts 100 requests a second on it. Their sender sends an order
// that got no answer again, with its key.
func underLoad(t *testing.T) *loaded {
	t.Helper()
	s := &loaded{t: t, server: pgtest.Server(t), dir: t.TempDir(), stop: make(chan struct{}), done: make(chan struct{})}
	s.env = []string{
		"APP_ENV=test", "DATABASE_URL=" + s.server.URL(), "TOKEN_SECRET=" + strings.Repeat("s", 40), "LOG_MAX_SIZE_MB=1",
	}
	s.restart()
	loadDemo(t, s.server.URL())
	base := s.program.base
	// A client keeps its address, so the service has to come back on its port.
	s.env = append(s.env, "PORT="+base[strings.LastIndex(base, ":")+1:])
	s.load = load.New(load.Config{
		BaseURL: base, Token: register(t, base), Rate: 100, KeyEvery: 1, Retry: true,
		RestaurantID: demo.RestaurantID(), MenuItemID: demo.MenuItemID(),
	})
	go func() {
		defer close(s.done)
		s.load.Run(t.Context(), s.stop)
	}()
	return s
}

func (s *loaded) restart() {
	s.t.Helper()
	s.program = serveProgram(s.t, s.dir, s.env...)
}

// end ends the load, and then the program as SIGTERM does.
func (s *loaded) end() {
	s.t.Helper()
	close(s.stop)
	<-s.done
	s.program.signal(syscall.SIGTERM)
	<-s.program.done
	if s.program.err != nil {
		s.t.Errorf("SIGTERM: %v", s.program.err)
	}
}

// TestKilled kills the service five times under load. Its clients send an order that got no answer again, with its key.
func TestKilled(t *testing.T) {
	t.Parallel()
	s := underLoad(t)
	for range 5 {
		time.Sleep(1500 * time.Millisecond)
		s.program.kill()
		s.restart()
	}
	time.Sleep(time.Second)
	s.end()

	conn, err := pgx.Connect(t.Context(), s.server.AdminURL(""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	r, err := s.load.Ledger().Compare(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r)
	if len(r.Lost)+len(r.Doubled) > 0 || r.Acknowledged < 50 {
		t.Errorf("orders lost: %v, doubled: %v, acknowledged: %d", r.Lost, r.Doubled, r.Acknowledged)
	}
	for _, e := range s.load.Ledger().Entries() {
		if e.Order && e.Failed() {
			t.Errorf("an order with a key was not placed in the end: %+v", e)
		}
	}
	oneAuditLineEach(t, conn, s.dir)
}

func loadDemo(t *testing.T, url string) {
	t.Helper()
	if _, err := demo.Load(t.Context(), dbtest.OpenDefault(t, url)); err != nil {
		t.Fatal(err)
	}
}

// oneAuditLineEach compares all of audit.log, backups included, with the audit table.
func oneAuditLineEach(t *testing.T, conn *pgx.Conn, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "logs", "audit*.log"))
	if err != nil {
		t.Fatal(err)
	}
	lines := map[uuid.UUID]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var entry struct{ AuditID uuid.UUID }
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Errorf("%s: %v in the line %q", file, err, line)
			}
			lines[entry.AuditID]++
		}
	}
	rows, err := conn.Query(t.Context(), "select operation_id from audit_log")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range entries {
		if lines[id] != 1 {
			t.Errorf("entry %v has %d lines", id, lines[id])
		}
		delete(lines, id)
	}
	if len(lines) > 0 {
		t.Errorf("%d lines of no entry", len(lines))
	}
	t.Logf("%d audit entries in %d files", len(entries), len(files))
}
