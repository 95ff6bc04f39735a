package tracing

import (
	"context"
	"encoding/binary"
	"math/rand/v2"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
)

// recordAll records what the sampler inside would drop, so that a trace can
// still be kept once something has failed in it. Its spans carry no sampled
// flag: what is called downstream does not trace because of it.
type recordAll struct{ sdktrace.Sampler }

func (s recordAll) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	result := s.Sampler.ShouldSample(p)
	if result.Decision == sdktrace.Drop {
		result.Decision = sdktrace.RecordOnly
	}
	return result
}

func (s recordAll) Description() string { return "RecordAll{" + s.Sampler.Description() + "}" }

// IDs is a tracer provider for when there is nowhere to send spans to. It
// records nothing: a root span gets a trace id for the logs, and an incoming
// one is passed on as it came.
type IDs struct{ embedded.TracerProvider }

// Tracer returns the one tracer there is.
func (IDs) Tracer(string, ...trace.TracerOption) trace.Tracer { return idTracer{} }

type idTracer struct{ embedded.Tracer }

// Start returns a span that takes everything and keeps nothing.
func (idTracer) Start(ctx context.Context, _ string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	if span := trace.SpanFromContext(ctx); span.SpanContext().IsValid() && !newRoot(opts) {
		return ctx, span
	}
	var traceID trace.TraceID
	var spanID trace.SpanID
	// An id of zeros is not valid; setting one bit rules it out.
	binary.NativeEndian.PutUint64(traceID[:8], rand.Uint64())   //nolint:gosec // ids need no secrecy
	binary.NativeEndian.PutUint64(traceID[8:], rand.Uint64()|1) //nolint:gosec // as above
	binary.NativeEndian.PutUint64(spanID[:], rand.Uint64()|1)   //nolint:gosec // as above
	ctx = trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID}))
	return ctx, trace.SpanFromContext(ctx)
}

// newRoot is separate because reading the options allocates, which a span
// below another need not pay for unless it has some.
func newRoot(opts []trace.SpanStartOption) bool {
	if len(opts) == 0 {
		return false
	}
	cfg := trace.NewSpanStartConfig(opts...)
	return cfg.NewRoot()
}
