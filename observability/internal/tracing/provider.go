package tracing

import (
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// NewProvider returns a tracer provider whose spans go through processor, and
// which records whatever sampler says, as a failing trace is kept regardless.
func NewProvider(sampler sdktrace.Sampler, processor *Processor, res *resource.Resource) *sdktrace.TracerProvider {
	// Limits given raw keep the SDK from asking the process's environment.
	limits := sdktrace.SpanLimits{
		AttributeValueLengthLimit: 4096, AttributeCountLimit: 128, EventCountLimit: 128, LinkCountLimit: 128,
		AttributePerEventCountLimit: 128, AttributePerLinkCountLimit: 128,
	}
	return sdktrace.NewTracerProvider(sdktrace.WithSampler(recordAll{sampler}), sdktrace.WithSpanProcessor(processor),
		sdktrace.WithResource(res), sdktrace.WithRawSpanLimits(limits))
}
