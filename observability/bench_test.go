package observability_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

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
