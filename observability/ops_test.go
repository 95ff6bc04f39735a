package observability_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"speedybites/observability"
	"speedybites/observability/otlptest"
)

// serve serves the handler of t until the end of the test.
func serve(tb testing.TB, t *observability.Telemetry, routes map[string]http.Handler) string {
	tb.Helper()
	server, err := observability.ListenOps(tb.Context(), "127.0.0.1:0", t.OpsHandler(routes), slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatalf("ListenOps: %v", err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			tb.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			tb.Errorf("Serve: %v", err)
		}
	})
	return "http://" + server.Addr().String()
}

func get(tb testing.TB, url, accept string) (status int, contentType, body string) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		tb.Fatalf("GET %s: %v", url, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatalf("GET %s: %v", url, err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(text)
}

func TestMetricsHandler(t *testing.T) {
	t.Parallel()
	collector := otlptest.Start(t)
	telemetry, _ := start(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.HTTP})
	url := serve(t, telemetry, nil) + "/metrics"
	meter := telemetry.Meters().Meter("test")
	ctx, span := telemetry.Tracers().Tracer("test").Start(t.Context(), "request")
	for _, name := range []string{"http.server.request.duration", "db.client.operation.duration"} {
		histogram, err := meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription("Time it took."))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			histogram.Record(ctx, 0.003, metric.WithAttributes(
				attribute.String("server.address", fmt.Sprint("host", i)), attribute.String("error.type", "timeout")))
		}
	}
	span.End()

	status, contentType, body := get(t, url, "application/openmetrics-text;version=1.0.0")
	if status != http.StatusOK || !strings.HasPrefix(contentType, "application/openmetrics-text") {
		t.Fatalf("got %d, %s", status, contentType)
	}
	for _, want := range []string{
		`http_server_request_duration_seconds_bucket{error_type="timeout",le="0.005"} 50 # {`,
		`http_server_request_duration_seconds_bucket{error_type="timeout",le="7.5"} 50`,
		`trace_id="` + span.SpanContext().TraceID().String() + `"`,
		`db_client_operation_duration_seconds_bucket{error_type="timeout",server_address="host7",le="0.001"} 0`,
		`speedybites_build_info{goversion="go1.`, "target_info{", "# EOF",
		`promhttp_metric_handler_errors_total{cause="gathering"} 0`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	if strings.Contains(body, "otel_scope") {
		t.Error("got labels of the scope")
	}
	if _, contentType, _ := get(t, url, "text/plain"); !strings.HasPrefix(contentType, "text/plain") {
		t.Errorf("text: got %s", contentType)
	}
}

// TestFailingCollector must cost its own metrics and no others.
func TestFailingCollector(t *testing.T) {
	t.Parallel()
	telemetry, log := start(t, nil)
	broken := prometheus.CollectorFunc(func(ch chan<- prometheus.Metric) {
		ch <- prometheus.NewInvalidMetric(prometheus.NewDesc("broken", "Broken.", nil, nil), io.ErrUnexpectedEOF)
	})
	if err := telemetry.Registry().Register(broken); err != nil {
		t.Fatal(err)
	}
	url := serve(t, telemetry, nil) + "/metrics"
	for range 2 {
		if status, _, body := get(t, url, "text/plain"); status != http.StatusOK || !strings.Contains(body, "go_goroutines") {
			t.Errorf("got %d, %s", status, body)
		}
	}
	if got := scraped(t, url, `promhttp_metric_handler_errors_total{cause="gathering"}`); got == "0" {
		t.Error("the error was not counted")
	}
	if !strings.Contains(log.String(), "cannot be collected") {
		t.Errorf("log: got %q", log.String())
	}
}

// scraped returns the value of a series as the text of a scrape shows it.
func scraped(tb testing.TB, url, series string) string {
	tb.Helper()
	_, _, body := get(tb, url, "text/plain")
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(rest)
		}
	}
	tb.Errorf("no %s in the scrape", series)
	return ""
}

// TestHangingCollector must not pile up scrapes, nor keep anything else waiting.
func TestHangingCollector(t *testing.T) {
	t.Parallel()
	telemetry, _ := start(t, nil)
	hold := make(chan struct{})
	hanging := make(chan struct{}, 100)
	first := true
	if err := telemetry.Registry().Register(prometheus.CollectorFunc(func(ch chan<- prometheus.Metric) {
		if !first {
			hanging <- struct{}{}
			<-hold
		}
		first = false // the registration
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("slow", "Slow.", nil, nil), prometheus.GaugeValue, 1)
	})); err != nil {
		t.Fatal(err)
	}
	url := serve(t, telemetry, map[string]http.Handler{"/status": http.RedirectHandler("/", http.StatusFound)})
	const scrapes = 20
	statuses := make(chan int, scrapes)
	for range scrapes {
		go func() {
			status, _, _ := get(t, url+"/metrics", "text/plain")
			statuses <- status
		}()
	}
	<-hanging
	for range scrapes - 4 { // all but those in flight
		if status := <-statuses; status != http.StatusServiceUnavailable {
			t.Errorf("got %d, want 503", status)
		}
	}
	_, span := telemetry.Tracers().Tracer("test").Start(t.Context(), "span")
	span.End()
	close(hold)
	for range 4 {
		if status := <-statuses; status != http.StatusOK && status != http.StatusServiceUnavailable {
			t.Errorf("got %d, want 200, or 503 after the timeout", status)
		}
	}
}

func TestOpsServer(t *testing.T) {
	t.Parallel()

	t.Run("Profiles", func(t *testing.T) {
		t.Parallel()
		telemetry, _ := start(t, nil)
		url := serve(t, telemetry, nil)
		for path, want := range map[string]string{
			"/debug/pprof/": "goroutine", "/debug/pprof/goroutine?debug=1": "goroutine profile", "/debug/pprof/cmdline": "test",
		} {
			if status, _, body := get(t, url+path, "*/*"); status != http.StatusOK || !strings.Contains(body, want) {
				t.Errorf("%s: got %d", path, status)
			}
		}
		if status, _, _ := get(t, url+"/", "*/*"); status != http.StatusNotFound {
			t.Errorf("/: got %d, want 404", status)
		}
	})

	t.Run("ShutdownEndsStreams", func(t *testing.T) {
		t.Parallel()
		streaming := make(chan struct{})
		stream := observability.Stream(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Errorf("Flush: %v", err)
			}
			close(streaming)
			<-r.Context().Done()
		}))
		server, err := observability.ListenOps(t.Context(), "127.0.0.1:0", stream, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatalf("ListenOps: %v", err)
		}
		served := make(chan error, 1)
		go func() { served <- server.Serve() }()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			get(t, "http://"+server.Addr().String()+"/hystrix.stream", "text/event-stream")
		}()
		<-streaming
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		<-ended
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})

	t.Run("AddressInUse", func(t *testing.T) {
		t.Parallel()
		telemetry, _ := start(t, nil)
		addr := strings.TrimPrefix(serve(t, telemetry, nil), "http://")
		_, err := observability.ListenOps(t.Context(), addr, http.NotFoundHandler(), slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), addr) {
			t.Errorf("got %v, want it to name %s", err, addr)
		}
	})
}
