package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel/trace/noop"

	"speedybites/internal/audit"
	"speedybites/internal/catalog"
	"speedybites/internal/httpapi"
	"speedybites/internal/postgres"
)

// samples returns the metrics by name and labels, as name{a="b",…}: the value, or the count of a histogram.
func (b *bundle) samples(tb testing.TB) map[string]float64 {
	tb.Helper()
	all := map[string]float64{}
	b.each(tb, func(name string, m *dto.Metric) {
		var labels []string
		for _, l := range m.GetLabel() {
			labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
		}
		value := m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		all[name+"{"+strings.Join(labels, ",")+"}"] = value
	})
	return all
}

// series is how many series a server of metrics stores.
func (b *bundle) series(tb testing.TB) (n int) {
	tb.Helper()
	b.each(tb, func(_ string, m *dto.Metric) {
		n++
		if h := m.GetHistogram(); h != nil {
			n += len(h.GetBucket()) + 2 // +Inf, sum and count; one is counted above
		}
	})
	return n
}

func (b *bundle) each(tb testing.TB, f func(name string, m *dto.Metric)) {
	tb.Helper()
	families, err := b.metrics.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			f(family.GetName(), m)
		}
	}
}

// TestMetricsAtTheStart has every series that exists before the first request.
func TestMetricsAtTheStart(t *testing.T) {
	t.Parallel()
	_, b := setup(t, httpapi.Config{})
	if problems, err := testutil.GatherAndLint(b.metrics); err != nil || len(problems) > 0 {
		t.Errorf("got %v, %v, want nothing to complain about", problems, err)
	}
	var got strings.Builder
	b.each(t, func(name string, m *dto.Metric) {
		got.WriteString(name)
		for _, l := range m.GetLabel() {
			fmt.Fprintf(&got, " %s=%s", l.GetName(), l.GetValue())
		}
		got.WriteByte('\n')
	})
	golden(t, "metrics.txt", got.String())
	for name, value := range b.samples(t) {
		if want := map[bool]float64{true: 1}[name == "speedybites_ready{}"]; value != want {
			t.Errorf("%s: got %v, want %v", name, value, want)
		}
	}
}

const duration = `http_server_request_duration_seconds{error_type="%s",http_request_method="%s",` +
	`http_response_status_code="%d",http_route="%s"}`

// TestMetricsOfRequests has one row for each way a request can end.
func TestMetricsOfRequests(t *testing.T) {
	t.Parallel()
	fail := func(err error) func(*gin.Context) error { return func(*gin.Context) error { return err } }
	rejected := func(reason string) string {
		return `speedybites_http_requests_rejected_total{reason="` + reason + `"}`
	}
	ended := func(errorType string, status int) string {
		return fmt.Sprintf(duration, errorType, "GET", status, "/it")
	}
	const size = `http_server_response_body_size_bytes{http_route="/it"}`
	rows := []struct {
		name    string
		method  string
		handler func(c *gin.Context) error
		want    []string // the series that grow by one
	}{
		{"Success", "GET", fail(nil), []string{ended("", 200), size}},
		{"Head", "HEAD", fail(nil), []string{fmt.Sprintf(duration, "", "HEAD", 200, "/it")}},
		{"NotOursToAnswer", "GET", fail(httpapi.ErrForbidden), []string{ended("", 403), size}},
		{"Unavailable", "GET", fail(postgres.ErrUnavailable), []string{ended("503", 503), size, rejected("unavailable")}},
		{"Saturated", "GET", fail(postgres.ErrSaturated), []string{ended("503", 503), size, rejected("saturated")}},
		{"Conflict", "GET", fail(postgres.ErrConflict), []string{ended("503", 503), size, rejected("conflict")}},
		{
			"StatementTimeout", "GET",
			fail(postgres.ErrStatementTimeout),
			[]string{ended("504", 504), size, rejected("statement_timeout")},
		},
		{"BodyTooLarge", "GET", fail(httpapi.ErrBodyTooLarge), []string{ended("", 413), size, rejected("body_too_large")}},
		{"SlowBody", "GET", fail(httpapi.ErrSlowBody), []string{ended("", 408), size, rejected("slow_body")}},
		{"NotReady", "GET", fail(httpapi.ErrNotReady), []string{ended("503", 503), size}},
		{"Deadline", "GET", fail(context.DeadlineExceeded), []string{ended("504", 504), size}},
		{"Unknown", "GET", fail(errors.New(secret)), []string{ended("500", 500), size}},
		{
			"Panic", "GET",
			func(*gin.Context) error { panic("oops") },
			[]string{ended("panic", 500), size, `speedybites_http_panics_total{http_route="/it"}`},
		},
		{
			"PanicWithinTheAnswer", "GET",
			func(c *gin.Context) error {
				_, _ = c.Writer.WriteString("[")
				panic("halfway")
			},
			[]string{ended("panic", 200), size, `speedybites_http_panics_total{http_route="/it"}`},
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s, b := setup(t, httpapi.Config{})
			s.Route(row.method, "/it", row.handler)
			before := b.samples(t)
			func() {
				defer func() { _ = recover() }()
				do(s, row.method, "/it", "")
			}()
			want := map[string]float64{}
			for _, name := range row.want {
				want[name] = 1
			}
			if diff := cmp.Diff(want, growth(before, b.samples(t))); diff != "" {
				t.Errorf("series that grew (-want +got):\n%s", diff)
			}
		})
	}
}

func growth(before, after map[string]float64) map[string]float64 {
	grown := map[string]float64{}
	for name, value := range after {
		if value != before[name] {
			grown[name] = value - before[name]
		}
	}
	return grown
}

func TestMetricsOfStates(t *testing.T) {
	t.Parallel()
	s, b := setup(t, httpapi.Config{})
	const active = `http_server_active_requests{http_request_method="GET"}`
	s.Route(http.MethodGet, "/it", func(c *gin.Context) error {
		if got := b.samples(t)[active]; got != 1 {
			t.Errorf("got %v active requests during one, want 1", got)
		}
		return s.Reply(c, "x")
	})
	do(s, http.MethodGet, "/it", "")
	if got := b.samples(t)[active]; got != 0 {
		t.Errorf("got %v active requests after the only one, want 0", got)
	}
	check := func(ready, down float64) {
		t.Helper()
		all := b.samples(t)
		if r, d := all["speedybites_ready{}"], all["speedybites_shutting_down{}"]; r != ready || d != down {
			t.Errorf("got ready %v, shutting down %v, want %v, %v", r, d, ready, down)
		}
	}
	check(1, 0)
	b.health.Ready = false
	check(0, 0)
	b.health.Ready = true
	s.Drain()
	check(0, 1)
}

func TestMetricsRegisteredTwice(t *testing.T) {
	t.Parallel()
	_, b := setup(t, httpapi.Config{})
	_, err := httpapi.New(httpapi.Config{}, httpapi.Deps{
		Logger: slog.New(slog.DiscardHandler), Accounts: newAccounts(t), Catalog: catalog.New(nil), Orders: newOrders(t), Audit: audit.NewReader(nil),
		Health: func() httpapi.Health { return httpapi.Health{} }, Registerer: b.metrics,
	})
	if err == nil {
		t.Error("got no error for a registry that has these metrics already")
	}
}

// TestAttack: whatever clients send, the labels stay within their closed sets.
func TestAttack(t *testing.T) {
	t.Parallel()
	s, b := setup(t, httpapi.Config{})
	start := b.series(t)
	random := rand.New(rand.NewPCG(1, 2))
	word := func(n int) string {
		var w strings.Builder
		for range 1 + random.IntN(n) {
			w.WriteByte("abcdefghijklmnopqrstuvwxyz"[random.IntN(26)])
		}
		return w.String()
	}
	methods := []string{
		"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY", "get", "PROPFIND",
	}
	paths := []string{
		"/", "/livez", "/readyz", "/api/health", "/api/auth/register", "/api/auth/login", "/api/restaurants",
		"/api/restaurants/%s", "/api/restaurants/%s/menu", "/api/orders", "/api/orders/%s", "/%s", "/api/%s", "/%[1]s/%[1]s",
	}
	for range 5000 {
		method := methods[random.IntN(len(methods))]
		if random.IntN(3) == 0 {
			method = strings.ToUpper(word(12))
		}
		target := paths[random.IntN(len(paths))]
		if strings.Contains(target, "%") {
			target = fmt.Sprintf(target, word(30))
		}
		// A limit that is no number keeps lists from asking the database, which is not there.
		r := httptest.NewRequest(method, target+"?limit=x&"+word(8)+"="+word(8), strings.NewReader(word(20)))
		r.Host = fmt.Sprintf("%s.example:%d", word(10), random.IntN(65536))
		r.RemoteAddr = fmt.Sprintf("192.0.2.%d:%d", random.IntN(256), random.IntN(65536))
		r.Header.Set("User-Agent", word(40))
		r.Header.Set("Content-Type", word(5))
		r.Header.Set("Traceparent", word(55))
		r.Header.Set("X-Request-Id", word(20))
		s.Handler().ServeHTTP(httptest.NewRecorder(), r)
	}
	got := b.series(t)
	t.Logf("series: %d before, %d after", start, got)
	if got > 1800 {
		t.Errorf("got %d series, want 1800 at most", got)
	}
	total := 0.0
	for name, value := range b.samples(t) {
		if strings.HasPrefix(name, "http_server_request_duration_seconds{") {
			total += value
		}
	}
	if total != 5000 {
		t.Errorf("got %v requests counted, want 5000", total)
	}
}

func TestExemplars(t *testing.T) {
	t.Parallel()
	exemplars := func(b *bundle) (ids []string) {
		b.each(t, func(name string, m *dto.Metric) {
			for _, bucket := range m.GetHistogram().GetBucket() {
				for _, l := range bucket.GetExemplar().GetLabel() {
					ids = append(ids, name+" "+l.GetName()+" "+l.GetValue())
				}
			}
		})
		return ids
	}
	t.Run("Sampled", func(t *testing.T) {
		t.Parallel()
		s, b := setup(t, httpapi.Config{})
		w := do(s, http.MethodGet, "/livez", "")
		want := []string{"http_server_request_duration_seconds trace_id " + w.Header().Get("X-Trace-Id")}
		if diff := cmp.Diff(want, exemplars(b)); diff != "" {
			t.Errorf("exemplars (-want +got):\n%s", diff)
		}
	})
	t.Run("Off", func(t *testing.T) {
		t.Parallel()
		s, b := setup(t, httpapi.Config{}, func(d *httpapi.Deps) { d.Tracers = noop.NewTracerProvider() })
		w := do(s, http.MethodGet, "/livez", "", "Traceparent", traceparent)
		if got := exemplars(b); got != nil || w.Header().Get("X-Trace-Id") != "" {
			t.Errorf("got exemplars %v and trace id %q, want none", got, w.Header().Get("X-Trace-Id"))
		}
	})
}

// BenchmarkScrape is what collecting the API's metrics costs, without encoding them.
func BenchmarkScrape(b *testing.B) {
	_, bundle := setup(b, httpapi.Config{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bundle.metrics.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
