package app_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"speedybites/internal/demo"
	"speedybites/internal/pgtest"
	"speedybites/observability/otlptest"
)

// startTraced runs the service like start, with OTEL_* variables.
func startTraced(tb testing.TB, databaseURL string, otel map[string]string, env ...string) *service {
	tb.Helper()
	for name, value := range otel {
		env = append(env, name+"="+value)
	}
	return start(tb, databaseURL, env...)
}

// scrape returns what Prometheus would read, as text and by family.
func (s *service) scrape() (string, map[string]*dto.MetricFamily) {
	s.t.Helper()
	a := s.call("GET", "/metrics", nil)
	if a.status != http.StatusOK {
		s.t.Fatalf("metrics: %d %s", a.status, a.body)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(a.body))
	if err != nil {
		s.t.Fatalf("metrics: %v", err)
	}
	return a.body, families
}

// series returns the series of a scrape as {name, label=value, …}; a histogram is one.
func series(families map[string]*dto.MetricFamily) []string {
	var list []string
	for name, family := range families {
		for _, m := range family.GetMetric() {
			labels := make([]string, 0, len(m.GetLabel()))
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+`"`+l.GetValue()+`"`)
			}
			slices.Sort(labels)
			list = append(list, name+"{"+strings.Join(labels, ",")+"}")
		}
	}
	slices.Sort(list)
	return list
}

// samples counts what Prometheus would store as series: every line but the comments.
func samples(text string) (n int) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") && strings.TrimSpace(line) != "" {
			n++
		}
	}
	return n
}

// TestExemplars follows a latency to its trace, which only the OpenMetrics format can lead to.
func TestExemplars(t *testing.T) {
	t.Parallel()
	receiver := otlptest.Start(t)
	s := startTraced(t, pgtest.Server(t).URL(), map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.HTTP, "OTEL_BSP_SCHEDULE_DELAY": "50",
	}).withDemo()
	a := s.call("GET", "/api/restaurants/"+demo.RestaurantID().String(), nil)
	trace := a.header.Get("X-Trace-Id")
	if a.status != http.StatusOK || len(trace) != 32 {
		t.Fatalf("got %d, trace %q", a.status, trace)
	}
	eventually(t, "the trace to arrive", func() bool {
		return slices.ContainsFunc(receiver.Spans(), func(span otlptest.Span) bool { return hex.EncodeToString(span.TraceId) == trace })
	})

	for accept, want := range map[string]struct {
		contentType string
		exemplars   bool
	}{
		"application/openmetrics-text; version=1.0.0": {"application/openmetrics-text; version=1.0.0", true},
		"application/openmetrics-text":                {"application/openmetrics-text; version=", true},
		"text/plain":                                  {"text/plain; version=0.0.4", false},
		"":                                            {"text/plain; version=0.0.4", false},
	} {
		scrape := s.call("GET", "/metrics", nil, "Accept", accept)
		if got := scrape.header.Get("Content-Type"); !strings.HasPrefix(got, want.contentType) {
			t.Errorf("Accept %q: got content type %q, want %s", accept, got, want.contentType)
		}
		if ends := strings.HasSuffix(scrape.body, "# EOF\n"); ends != want.exemplars {
			t.Errorf("Accept %q: ends as OpenMetrics does: %v", accept, ends)
		}
		for _, family := range []string{"http_server_request_duration_seconds", "db_client_operation_duration_seconds"} {
			if got := exemplar(scrape.body, family, trace); got != want.exemplars {
				t.Errorf("Accept %q: %s has the request's trace as an exemplar: %v, want %v", accept, family, got, want.exemplars)
			}
		}
	}
}

// exemplar reports whether a bucket of a histogram names a trace.
func exemplar(text, family, trace string) bool {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, family+"_bucket") && strings.Contains(line, ` # {`) && strings.Contains(line, `trace_id="`+trace+`"`) {
			return true
		}
	}
	return false
}

// TestOperatorsPages looks for each page where it should be, and where it should not.
func TestOperatorsPages(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	const profile = "/debug/pprof/goroutine?debug=1"
	check := func(t *testing.T, base, path string, header []string, want int) {
		t.Helper()
		a, err := call(t.Context(), "GET", base+path, nil, header...)
		if err != nil || a.status != want {
			t.Errorf("%s: got %d %v, want %d", path, a.status, err, want)
		}
	}
	t.Run("OwnListener", func(t *testing.T) {
		t.Parallel()
		s := start(t, server.URL(), "METRICS_ADDR=127.0.0.1:0")
		if s.app.OpsAddr() == "" {
			t.Fatal("there is no listener for operators")
		}
		ops := "http://" + s.app.OpsAddr()
		check(t, ops, "/metrics", nil, http.StatusOK)
		check(t, ops, profile, nil, http.StatusOK)
		check(t, ops, "/debug/pprof/", nil, http.StatusOK)
		check(t, ops, "/api/health", nil, http.StatusNotFound)
		stream(t, ops)
		for _, path := range []string{"/metrics", "/hystrix.stream", profile, "/debug/pprof/"} {
			check(t, s.base, path, nil, http.StatusNotFound)
		}
	})
	t.Run("WithTheAPI", func(t *testing.T) {
		t.Parallel()
		s := start(t, server.URL())
		if got := s.app.OpsAddr(); got != "" {
			t.Errorf("operators' listener: got %s, want none", got)
		}
		check(t, s.base, "/metrics", nil, http.StatusOK)
		stream(t, s.base)
		check(t, s.base, profile, nil, http.StatusNotFound)
		check(t, s.base, "/debug/pprof/", nil, http.StatusNotFound)
	})
	t.Run("Production", func(t *testing.T) {
		t.Parallel()
		s := start(t, server.URL(), "APP_ENV=production")
		check(t, s.base, "/metrics", nil, http.StatusOK)
		stream(t, s.base)
		for _, header := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip"} {
			check(t, s.base, "/metrics", []string{header, "192.0.2.1"}, http.StatusNotFound)
			check(t, s.base, "/hystrix.stream", []string{header, "127.0.0.1"}, http.StatusNotFound)
		}
		check(t, s.base, profile, nil, http.StatusNotFound)
	})
}

// stream waits for the database's circuit in the event stream of Hystrix.
func stream(t *testing.T, base string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/hystrix.stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || got != "text/event-stream" {
		t.Errorf("stream: got %d, %q", resp.StatusCode, got)
	}
	for lines := bufio.NewScanner(resp.Body); ; {
		if !lines.Scan() {
			t.Fatalf("the stream ended without the circuit: %v", lines.Err())
		}
		data, found := strings.CutPrefix(lines.Text(), "data:")
		var event struct{ Type, Name string }
		if !found || json.Unmarshal([]byte(data), &event) != nil || event.Type != "HystrixCommand" {
			continue
		}
		if event.Name == "primary" || strings.HasPrefix(event.Name, "primary-") { // a number for each app of the process
			return
		}
	}
}

// TestBadTelemetry has what cannot be used ignored, with one warning for each.
func TestBadTelemetry(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	for name, value := range map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "nonsense", "OTEL_TRACES_SAMPLER": "wrong"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startTraced(t, server.URL(), map[string]string{name: value})
			if a := s.call("GET", "/api/restaurants", nil); a.status != http.StatusOK {
				t.Errorf("got %d %s", a.status, a.body)
			}
			if err := s.stop(); err != nil {
				t.Error(err)
			}
			var warnings []string
			for line := range strings.Lines(s.log(t, "app.log")) {
				if strings.Contains(line, `"level":"WARN"`) || strings.Contains(line, `"level":"ERROR"`) {
					warnings = append(warnings, line)
				}
			}
			if len(warnings) != 1 || !strings.Contains(warnings[0], name) || !strings.Contains(warnings[0], `"allowed":`) {
				t.Errorf("got %q, want one warning that names %s", warnings, name)
			}
		})
	}
}

// TestTraceparent has a client's trace continued, and what is not one ignored.
func TestTraceparent(t *testing.T) {
	t.Parallel()
	const trace = "0af7651916cd43dd8448eb211c80319c"
	receiver := otlptest.Start(t)
	s := startTraced(t, pgtest.Server(t).URL(), map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.HTTP})
	for header, continued := range map[string]bool{
		"00-" + trace + "-b7ad6b7169203331-01":                   true,
		"cc-" + trace + "-b7ad6b7169203331-01":                   true, // a version to come
		"":                                                       false,
		"nonsense":                                               false,
		"ff-" + trace + "-b7ad6b7169203331-01":                   false,
		"00-" + trace + "-0000000000000000-01":                   false,
		"00-" + trace + "-b7ad6b7169203331":                      false,
		"00-" + trace + "-b7ad6b7169203331-01-more":              false,
		"00-" + strings.ToUpper(trace) + "-b7ad6b7-01":           false,
		"00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01": false,
		strings.Repeat("00-", 2000):                              false,
	} {
		a := s.call("GET", "/livez", nil, "Traceparent", header)
		got := a.header.Get("X-Trace-Id")
		if a.status != http.StatusOK || len(got) != 32 || (got == trace) != continued || got == strings.Repeat("0", 32) {
			t.Errorf("%.80q: %d, trace %q, want it continued: %v", header, a.status, got, continued)
		}
	}
}
