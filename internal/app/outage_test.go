package app_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"speedybites/internal/load"
	"speedybites/internal/pgtest"
)

// TestOutages kills the database under 100 requests a second, four reads to an order, and brings it back inside the
// grace. Nobody may notice more than a wait.
func TestOutages(t *testing.T) {
	t.Parallel()
	for _, outage := range []time.Duration{time.Second, 3 * time.Second, 8 * time.Second} {
		if testing.Short() && outage > time.Second {
			continue
		}
		t.Run(outage.String(), func(t *testing.T) {
			t.Parallel()
			server := pgtest.Server(t)
			s := start(t, server.URL()).withDemo()
			var killed time.Time
			ledger := underLoad(t, s, 100, func() {
				killed = time.Now()
				if err := server.Kill(t.Context()); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Until(killed.Add(outage)))
				if err := server.StartAgain(t.Context()); err != nil {
					t.Error(err)
				}
			})
			settle(t, server, ledger)
			ready := accepting(t, server)
			recovery := firstSuccess(ledger, ready).Sub(ready)
			t.Logf("killed for %v: first success %v after the server accepted connections", ready.Sub(killed), recovery)
			if recovery >= time.Second {
				t.Errorf("the first success came %v after the server accepted connections, want under 1s", recovery)
			}
			if h, _ := s.health(); h.CircuitBreaker.State != "CLOSED" || len(h.CircuitBreaker.Transitions) > 0 {
				t.Errorf("the breaker did not stay closed: %+v", h.CircuitBreaker)
			}
		})
	}
}

// firstSuccess returns when the first request was answered after a moment.
func firstSuccess(l *load.Ledger, after time.Time) time.Time {
	var first time.Time
	for _, e := range l.Entries() {
		if !e.Failed() && e.End.After(after) && (first.IsZero() || e.End.Before(first)) {
			first = e.End
		}
	}
	return first
}

// TestTerminatedBackends ends every session of the server five times a second.
func TestTerminatedBackends(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	rounds := 50
	if testing.Short() {
		rounds = 10
	}
	server := pgtest.Server(t)
	s := start(t, server.URL()).withDemo()
	ended := 0
	ledger := underLoad(t, s, 100, func() {
		for range rounds {
			n, err := server.TerminateBackends(t.Context())
			if err != nil {
				t.Error(err)
			}
			ended += n
			time.Sleep(200 * time.Millisecond)
		}
	})
	t.Logf("%d sessions ended", ended)
	settle(t, server, ledger)
	if h, _ := s.health(); len(h.CircuitBreaker.Transitions) > 0 {
		t.Errorf("the breaker did not stay closed: %v", h.transitions())
	}
}

const unavailable = `{"error":"Service Unavailable","message":"Database connection temporarily unavailable",` +
	`"status":"Database reconnecting...","retryAfter":10,"requestId":"the-request"}`

// TestBreaker follows the documented scenario of an extended outage, with no grace. It does not run beside other tests:
// it measures how fast a request is refused.
func TestBreaker(t *testing.T) {
	server := pgtest.Server(t)
	proxy := pgtest.Proxy(t, server.Addr())
	s := start(t, proxy.URL(server.URL()), "DB_OUTAGE_GRACE_MS=0").withDemo()
	get := func() answer { return s.call("GET", "/api/restaurants", nil, "X-Request-Id", "the-request") }
	if a := get(); a.status != http.StatusOK {
		t.Fatalf("before the outage: %d %s", a.status, a.body)
	}
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 5; n++ {
		a := get()
		if a.status != http.StatusServiceUnavailable || a.took < 300*time.Millisecond {
			t.Errorf("request %d: %d after %v, want 503 after attempts at 0, 100 and 300 ms", n, a.status, a.took)
		}
		h, status := s.health()
		if h.CircuitBreaker.FailureCount != n || status != http.StatusServiceUnavailable {
			t.Errorf("request %d: failureCount %d, health %d", n, h.CircuitBreaker.FailureCount, status)
		}
	}
	if h, _ := s.health(); h.CircuitBreaker.State != "OPEN" || h.Database.Status != "Disconnected" || h.Database.Connected {
		t.Errorf("after five failures: %+v", h)
	}
	if a := s.call("GET", "/readyz", nil); a.status != http.StatusServiceUnavailable {
		t.Errorf("readyz: %d", a.status)
	}
	refused(t, proxy, get)

	back := time.Now()
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	back = maxTime(back, accepting(t, server))
	eventually(t, "a success", func() bool { return get().status == http.StatusOK })
	took := time.Since(back)
	t.Logf("first success %v after the server accepted connections", took)
	if took >= 2*time.Second {
		t.Errorf("recovery took %v, want under 2s", took)
	}
	h, status := s.health()
	if got, want := strings.Join(h.transitions(), " "), "CLOSED→OPEN OPEN→HALF_OPEN HALF_OPEN→CLOSED"; got != want {
		t.Errorf("transitions: got %s, want %s", got, want)
	}
	if status != http.StatusOK || h.CircuitBreaker.FailureCount != 0 {
		t.Errorf("after the recovery: %d %+v", status, h)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if log := s.log(t, "app.log"); !strings.Contains(log, `"circuit breaker HALF_OPEN"`) {
		t.Error("HALF_OPEN is not in the log")
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// refused has 1,000 requests refused by the open breaker.
func refused(t *testing.T, proxy *pgtest.TCPProxy, get func() answer) {
	t.Helper()
	const requests, clients, tries = 1000, 4, 5
	for try := 1; ; try++ {
		p99 := refuseAll(t, proxy, get, requests, clients)
		if p99 < 5*time.Millisecond {
			break
		}
		if try == tries { // what else the machine does can only add
			t.Errorf("p99 %v in the best of %d tries, want under 5ms", p99, tries)
			break
		}
	}
	// The prober goes on, and is the only one that dials.
	before, begin := proxy.Dials(), time.Now()
	time.Sleep(4 * time.Second)
	dials := proxy.Dials() - before
	if elapsed := time.Since(begin); dials < 4 || dials > 1+int(3*elapsed.Seconds()) {
		t.Errorf("the prober dialed %d times in %v", dials, elapsed)
	}
}

// refuseAll makes requests and returns the 99th percentile of their times.
func refuseAll(t *testing.T, proxy *pgtest.TCPProxy, get func() answer, requests, clients int) time.Duration {
	t.Helper()
	before, begin := proxy.Dials(), time.Now()
	took := make([]time.Duration, requests)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := c; i < requests; i += clients {
				a := get()
				took[i] = a.took
				if a.status != http.StatusServiceUnavailable || strings.TrimSpace(a.body) != unavailable || a.header.Get("Retry-After") != "10" {
					t.Errorf("got %d %s, Retry-After %s", a.status, a.body, a.header.Get("Retry-After"))
					return
				}
			}
		})
	}
	wg.Wait()
	elapsed, dials := time.Since(begin), proxy.Dials()-before
	slices.Sort(took)
	p99 := took[requests*99/100]
	t.Logf("%d requests refused in %v, p99 %v, %d dials meanwhile", requests, elapsed, p99, dials)
	if limit := 1 + int(3*elapsed.Seconds()); dials > limit {
		t.Errorf("%d dials in %v, the prober alone makes at most %d", dials, elapsed, limit)
	}
	return p99
}

// TestSaturation holds locks until every connection waits and the queue is full.
func TestSaturation(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	s := start(t, server.URL(), "DB_POOL_MIN=1", "DB_POOL_MAX=2", "DB_MAX_WAITING=10").withDemo()
	conn := connect(t, server.AdminURL(""))
	ctx := t.Context()
	if _, err := conn.Exec(ctx, "begin; lock table restaurants, menu_items, users in access exclusive mode"); err != nil {
		t.Fatal(err)
	}
	answers := make(chan answer, 50)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { answers <- s.call("GET", "/api/restaurants", nil) })
	}
	var surplus []answer
	for range 38 {
		surplus = append(surplus, <-answers)
	}
	for _, a := range surplus {
		if a.status != 503 || a.header.Get("Retry-After") != "1" || !strings.Contains(a.body, `"status":"Database at capacity"`) ||
			!strings.Contains(a.body, `"retryAfter":1`) {
			t.Errorf("surplus: got %d %s", a.status, a.body)
		}
		if a.took >= 100*time.Millisecond {
			t.Errorf("surplus refused after %v, want under 100ms", a.took)
		}
	}
	h, status := s.health()
	if h.Database.WaitingQueue != 10 || h.Database.ActiveConnections != 2 || status != 200 {
		t.Errorf("health while saturated: %d %+v", status, h.Database)
	}
	if _, err := conn.Exec(ctx, "rollback"); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	close(answers)
	displaced := 0
	for a := range answers {
		if capacityAnswer(a) {
			displaced++
		} else if a.status != 200 {
			t.Errorf("a waiter got %d %s", a.status, a.body)
		}
	}
	if displaced > 2 { // by the loops of the service itself, whose queries are writes
		t.Errorf("%d waiters got no answer", displaced)
	}
	if h, _ := s.health(); h.CircuitBreaker.State != "CLOSED" || h.CircuitBreaker.FailureCount != 0 || h.Database.WaitingQueue != 0 {
		t.Errorf("after the lock: %+v", h)
	}
}

// TestCommitHeld has the server make 16 orders durable without answering, and then dies.
func TestCommitHeld(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	s := start(t, server.URL()).withDemo()
	token := s.customer()
	ctx := t.Context()
	if err := server.SetSettings(ctx, map[string]string{"synchronous_standby_names": "nobody"}); err != nil {
		t.Fatal(err)
	}
	answers := make([]answer, 16)
	var wg sync.WaitGroup
	for i := range answers {
		header := []string{"Authorization", "Bearer " + token}
		if i%2 == 0 {
			header = append(header, "Idempotency-Key", fmt.Sprint("held-", i))
		}
		wg.Go(func() { answers[i] = s.call("POST", "/api/orders", demoOrder(fmt.Sprint("held-", i)), header...) })
	}
	admin := connect(t, server.AdminURL(""))
	eventually(t, "16 orders waiting in COMMIT", func() bool {
		var n int
		err := admin.QueryRow(ctx, "select count(*) from pg_stat_activity where wait_event = 'SyncRep'").Scan(&n)
		return err == nil && n >= 16
	})
	if err := server.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	if err := server.SetSettings(ctx, map[string]string{"synchronous_standby_names": ""}); err != nil {
		t.Fatal(err)
	}
	if err := server.StartAgain(ctx); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	ids := map[string]bool{}
	for i, a := range answers {
		if a.status != http.StatusCreated || a.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("order %d: %d, replayed %q, %s", i, a.status, a.header.Get("Idempotency-Replayed"), a.body)
			continue
		}
		var order struct{ ID, Note string }
		a.decode(t, &order)
		if order.Note != fmt.Sprint("held-", i) {
			t.Errorf("order %d was answered with %q", i, order.Note)
		}
		ids[order.ID] = true
	}
	var stored int
	if err := connect(t, server.AdminURL("")).QueryRow(ctx, "select count(*) from orders").Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if len(ids) != 16 || stored != 16 {
		t.Errorf("%d orders answered, %d stored, want 16 and 16", len(ids), stored)
	}
}
