package app_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"speedybites/internal/localpg"
	"speedybites/internal/pgtest"
)

// replicaURL is the URL of a standby, which has its primary's users.
func replicaURL(server, standby *localpg.Server) string {
	return strings.Replace(server.URL(), server.Addr(), standby.Addr(), 1)
}

// replay pauses or resumes what a standby replays.
func replay(tb testing.TB, standby *localpg.Server, on bool) {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), standby.AdminURL(""))
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if on {
		_, err = conn.Exec(tb.Context(), "select pg_wal_replay_resume()")
	} else {
		_, err = conn.Exec(tb.Context(), "select pg_wal_replay_pause()")
		for state := ""; err == nil && state != "paused"; {
			err = conn.QueryRow(tb.Context(), "select pg_get_wal_replay_pause_state()").Scan(&state)
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// TestReadYourWrites: two instances share a primary and a standby that has stopped replaying. A customer reads the order
// just placed through either; a client without credentials does so with the token of the write, and may miss it without.
func TestReadYourWrites(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	server := pgtest.Server(t)
	standby := pgtest.Standby(t, server)
	env := "DATABASE_REPLICA_URL=" + replicaURL(server, standby)
	one := start(t, server.URL(), env).withDemo()
	two := start(t, server.URL(), env)
	token := one.customer()
	auth := []string{"Authorization", "Bearer " + token}
	eventually(t, "a replica in use on both", func() bool {
		return one.replicaStatus() == "Connected" && two.replicaStatus() == "Connected"
	})
	replay(t, standby, false)

	placed := one.call("POST", "/api/orders", demoOrder("mine"), auth...)
	position := placed.header.Get("Consistency-Token")
	if placed.status != http.StatusCreated || position == "" {
		t.Fatalf("order: %d %s, token %q", placed.status, placed.body, position)
	}
	var order struct{ ID string }
	placed.decode(t, &order)
	for name, s := range map[string]*service{"the same instance": one, "another instance": two} {
		if a := s.call("GET", "/api/orders/"+order.ID, nil, auth...); a.status != http.StatusOK {
			t.Errorf("own order through %s: %d %s", name, a.status, a.body)
		}
		withToken := append([]string{"Consistency-Token", position}, auth...)
		if a := s.call("GET", "/api/orders/"+order.ID, nil, withToken...); a.status != http.StatusOK {
			t.Errorf("own order with the token through %s: %d %s", name, a.status, a.body)
		}
	}

	owner := one.owner()
	created := one.call("POST", "/api/restaurants", map[string]any{"name": "New", "cuisine": "any", "address": "here"}, "Authorization", "Bearer "+owner)
	if created.status != http.StatusCreated {
		t.Fatalf("restaurant: %d %s", created.status, created.body)
	}
	var restaurant struct{ ID string }
	created.decode(t, &restaurant)
	path := "/api/restaurants/" + restaurant.ID
	if a := one.call("GET", path, nil); a.status != http.StatusOK {
		t.Errorf("without anything, where it was written: %d %s", a.status, a.body)
	}
	if a := two.call("GET", path, nil, "Consistency-Token", created.header.Get("Consistency-Token")); a.status != http.StatusOK {
		t.Errorf("with the token, elsewhere: %d %s", a.status, a.body)
	}
	if a := two.call("GET", path, nil, "Authorization", "Bearer "+owner); a.status != http.StatusOK {
		t.Errorf("with credentials, elsewhere: %d %s", a.status, a.body)
	}
	if a := two.call("GET", path, nil); a.status != http.StatusNotFound {
		t.Errorf("without anything, elsewhere: %d, want the replica's 404", a.status)
	}
	if a := two.call("GET", path, nil, "Consistency-Token", "nonsense"); a.status != http.StatusBadRequest || !strings.Contains(a.body, "Consistency-Token") {
		t.Errorf("a malformed token: %d %s", a.status, a.body)
	}
	replay(t, standby, true)
	eventually(t, "the replica to catch up", func() bool { return two.call("GET", path, nil).status == http.StatusOK })
}

// replicaStatus is what the health says of the first replica.
func (s *service) replicaStatus() string {
	s.t.Helper()
	var h struct{ Replicas []struct{ Status string } }
	s.call("GET", "/api/health", nil).decode(s.t, &h)
	if len(h.Replicas) == 0 {
		return ""
	}
	return h.Replicas[0].Status
}

// TestNoPrimary: reads answer 200 from the replica, writes 503 after the grace, the balancer keeps sending; and everything
// is as before when the primary is back.
func TestNoPrimary(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	server := pgtest.Server(t)
	standby := pgtest.Standby(t, server)
	s := start(t, server.URL(), "DATABASE_REPLICA_URL="+replicaURL(server, standby), "DB_OUTAGE_GRACE_MS=2000").withDemo()
	auth := []string{"Authorization", "Bearer " + s.customer()}
	placed := s.call("POST", "/api/orders", demoOrder("before"), auth...)
	if placed.status != http.StatusCreated {
		t.Fatalf("order: %d %s", placed.status, placed.body)
	}
	eventually(t, "a replica in use", func() bool { return s.replicaStatus() == "Connected" })
	time.Sleep(time.Second) // for the standby to have the order
	if err := server.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	reads := func(when string) {
		t.Helper()
		for _, path := range []string{"/api/restaurants", "/api/orders"} {
			if a := s.call("GET", path, nil, auth...); a.status != http.StatusOK || a.took > 2*time.Second || !strings.Contains(a.body, `"id"`) {
				t.Errorf("%s, %s: %d after %v: %s", when, path, a.status, a.took, a.body)
			}
		}
	}
	reads("just after the loss")
	begin := time.Now()
	for n := 1; n <= 5; n++ {
		a := s.call("POST", "/api/orders", demoOrder("during"), auth...)
		if a.status != http.StatusServiceUnavailable || (n == 1 && time.Since(begin) < 1500*time.Millisecond) {
			t.Errorf("order %d without a primary: %d after %v", n, a.status, a.took)
		}
	}
	reads("with the breaker open")
	h, status := s.health()
	if h.CircuitBreaker.State != "OPEN" || status != http.StatusServiceUnavailable || h.Database.Connected {
		t.Errorf("health: %d %+v", status, h)
	}
	if a := s.call("GET", "/readyz", nil); a.status != http.StatusOK {
		t.Errorf("readyz with a replica alone: %d", a.status)
	}
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an order", func() bool {
		return s.call("POST", "/api/orders", demoOrder("after"), auth...).status == http.StatusCreated
	})
	text, _ := s.scrape()
	if !strings.Contains(text, `speedybites_db_reads_total{route="replica_stand_in"} `) ||
		strings.Contains(text, `speedybites_db_reads_total{route="replica_stand_in"} 0`) {
		t.Error("the reads at the replica were not counted")
	}

	if err := standby.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	reads("with the replica gone")
	if err := server.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "readyz without anybody", func() bool { return s.call("GET", "/readyz", nil).status == http.StatusServiceUnavailable })
}

// TestReplicaUnderLoad: with a replica, reads go there; it dies and comes back, and no request fails.
func TestReplicaUnderLoad(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	server := pgtest.Server(t)
	standby := pgtest.Standby(t, server)
	s := start(t, server.URL(), "DATABASE_REPLICA_URL="+replicaURL(server, standby)).withDemo()
	eventually(t, "a replica in use", func() bool { return s.replicaStatus() == "Connected" })
	ledger := underLoad(t, s, 100, func() {
		if err := standby.Kill(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		if err := standby.StartAgain(t.Context()); err != nil {
			t.Error(err)
		}
		eventually(t, "the replica to be back", func() bool { return s.replicaStatus() == "Connected" })
	})
	settle(t, server, ledger)
	var h struct {
		Replicas []struct{ CircuitBreaker struct{ State string } }
	}
	s.call("GET", "/api/health", nil).decode(t, &h)
	if h.Replicas[0].CircuitBreaker.State != "CLOSED" {
		t.Errorf("the replica's breaker is %s", h.Replicas[0].CircuitBreaker.State)
	}
	text, _ := s.scrape()
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "speedybites_db_reads_total") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if strings.Contains(text, `speedybites_db_reads_total{route="replica"} 0`) {
		t.Error("no read was answered by the replica")
	}
}
