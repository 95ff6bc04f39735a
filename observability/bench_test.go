package observability_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"speedybites/observability"
)

// BenchmarkAccessLog is one line of a request, with ids, to app.log and stderr.
func BenchmarkAccessLog(b *testing.B) {
	type key struct{}
	cfg := observability.LogConfig{MaxSizeMB: 100, MaxBackups: 1, AttrsFromContext: func(ctx context.Context) []slog.Attr {
		id, _ := ctx.Value(key{}).(string)
		return []slog.Attr{slog.String("requestId", id)} //nolint:sloglint // as the program names it
	}}
	logs, _ := open(b, cfg, io.Discard)
	ctx := context.WithValue(b.Context(), key{}, "0197a0c4-1111-7222-8333-444455556666")
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	log := logs.Logger()
	line := func(ctx context.Context) {
		log.LogAttrs(ctx, slog.LevelInfo, "request", slog.String("method", "GET"), slog.String("route", "/api/orders/:id"),
			slog.Int("status", 200), slog.Int("bytes", 512), slog.Duration("duration", 1234*time.Microsecond),
			slog.String("client", "192.0.2.1"), slog.String("user_agent", "curl/8.0"))
	}
	for name, ctx := range map[string]context.Context{"Request": ctx, "RequestAndSpan": trace.ContextWithSpanContext(ctx, span)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				line(ctx)
			}
		})
		b.Run(name+"Parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					line(ctx)
				}
			})
		})
	}
}

// BenchmarkThinning is a line that nothing is left of but the count, and one
// that is written but had to be looked up.
func BenchmarkThinning(b *testing.B) {
	run := func(name string, thin observability.Thinning) {
		logs, _ := open(b, observability.LogConfig{MaxSizeMB: 100, MaxBackups: 1, Thin: thin}, io.Discard)
		log := logs.Logger()
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					log.LogAttrs(b.Context(), slog.LevelWarn, "query failed", slog.String("query", "orders.place"))
				}
			})
		})
	}
	run("Off", observability.Thinning{})
	run("Written", observability.Thinning{First: 1 << 40, KeepAttrs: []string{"transition_id"}})
	run("Thinned", observability.Thinning{First: 1, KeepAttrs: []string{"transition_id"}})
}

// BenchmarkScrape is a scrape with some 2,000 series besides the process's own.
func BenchmarkScrape(b *testing.B) {
	telemetry, _ := start(b, nil)
	histogram, err := telemetry.Meters().Meter("bench").Float64Histogram("http.server.request.duration", metric.WithUnit("s"))
	if err != nil {
		b.Fatal(err)
	}
	for i := range 100 {
		histogram.Record(b.Context(), 0.01, metric.WithAttributes(attribute.Int("http.route", i)))
	}
	handler := telemetry.MetricsHandler()
	for b.Loop() {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/metrics", http.NoBody))
		if w.Code != http.StatusOK {
			b.Fatalf("got %d", w.Code)
		}
	}
}

// BenchmarkHistogram is one measurement of a request's duration.
func BenchmarkHistogram(b *testing.B) {
	telemetry, _ := start(b, nil)
	histogram, err := telemetry.Meters().Meter("bench").Float64Histogram("http.server.request.duration", metric.WithUnit("s"))
	if err != nil {
		b.Fatal(err)
	}
	attrs := metric.WithAttributeSet(attribute.NewSet(attribute.String("http.route", "/api/orders/:id"),
		attribute.String("http.request.method", "GET"), attribute.Int("http.response.status_code", 200)))
	sampled := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	for name, ctx := range map[string]context.Context{"Plain": b.Context(), "Exemplar": trace.ContextWithSpanContext(b.Context(), sampled)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				histogram.Record(ctx, 0.01, attrs)
			}
		})
	}
}
