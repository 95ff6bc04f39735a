package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"speedybites/internal/demo"
	"speedybites/internal/pgtest"
)

// slow has every look at a restaurant take so long in the database, without using its processors. Reading a restaurant
// takes one, and so does an order.
func slow(t *testing.T, conn *pgx.Conn, d time.Duration) {
	t.Helper()
	_, err := conn.Exec(t.Context(), fmt.Sprintf(`
		create function pause() returns boolean language plpgsql volatile as
			'begin perform pg_sleep(%v); return true; end';
		alter table restaurants enable row level security;
		alter table restaurants force row level security;
		create policy slow on restaurants using (pause())`, d.Seconds()))
	if err != nil {
		t.Fatal(err)
	}
}

// capacityAnswer reports whether a is the documented refusal of a service at capacity.
func capacityAnswer(a answer) bool {
	return a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "1" &&
		strings.Contains(a.body, `"status":"Database at capacity"`) && strings.Contains(a.body, `"retryAfter":1`)
}

// offers is what clients that do not wait for each other were told.
type offers struct {
	reads, orders []answer
	good          float64 // successes a second
	longest       int     // refusals of reads in a row, of those who came in the second half
}

// offer makes so many requests a second, every twentieth an order, and returns when all are answered.
func (c *child) offer(client *http.Client, token string, rate int, length time.Duration) offers {
	c.t.Helper()
	var all offers
	n := int(length.Seconds() * float64(rate))
	answers := make([]answer, n)
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range answers {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		wg.Go(func() { answers[i] = c.request(client, token, i%20 == 19) })
	}
	wg.Wait()
	ok, run := 0, 0
	for i, a := range answers {
		if a.status < 300 {
			ok++
		}
		if i%20 == 19 {
			all.orders = append(all.orders, a)
			continue
		}
		all.reads = append(all.reads, a)
		if run++; a.status < 300 || i < n/2 {
			run = 0
		}
		all.longest = max(all.longest, run)
	}
	// To the last answer: what waited at the end was part of the load.
	all.good = float64(ok) / time.Since(begin).Seconds()
	return all
}

// request reads a restaurant, or places an order.
func (c *child) request(client *http.Client, token string, order bool) answer {
	c.t.Helper()
	method, path, body := http.MethodGet, "/api/restaurants/"+demo.RestaurantID().String(), io.Reader(nil)
	if order {
		text, err := json.Marshal(demoOrder("load"))
		if err != nil {
			c.t.Error(err)
		}
		method, path, body = http.MethodPost, "/api/orders", strings.NewReader(string(text))
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, body)
	if err != nil {
		c.t.Error(err)
		return answer{}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	begin := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		c.t.Error(err)
		return answer{}
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Error(err)
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: string(text), took: time.Since(begin)}
}

// capacity returns how many requests a second the service answers when just a few more than there are connections come
// at a time.
func (c *child) capacity(client *http.Client, token string, clients int) float64 {
	const requests = 40
	begin := time.Now()
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for i := range requests {
				if a := c.request(client, token, i%20 == 19); a.status > 299 {
					c.t.Errorf("without overload: %d %s", a.status, a.body)
				}
			}
		})
	}
	wg.Wait()
	return float64(clients*requests) / time.Since(begin).Seconds()
}

// TestOverload offers the service up to ten times what it can take. Its queue is bounded by its places, or by the time
// that a query may wait. It does not run beside other tests: it compares how much gets done.
func TestOverload(t *testing.T) {
	pgtest.Slow(t)
	for _, bound := range []struct {
		name, reason string
		env          []string
	}{
		{"ByPlaces", "queue_full", []string{"DB_MAX_WAITING=30", "DB_CONNECT_TIMEOUT_MS=5000"}},
		{"ByTime", "too_slow", []string{"DB_MAX_WAITING=1000", "DB_CONNECT_TIMEOUT_MS=1000"}},
	} {
		t.Run(bound.name, func(t *testing.T) {
			server := pgtest.Server(t)
			c := startChild(t, server.URL(), append(bound.env, "DB_POOL_MIN=2", "DB_POOL_MAX=2", "SYNTHETIC_INTERVAL_MS=0")...)
			loadDemo(t, c, server.URL())
			token := c.customer()
			slow(t, connect(t, server.AdminURL("")), 40*time.Millisecond)
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
			t.Cleanup(client.CloseIdleConnections)

			capacity := c.capacity(client, token, 4)
			client.CloseIdleConnections()
			before := c.rest(func(use) bool { return true })
			t.Logf("capacity: %.1f requests a second; %v", capacity, before)
			for _, times := range []int{1, 2, 5, 10} {
				shedBefore := c.shed()
				all := c.offer(client, token, int(float64(times)*capacity), 3*time.Second)
				checkOffers(t, fmt.Sprintf("%dx", times), all, capacity)
				// The load is over: the next one finds nobody before it.
				if a := c.request(client, token, false); a.status != http.StatusOK || a.took > 500*time.Millisecond {
					t.Errorf("%dx: the request after the load got %d after %v", times, a.status, a.took)
				}
				shed := c.shed()
				for key := range shed {
					shed[key] -= shedBefore[key]
				}
				refused := func(list []answer) (n int) {
					for _, a := range list {
						if a.status > 299 {
							n++
						}
					}
					return n
				}
				if shed["read"] != refused(all.reads) || shed["write"] != refused(all.orders) {
					t.Errorf("%dx: %v were counted, %d reads and %d orders were refused", times, shed, refused(all.reads), refused(all.orders))
				}
				if times >= 2 && shed[bound.reason] == 0 {
					t.Errorf("%dx: nothing was shed for %s, but %v", times, bound.reason, shed)
				}
				t.Logf("%dx: shed: %v", times, shed)
			}
			peak := c.resident("VmHWM")
			client.CloseIdleConnections()
			after := c.rest(func(u use) bool { return u.goroutines <= before.goroutines+20 && u.heap <= before.heap+15 })
			t.Logf("at most %.0f MB; after: %v", peak, after)
			if peak > before.resident+100 {
				t.Errorf("the service took %.0f MB", peak)
			}
			if h, _ := c.health(); h.CircuitBreaker.FailureCount != 0 || len(h.CircuitBreaker.Transitions) > 0 || h.Database.WaitingQueue != 0 {
				t.Errorf("health after the load: %+v", h)
			}
		})
	}
}

// shed returns the calls that were shed so far, by their kind and, again, by the reason.
func (c *child) shed() map[string]int {
	c.t.Helper()
	s := (&observed{service: &service{t: c.t, base: c.ops}}).scrape()
	counts := map[string]int{}
	for _, kind := range []string{"read", "write"} {
		counts[kind] = int(s.sum(c.t, "speedybites_db_shed_total", "kind", kind))
	}
	for _, reason := range []string{"queue_full", "too_slow", "displaced", "timeout"} {
		counts[reason] = int(s.sum(c.t, "speedybites_db_shed_total", "reason", reason))
	}
	return counts
}

func checkOffers(t *testing.T, name string, all offers, capacity float64) {
	t.Helper()
	quantiles := func(list []answer) string {
		var took []time.Duration
		for _, a := range list {
			if a.status < 300 {
				took = append(took, a.took.Round(time.Millisecond))
			}
		}
		slices.Sort(took)
		if len(took) == 0 {
			return "none"
		}
		return fmt.Sprintf("%d of %d, p50 %v, p99 %v", len(took), len(list), took[len(took)/2], took[len(took)*99/100])
	}
	t.Logf("%s: %.2f of the capacity; reads %s; orders %s; %d reads refused in a row",
		name, all.good/capacity, quantiles(all.reads), quantiles(all.orders), all.longest)
	if all.good < 0.75*capacity {
		t.Errorf("%s: %.1f successes a second, of a capacity of %.1f", name, all.good, capacity)
	}
	for _, a := range slices.Concat(all.reads, all.orders) {
		if a.status != http.StatusOK && a.status != http.StatusCreated && !capacityAnswer(a) {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
			break
		}
	}
	for _, a := range all.orders {
		if a.status != http.StatusCreated {
			t.Errorf("%s: an order was shed while there were reads: %d %s", name, a.status, a.body)
			break
		}
	}
}

// TestWritesBeforeReads has orders come when all the places are taken by reads.
func TestWritesBeforeReads(t *testing.T) {
	t.Parallel()
	t.Run("Queued", func(t *testing.T) {
		t.Parallel()
		server := pgtest.Server(t)
		s := start(t, server.URL(), "DB_POOL_MIN=1", "DB_POOL_MAX=2", "DB_MAX_WAITING=10", "SYNTHETIC_INTERVAL_MS=0").withDemo()
		token := s.customer()
		conn := connect(t, server.AdminURL(""))
		if _, err := conn.Exec(t.Context(), "begin; lock table restaurants in access exclusive mode"); err != nil {
			t.Fatal(err)
		}
		ordersTakePlaces(t, s, token, 2, func() {
			if _, err := conn.Exec(t.Context(), "rollback"); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("Parked", func(t *testing.T) {
		t.Parallel()
		server := pgtest.Server(t)
		s := start(t, server.URL(), "DB_MAX_WAITING=10", "DB_OUTAGE_GRACE_MS=60000", "SYNTHETIC_INTERVAL_MS=0").withDemo()
		token := s.customer()
		if err := server.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the loss to be noticed", func() bool { h, _ := s.health(); return h.Database.Status == "Reconnecting" })
		ordersTakePlaces(t, s, token, 0, func() {
			if err := server.StartAgain(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	})
}

// ordersTakePlaces has reads take every connection and all ten places, and then eight orders come, of which each takes the
// place of a read. In the end it releases them all.
func ordersTakePlaces(t *testing.T, s *service, token string, served int, release func()) {
	t.Helper()
	const places, come = 10, 8 // two are left to the loops of the service itself, whose queries are writes
	reads, orders := make(chan answer, 100), make(chan answer, 100)
	waiting := func(n int) {
		t.Helper()
		eventually(t, fmt.Sprint(n, " to wait"), func() bool { h, _ := s.health(); return h.Database.WaitingQueue == n })
	}
	for i := range served + places {
		go func() { reads <- s.call("GET", "/api/restaurants", nil) }()
		if i < served {
			eventually(t, "a connection to be used", func() bool { h, _ := s.health(); return h.Database.ActiveConnections > i })
		}
	}
	waiting(places)
	if a := s.call("GET", "/api/restaurants", nil); !capacityAnswer(a) {
		t.Errorf("a read too many: got %d %s", a.status, a.body)
	}
	for i := range come {
		go func() {
			orders <- s.call("POST", "/api/orders", demoOrder(strconv.Itoa(i)), "Authorization", "Bearer "+token)
		}()
		if a := <-reads; !capacityAnswer(a) { // one for one
			t.Errorf("a read that gives way to order %d: got %d %s", i, a.status, a.body)
		}
	}
	waiting(places)
	release()
	for range come {
		if a := <-orders; a.status != http.StatusCreated {
			t.Errorf("an order: got %d %s", a.status, a.body)
		}
	}
	kept := 0
	for range served + places - come {
		if a := <-reads; a.status == http.StatusOK {
			kept++
		} else if !capacityAnswer(a) {
			t.Errorf("a read that was left: got %d %s", a.status, a.body)
		}
	}
	if kept < served {
		t.Errorf("%d reads were served, want %d that had connections, at least", kept, served)
	}
}

// TestStreamsTakeNoRequests opens more streams of an order's events than there may be reads at a time.
func TestStreamsTakeNoRequests(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	const streams = 950 // of 10 + 4 + 1000 requests, a tenth is kept for writes
	s := observe(t, pgtest.Server(t).URL(), "DB_MAX_WAITING=10", "DB_POOL_MAX=4", "DB_POOL_MIN=4")
	s.withDemo()
	auth := []string{"Authorization", "Bearer " + s.customer()}
	var order struct{ ID string }
	s.call("POST", "/api/orders", demoOrder("watched"), auth...).decode(t, &order)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var watching []<-chan event
	for range streams {
		status, events := s.watch(ctx, order.ID, "", auth...)
		if status != http.StatusOK {
			t.Fatalf("stream %d: got %d", len(watching), status)
		}
		watching = append(watching, events)
	}
	// The streams look at their order now and then, so for a moment there may be no place in the queue.
	eventually(t, "a read", func() bool { return s.call("GET", "/api/orders/"+order.ID, nil, auth...).status == http.StatusOK })
	if n := s.scrape().sum(t, "speedybites_http_requests_rejected_total", "reason", "too_many"); n != 0 {
		t.Errorf("%v requests were refused as too many", n)
	}
	cancel()
	for _, events := range watching {
		for range events { // to its end
		}
	}
}
