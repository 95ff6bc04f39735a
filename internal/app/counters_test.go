package app_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"speedybites/internal/load"
	"speedybites/internal/localpg"
	"speedybites/internal/pgtest"
)

// summaryOf is the query that a request of the load makes.
func summaryOf(e load.Entry) string {
	if e.Order {
		return "orders.place"
	}
	return []string{"catalog.restaurants", "catalog.restaurant", "catalog.menu"}[e.Number%3]
}

// TestCountersAddUp compares the metrics with the ledger of a load that saw an outage within the grace, and one beyond it
// that opened the breaker and filled the queue.
func TestCountersAddUp(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	server := pgtest.Server(t)
	s := observe(t, server.URL(), "DB_OUTAGE_GRACE_MS=2500", "DB_MAX_WAITING=100")
	s.withDemo()
	ledger := underLoad(t, s.service, 60, func() {
		outage(t, server, 500*time.Millisecond)
		eventually(t, "the database to be back", func() bool { h, _ := s.health(); return h.Status == "ok" || h.Database.Connected })
		time.Sleep(time.Second)
		outage(t, server, 5*time.Second)
		eventually(t, "the breaker to close", func() bool { h, _ := s.health(); return h.CircuitBreaker.State == "CLOSED" })
	})
	want := map[string]float64{}
	for _, e := range ledger.Entries() {
		query := summaryOf(e)
		want["status "+strconv.Itoa(e.Status)]++
		switch {
		case e.Err != nil:
			t.Errorf("no answer: %+v", e)
		case !e.Failed():
			want[query+" success"]++
		case strings.Contains(e.Body, "at capacity"):
			want[query+" capacity"]++
		default:
			want[query+" unavailable"]++
		}
	}
	requests := func(m scraped) float64 {
		n := 0.0
		for _, v := range m.with("http_server_request_duration_seconds_count") {
			if r := v.labels["http_route"]; strings.HasPrefix(r, "/api/restaurants") || r == "/api/orders" {
				n += v.value
			}
		}
		return n
	}
	eventually(t, "the last request to be counted", func() bool { return requests(s.scrape()) >= float64(len(ledger.Entries())) })
	metrics := s.scrape()
	got := map[string]float64{}
	for _, v := range metrics.with("http_server_request_duration_seconds_count") {
		if r := v.labels["http_route"]; v.value > 0 && (strings.HasPrefix(r, "/api/restaurants") || r == "/api/orders") {
			got["status "+v.labels["http_response_status_code"]] += v.value
		}
	}
	byResult := map[string]float64{}
	for _, query := range []string{"orders.place", "catalog.restaurants", "catalog.restaurant", "catalog.menu"} {
		for _, v := range metrics.with("speedybites_db_calls_total", "db_query_summary", query) {
			if v.value == 0 {
				continue
			}
			result := v.labels["result"]
			byResult[result] += v.value
			switch result {
			case "success_first", "success_after_retry":
				got[query+" success"] += v.value
			case "refused_capacity":
				got[query+" capacity"] += v.value
			case "refused_breaker", "failed_no_retry", "failed_after_retry":
				got[query+" unavailable"] += v.value
			default:
				t.Errorf("%s ended %v times with %s", query, v.value, result)
			}
		}
	}
	t.Logf("%d requests: %v", len(ledger.Entries()), byResult)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for _, result := range []string{"success_first", "success_after_retry", "refused_capacity", "refused_breaker", "failed_after_retry"} {
		if byResult[result] == 0 {
			t.Errorf("no call ended with %s", result)
		}
	}
	if rejected := metrics.sum(t, "speedybites_http_requests_rejected_total"); rejected != want["status 503"] {
		t.Errorf("%v requests were rejected, want %v", rejected, want["status 503"])
	}
	checkBreakerCalls(t, metrics)
}

// checkBreakerCalls checks that whatever was called was asked of the breaker, and told to it if it was let through.
func checkBreakerCalls(t *testing.T, metrics scraped) {
	t.Helper()
	var calls float64
	for _, v := range metrics.with("speedybites_db_calls_total") {
		if q := v.labels["db_query_summary"]; !strings.HasPrefix(q, "audit.") && q != "orders.delete_expired_keys" { // loops go past it
			calls += v.value
		}
	}
	told := 0.0
	for _, kind := range []string{"success", "failure", "neutral", "rejected"} {
		told += metrics.sum(t, "speedybites_circuit_breaker_calls_total", "kind", kind)
	}
	if calls != told {
		t.Errorf("%v calls, the breaker knows of %v", calls, told)
	}
	rejected := metrics.sum(t, "speedybites_circuit_breaker_calls_total", "kind", "rejected")
	if refused := metrics.sum(t, "speedybites_db_calls_total", "result", "refused_breaker"); refused != rejected {
		t.Errorf("%v calls refused by the breaker, which knows of %v", refused, rejected)
	}
}

// outage kills the server and starts it again.
func outage(t *testing.T, server *localpg.Server, length time.Duration) {
	t.Helper()
	killed := time.Now()
	if err := server.Kill(t.Context()); err != nil {
		t.Error(err)
	}
	time.Sleep(time.Until(killed.Add(length)))
	if err := server.StartAgain(t.Context()); err != nil {
		t.Error(err)
	}
}
