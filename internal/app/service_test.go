package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"speedybites/internal/pgtest"
)

// TestOrder is a customer's way through the API.
func TestOrder(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	s := start(t, server.URL()).withDemo()
	token := s.customer()
	auth := []string{"Authorization", "Bearer " + token}

	key := append([]string{"Idempotency-Key", "one"}, auth...)
	first := s.call("POST", "/api/orders", demoOrder("a"), key...)
	if first.status != http.StatusCreated {
		t.Fatalf("order: %d %s", first.status, first.body)
	}
	again := s.call("POST", "/api/orders", demoOrder("a"), key...)
	if again.status != http.StatusCreated || again.header.Get("Idempotency-Replayed") != "true" || again.body != first.body {
		t.Errorf("the same key and body: %d, replayed %q,\n%s\nwant\n%s",
			again.status, again.header.Get("Idempotency-Replayed"), again.body, first.body)
	}
	if other := s.call("POST", "/api/orders", demoOrder("b"), key...); other.status != http.StatusUnprocessableEntity {
		t.Errorf("the same key, another body: %d %s", other.status, other.body)
	}
	var list struct{ Data []json.RawMessage }
	s.call("GET", "/api/orders", nil, auth...).decode(t, &list)
	if len(list.Data) != 1 {
		t.Errorf("orders: got %d, want 1", len(list.Data))
	}
	if a := s.call("GET", "/api/orders", nil, "Authorization", "Bearer "+s.customer()); strings.Contains(a.body, "totalCents") {
		t.Errorf("another customer sees %s", a.body)
	}
	if h, _ := s.health(); h.CircuitBreaker.FailureCount != 0 {
		t.Errorf("client errors were counted: %+v", h.CircuitBreaker)
	}
}

// TestClientsMistakesAreNotOutages sends what must not be counted: wrong requests, and requests that their client
// abandons.
func TestClientsMistakesAreNotOutages(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	s := start(t, server.URL()).withDemo()
	for _, path := range []string{"/api/restaurants/nonsense", "/api/restaurants?cursor=%00", "/api/restaurants?limit=-1", "/api/orders", "/nowhere"} {
		for range 5 {
			if a := s.call("GET", path, nil); a.status < 400 || a.status > 499 {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
	}
	conn := connect(t, server.AdminURL(""))
	if _, err := conn.Exec(t.Context(), "begin; lock table restaurants in access exclusive mode"); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := call(ctx, "GET", s.base+"/api/restaurants", nil)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("abandoned request: %v", err)
		}
	}
	if _, err := conn.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the abandoned queries to end", func() bool {
		h, _ := s.health()
		return h.Database.ActiveConnections == 0
	})
	if h, _ := s.health(); h.CircuitBreaker.FailureCount != 0 || h.CircuitBreaker.State != "CLOSED" {
		t.Errorf("got %+v, want nothing counted", h.CircuitBreaker)
	}
}

// TestStatementTooSlow has a statement run into its limit.
func TestStatementTooSlow(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	s := start(t, server.URL(), "DB_STATEMENT_TIMEOUT=300").withDemo()
	conn := connect(t, server.AdminURL(""))
	if _, err := conn.Exec(t.Context(), "begin; lock table restaurants in access exclusive mode"); err != nil {
		t.Fatal(err)
	}
	if a := s.call("GET", "/api/restaurants", nil); a.status != http.StatusGatewayTimeout {
		t.Errorf("got %d %s, want 504", a.status, a.body)
	}
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	u, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(u.User.Username(), "not-the-password")
	s := start(t, u.String())
	for range 7 {
		a := s.call("GET", "/api/restaurants", nil, "X-Request-Id", "the-request")
		if a.status != 503 || strings.TrimSpace(a.body) != unavailable {
			t.Errorf("got %d %s", a.status, a.body)
		}
		if a.took > 90*time.Millisecond {
			t.Logf("refused after %v", a.took)
		}
	}
	h, status := s.health()
	if status != 503 || h.Database.Status != "Authentication failed" || h.CircuitBreaker.FailureCount != 0 {
		t.Errorf("health: %d %+v", status, h)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	log := s.log(t, "error.log")
	if !strings.Contains(log, `"database authentication failed"`) || strings.Contains(log, "not-the-password") {
		t.Errorf("error.log:\n%s", log)
	}
	if strings.Contains(s.log(t, "app.log"), `"query retried"`) {
		t.Error("a query was retried")
	}
}

// TestStartsDown starts the service before its database.
func TestStartsDown(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	server := pgtest.Server(t)
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := start(t, server.URL(), "DB_OUTAGE_GRACE_MS=3000")
	h, status := s.health()
	if status != 200 || h.Status != "degraded" || h.Database.Status != "Reconnecting" {
		t.Errorf("inside the grace: %d %+v", status, h)
	}
	if a := s.call("GET", "/readyz", nil); a.status != 200 {
		t.Errorf("readyz inside the grace: %d", a.status)
	}
	eventually(t, "the grace to end", func() bool { _, status := s.health(); return status == 503 })
	if a := s.call("GET", "/readyz", nil); a.status != 503 {
		t.Errorf("readyz after the grace: %d", a.status)
	}
	if a := s.call("GET", "/livez", nil); a.status != 200 {
		t.Errorf("livez: %d", a.status)
	}
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first answer, from a schema migrated late", func() bool {
		return s.call("GET", "/api/restaurants", nil).status == 200
	})
	if _, status := s.health(); status != 200 {
		t.Errorf("health after the recovery: %d", status)
	}
	eventually(t, "the last of the late migrations", func() bool {
		err := connect(t, server.AdminURL("")).QueryRow(t.Context(), "select from audit_log limit 0").Scan()
		return errors.Is(err, pgx.ErrNoRows)
	})
}

// TestHealthShowsAStoppedDatabase does so without any traffic, within the contract's two seconds.
func TestHealthShowsAStoppedDatabase(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	s := start(t, server.URL())
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	eventually(t, "the health to say so", func() bool { h, _ := s.health(); return !h.Database.Connected })
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("shown after %v, want at most 2s", took)
	}
}

// TestHungServer stops every process of the database under load.
func TestHungServer(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	server := pgtest.Server(t)
	s := start(t, server.URL()).withDemo()
	ledger := underLoad(t, s, 50, func() {
		if err := server.Pause(t.Context()); err != nil {
			t.Error(err)
		}
		begin := time.Now()
		eventually(t, "the hung server to be found", func() bool { h, _ := s.health(); return !h.Database.Connected })
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("found after %v, want at most 5s", took)
		}
		time.Sleep(time.Until(begin.Add(8 * time.Second)))
		if err := server.Resume(); err != nil {
			t.Error(err)
		}
	})
	r := settle(t, server, ledger)
	if limit := 16 * time.Second; r.Longest.Took() > limit {
		t.Errorf("a request took %v, want at most %v", r.Longest.Took(), limit)
	}
}

// TestShutdown stops the service under load: what was accepted is answered.
func TestShutdown(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	s := start(t, server.URL(), "SHUTDOWN_DRAIN_MS=1000").withDemo()
	g := newLoad(s.base, s.customer(), 100)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		g.Run(t.Context(), stop)
	}()
	time.Sleep(time.Second)
	ended := make(chan error, 1)
	go func() { ended <- s.stop() }()
	eventually(t, "readyz to turn 503", func() bool {
		a, err := call(t.Context(), "GET", s.base+"/readyz", nil)
		return err == nil && a.status == 503 && a.closes
	})
	close(stop)
	<-done
	if err := <-ended; err != nil {
		t.Error(err)
	}
	settle(t, server, g.Ledger())
	lines, entries := auditLines(t, s.logs+"/audit.log"), 0
	if err := connect(t, server.AdminURL("")).QueryRow(t.Context(), "select count(*) from audit_log").Scan(&entries); err != nil {
		t.Fatal(err)
	}
	if len(lines) != entries || entries == 0 {
		t.Errorf("audit.log has %d lines for %d entries", len(lines), entries)
	}
}

// auditLines returns the ids of a file's lines, each of which must be whole, and none twice.
func auditLines(tb testing.TB, path string) map[string]bool {
	tb.Helper()
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(f)
	if err != nil {
		tb.Fatal(err)
	}
	ids := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		var entry struct{ AuditID string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			tb.Errorf("%v in the line %q", err, line)
			continue
		}
		if ids[entry.AuditID] {
			tb.Errorf("entry %s has two lines", entry.AuditID)
		}
		ids[entry.AuditID] = true
	}
	return ids
}
