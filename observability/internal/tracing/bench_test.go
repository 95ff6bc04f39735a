package tracing_test

import (
	"context"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"speedybites/observability/internal/tracing"
)

// discard is an exporter that takes everything.
type discard struct{}

func (discard) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (discard) Shutdown(context.Context) error                             { return nil }

// BenchmarkTrace is a request of two spans with three attributes each.
func BenchmarkTrace(b *testing.B) {
	attrs := trace.WithAttributes(attribute.String("db.query.summary", "orders.place"), attribute.Int("attempt", 1),
		attribute.String("db.system.name", "postgresql"))
	run := func(b *testing.B, tracer trace.Tracer, failing bool) {
		b.Helper()
		b.ReportAllocs()
		ctx := b.Context()
		for b.Loop() {
			ctx, root := tracer.Start(ctx, "GET /api/orders/:id", trace.WithSpanKind(trace.SpanKindServer), attrs)
			_, child := tracer.Start(ctx, "orders.place", trace.WithSpanKind(trace.SpanKindClient), attrs)
			if failing {
				child.SetStatus(codes.Error, "refused")
			}
			child.End()
			root.End()
		}
	}
	for name, test := range map[string]struct {
		sampler sdktrace.Sampler
		failing bool
	}{
		"Sampled":   {sdktrace.AlwaysSample(), false},
		"KeptError": {sdktrace.NeverSample(), true},
		"Dropped":   {sdktrace.NeverSample(), false},
	} {
		b.Run(name, func(b *testing.B) {
			p := newPipeline(b, tracing.Config{
				Exporter: discard{}, Batch: tracing.Batch{Queue: 8192, Interval: 100 * time.Millisecond},
			}, sdktrace.ParentBased(test.sampler))
			run(b, p, test.failing)
		})
	}
	b.Run("NoExporter", func(b *testing.B) { run(b, tracing.IDs{}.Tracer("test"), false) })
}
