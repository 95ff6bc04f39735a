package tracing

import (
	"slices"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// snapshot is an ended span as it leaves the process.
type snapshot struct {
	sdktrace.ReadOnlySpan
	self  trace.SpanContext
	attrs []attribute.KeyValue
}

func (s snapshot) SpanContext() trace.SpanContext   { return s.self }
func (s snapshot) Attributes() []attribute.KeyValue { return s.attrs }

// forExport sets the sampled flag, without which collectors may ignore a span
// that was kept for an error, and hides attributes that are called like a
// secret. It is a net below the code that sets them.
func forExport(span sdktrace.ReadOnlySpan, secret func(string) bool) sdktrace.ReadOnlySpan {
	self, attrs := span.SpanContext(), span.Attributes()
	hidden := false
	if secret != nil {
		for i, a := range attrs {
			if !secret(string(a.Key)) {
				continue
			}
			if !hidden {
				hidden, attrs = true, slices.Clone(attrs)
			}
			attrs[i] = a.Key.String("[redacted]")
		}
	}
	if self.IsSampled() && !hidden {
		return span
	}
	return snapshot{ReadOnlySpan: span, self: self.WithTraceFlags(self.TraceFlags().WithSampled(true)), attrs: attrs}
}
