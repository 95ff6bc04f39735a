package instances_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"speedybites/internal/load"
	"speedybites/internal/monitoring/proctest"
	"speedybites/internal/pgtest"
)

// shortGrace lets breakers open soon.
const shortGrace = "DB_OUTAGE_GRACE_MS=500"

// noProbes leaves the database to those who ask for something.
const noProbes = "SYNTHETIC_INTERVAL_MS=0"

// TestOpenBreaker cuts one instance's way to the database. The balancer sends everything to the other, until the first has
// recovered by itself.
func TestOpenBreaker(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	prepare(t, server.URL())
	proxy := pgtest.Proxy(t, server.Addr())
	cut, other := newMember(t, proxy.URL(server.URL()), shortGrace, noProbes), newMember(t, server.URL(), shortGrace)
	b := proctest.StartBalancer(t, [2]string{cut.addr, other.addr})
	var seen time.Time
	ledger := underLoad(t, b.API, 50, func(*load.Ledger) {
		cut.untilServed(t, 20)
		proxy.Refuse()
		proxy.Cut()
		cut.untilState(t, "OPEN")
		b.WaitFor(t, "ready", 1)
		cut.untilIdle(t)
		seen = time.Now()

		before, others := cut.served(t), other.served(t)
		other.untilServed(t, others+100)
		if got := cut.served(t); got != before {
			t.Errorf("the instance with the open breaker got %d requests", got-before)
		}
		proxy.Accept()
		cut.untilState(t, "CLOSED") // nobody but the instance itself makes the trial
		b.WaitFor(t, "ready", 2)
		cut.untilServed(t, before+20)
	})
	settle(t, server, ledger)
	var after []load.Entry
	for _, e := range ledger.Entries() {
		if e.Start.After(seen) {
			after = append(after, e)
		}
	}
	noFailures(t, after)
	h, err := cut.health()
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, s := range h.CircuitBreaker.Transitions {
		steps = append(steps, s.From+"→"+s.To)
	}
	if got, want := strings.Join(steps, " "), "CLOSED→OPEN OPEN→HALF_OPEN HALF_OPEN→CLOSED"; got != want {
		t.Errorf("transitions of the instance that was cut off: got %s, want %s", got, want)
	}
	if h, err := other.health(); err != nil || len(h.CircuitBreaker.Transitions) > 0 {
		t.Errorf("the other instance's breaker did not stay closed: %+v (%v)", h, err)
	}
}

// untilIdle waits until the instance answers no requests any more: those that the balancer had sent are through.
func (m *member) untilIdle(t *testing.T) {
	t.Helper()
	last, since := m.served(t), time.Now()
	m.Until(t, func() error {
		if got := m.served(t); got != last {
			last, since = got, time.Now()
		}
		if quiet := time.Since(since); quiet < 500*time.Millisecond {
			return fmt.Errorf("%s answered a request %v ago", m.base, quiet)
		}
		return nil
	})
}

// TestAllBreakersOpen: with every instance's breaker open, the client hears what the service says of the outage, not what
// the balancer thinks of it.
func TestAllBreakersOpen(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	prepare(t, server.URL())
	members := [2]*member{newMember(t, server.URL(), shortGrace), newMember(t, server.URL(), shortGrace)}
	b := proctest.StartBalancer(t, [2]string{members[0].addr, members[1].addr})
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		m.Until(t, func() error {
			send(t, http.MethodGet, m.base+"/api/restaurants", "", nil)
			h, err := m.health()
			if err == nil && h.CircuitBreaker.State != "OPEN" {
				err = fmt.Errorf("the breaker is %s", h.CircuitBreaker.State)
			}
			return err
		})
	}
	b.WaitFor(t, "ready", 0)
	for range 4 {
		unavailable(t, b.API+"/api/restaurants")
	}
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.WaitFor(t, "ready", 2)
	if body, status := send(t, http.MethodGet, b.API+"/api/restaurants", "", nil); status != http.StatusOK {
		t.Errorf("after the outage: %d %s", status, body)
	}
}

// unavailable demands the service's own 503.
func unavailable(t *testing.T, url string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var body struct {
		Error, Message, Status, RequestID string
		RetryAfter                        int
	}
	err = json.Unmarshal(text, &body)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || body.Status != "Database reconnecting..." ||
		body.RetryAfter != 10 || resp.Header.Get("Retry-After") != "10" || body.RequestID == "" {
		t.Errorf("got %d %s, Retry-After %q (%v), want the service's own 503", resp.StatusCode, text, resp.Header.Get("Retry-After"), err)
	}
}
