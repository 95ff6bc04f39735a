package app_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"speedybites/internal/demo"
	"speedybites/internal/pgtest"
)

// lateSeries are the only ones that may begin with an event: answers to mistakes of clients, which are too many to have
// them all at 0 for nothing, HEAD and unknown paths, and errors that are not the database's being away.
var lateSeries = regexp.MustCompile(`^http_server_request_duration_seconds\{.*(` +
	`http_response_status_code="4\d\d"|http_response_status_code="50[04]"|http_request_method="(HEAD|_OTHER)")`)

// TestEverySeriesFromTheStart compares what a service shows before its first request with what it shows after orders,
// mistakes of clients, and an outage.
func TestEverySeriesFromTheStart(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	server := pgtest.Server(t)
	s := start(t, server.URL(), "DB_OUTAGE_GRACE_MS=1000", "DB_BREAKER_THRESHOLD=1", "DB_BREAKER_TIMEOUT_MS=100")
	text, families := s.scrape()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		// The semantic conventions call it db.client.connection.count; any other name would be ours alone.
		if p.Metric != "db_client_connection_count" {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for _, m := range families["http_server_request_duration_seconds"].GetMetric() {
		if m.GetHistogram().GetSampleCount() != 0 {
			t.Errorf("a request was counted before the first one: %v", m)
		}
	}
	before := series(families)

	s.withDemo()
	exercise(s)
	token := s.customer()
	if err := server.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of bridging", func() bool { return s.call("GET", "/api/restaurants", nil).status == 503 })
	eventually(t, "an order to be refused", func() bool {
		return s.call("POST", "/api/orders", demoOrder("refused"), "Authorization", "Bearer "+token).status == 503
	})
	s.health()
	s.call("GET", "/readyz", nil)
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the recovery", func() bool { h, _ := s.health(); return h.Database.Connected })
	eventually(t, "an answer", func() bool { return s.call("GET", "/api/restaurants", nil).status == 200 })
	exercise(s)

	_, families = s.scrape()
	late := 0
	for _, name := range series(families) {
		switch _, there := slices.BinarySearch(before, name); {
		case there:
		case lateSeries.MatchString(name):
			late++
		default:
			t.Errorf("%s was not there from the start", name)
		}
	}
	after := series(families)
	for _, name := range before {
		if _, there := slices.BinarySearch(after, name); !there {
			t.Errorf("%s has gone", name)
		}
	}
	t.Logf("%d series at the start, histograms counted once, %d late", len(before), late)
	if late == 0 {
		t.Error("no mistake of a client was counted")
	}
}

// exercise uses the whole API, rightly and wrongly.
func exercise(s *service) {
	s.t.Helper()
	auth := []string{"Authorization", "Bearer " + s.customer()}
	keyed := append([]string{"Idempotency-Key", uuid.NewString()}, auth...)
	placed := s.call("POST", "/api/orders", demoOrder("a"), keyed...)
	var order struct{ ID string }
	placed.decode(s.t, &order)
	restaurant := "/api/restaurants/" + demo.RestaurantID().String()
	for _, r := range []struct {
		method, path string
		body         any
		header       []string
		want         int
	}{
		{"POST", "/api/orders", demoOrder("a"), keyed, 201},
		{"POST", "/api/orders", demoOrder("b"), keyed, 422},
		{"POST", "/api/orders", demoOrder("c"), nil, 401},
		{"POST", "/api/orders", map[string]any{}, auth, 422},
		{"GET", "/api/orders", nil, auth, 200},
		{"GET", "/api/orders/" + order.ID, nil, auth, 200},
		{"GET", "/api/orders/" + uuid.NewString(), nil, auth, 404},
		{"GET", "/api/restaurants?search=pizza&limit=1", nil, nil, 200},
		{"GET", restaurant, nil, nil, 200},
		{"HEAD", restaurant, nil, nil, 200},
		{"GET", restaurant + "/menu", nil, nil, 200},
		{"POST", restaurant + "/menu", map[string]any{"name": "x"}, auth, 403},
		{"POST", "/api/restaurants", map[string]any{"name": "x"}, auth, 403},
		{"POST", "/api/auth/login", map[string]any{"email": "a@example.com", "password": "wrong horse"}, nil, 401},
		{"POST", "/api/auth/login", map[string]any{"email": strings.Repeat("x", 2<<20)}, nil, 413},
		{"GET", "/livez", nil, nil, 200},
		{"GET", "/readyz", nil, nil, 200},
		{"GET", "/api/health", nil, nil, 200},
		{"PUT", restaurant, nil, nil, 405},
		{"PROPFIND", "/nowhere", nil, nil, 404},
		{"GET", "/nowhere", nil, nil, 404},
	} {
		if a := s.call(r.method, r.path, r.body, r.header...); a.status != r.want {
			s.t.Errorf("%s %s: %d %s, want %d", r.method, r.path, a.status, a.body, r.want)
		}
	}
}

// TestSeriesUnderAttack sends requests that would make a series each, if anything that a client chooses were a label.
func TestSeriesUnderAttack(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	const requests, limit = 5000, 3500
	s := start(t, pgtest.Server(t).URL()).withDemo()
	text, _ := s.scrape()
	atStart := samples(text)

	client := &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 8},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(client.CloseIdleConnections)
	var wg sync.WaitGroup
	for worker := range uint64(8) {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(worker, 1))
			for range requests / 8 {
				attack(t.Context(), t, client, s.base, random)
			}
		})
	}
	wg.Wait()

	text, families := s.scrape()
	n := samples(text)
	t.Logf("%d series at the start, %d after %d requests; with histograms counted once %d",
		atStart, n, requests, len(series(families)))
	if n >= limit {
		t.Errorf("got %d series, want fewer than %d", n, limit)
	}
	if strings.Contains(text, "otel_metric_overflow") {
		t.Error("an instrument has overflowed")
	}
	counted := uint64(0)
	for _, m := range families["http_server_request_duration_seconds"].GetMetric() {
		counted += m.GetHistogram().GetSampleCount()
	}
	if counted != requests {
		t.Errorf("got %d requests counted, want %d", counted, requests)
	}
	for _, mark := range []string{"attack", "evil"} {
		if strings.Contains(text, mark) {
			t.Errorf("what a client sent is in the metrics:\n%s", text)
		}
	}
}

// attack makes one request of which nearly everything is new.
func attack(ctx context.Context, tb testing.TB, client *http.Client, base string, random *rand.Rand) {
	tb.Helper()
	number := random.Uint64()
	paths := []string{
		"/attack-%d", "/api/attack-%d", "/api/restaurants/attack-%d", "/api/restaurants/attack-%d/menu", "/api/orders/attack-%d",
		"/api/health/%d", "/api/orders?attack=%d", "/api/restaurants?cursor=attack-%d", "/api/restaurants?search=attack-%d",
		"/api/auth/login?%d", "/api/auth/register?%d", "//api/restaurants/%d/", "/metrics/attack-%d", "/%%00attack%d", "/livez/../%d",
	}
	methods := []string{"GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", fmt.Sprintf("ATTACK%d", number)}
	path := fmt.Sprintf(paths[random.IntN(len(paths))], number)
	req, err := http.NewRequestWithContext(ctx, methods[random.IntN(len(methods))], base+path, nil)
	if err != nil {
		tb.Error(err)
		return
	}
	req.Host = fmt.Sprintf("evil-%d.example:%d", random.Uint32(), 1+random.IntN(65535))
	req.Header.Set("User-Agent", fmt.Sprintf("attack/%d", number))
	req.Header.Set("X-Request-Id", fmt.Sprintf("attack-%d", number))
	req.Header.Set("X-Forwarded-For", fmt.Sprintf("10.%d.%d.%d", random.IntN(256), random.IntN(256), random.IntN(256)))
	req.Header.Set("Traceparent", fmt.Sprintf("00-%016x%016x-%016x-01", number|1, number|1, number|1))
	resp, err := client.Do(req)
	if err != nil {
		tb.Errorf("%s %s: %v", req.Method, path, err)
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}
