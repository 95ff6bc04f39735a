package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

const (
	headerTraceparent = "Traceparent"
	headerTraceID     = "X-Trace-Id"

	// Bounds of what clients choose, in bytes.
	maxTracedText   = 256
	maxTracedMethod = 32
	maxTracedStack  = 16 << 10
)

// tracing makes one server span for each request.
type tracing struct {
	tracer  trace.Tracer // nil: off
	options []trace.SpanStartOption
}

// newTracing returns tracing with spans of provider; nil and the no-op provider turn it off.
func newTracing(provider trace.TracerProvider) tracing {
	if _, off := provider.(noop.TracerProvider); off || provider == nil {
		return tracing{}
	}
	return tracing{
		tracer:  provider.Tracer("speedybites/internal/httpapi", trace.WithSchemaURL(semconv.SchemaURL)),
		options: []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)},
	}
}

// start returns r's context with the span that the request is handled in, which continues the client's trace. With
// tracing off the context still carries the client's trace, for the log.
func (t tracing) start(r *http.Request, e *endpoint) (context.Context, trace.Span) {
	ctx := r.Context()
	if _, ok := r.Header[headerTraceparent]; ok {
		ctx = propagation.TraceContext{}.Extract(ctx, carrier{propagation.HeaderCarrier(r.Header)})
	}
	if t.tracer == nil {
		return ctx, noop.Span{}
	}
	return t.tracer.Start(ctx, e.spanName, t.options...) //nolint:spancheck // endSpan ends it
}

// carrier joins headers that came in several lines, as RFC 9110 has it. Two traceparents are malformed then, so they are
// ignored like any other that cannot be read.
type carrier struct{ propagation.HeaderCarrier }

// Get returns the whole value of a header.
func (c carrier) Get(key string) string { return strings.Join(c.Values(key), ",") }

// endSpan ends the span of a request. The attributes are set only now, and only on a span that records.
func endSpan(c *gin.Context, span trace.Span, e *endpoint, o outcome) {
	if span.IsRecording() {
		span.SetAttributes(spanAttributes(c, e, o)...)
		if o.errorType != "" {
			span.SetStatus(codes.Error, "") // the attributes tell the reason
		}
	}
	span.End()
}

// spanAttributes describes a request. The query is left out: it is the client's text and may hold what is private.
func spanAttributes(c *gin.Context, e *endpoint, o outcome) []attribute.KeyValue {
	r := c.Request
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	attrs := make([]attribute.KeyValue, 0, 9)
	attrs = append(
		attrs,
		semconv.HTTPRequestMethodKey.String(e.method),
		semconv.URLPath(traced(r.URL.Path, maxTracedText)),
		semconv.URLScheme(scheme),
		semconv.HTTPResponseStatusCode(o.status),
	)
	if e.method == methodOther {
		attrs = append(attrs, semconv.HTTPRequestMethodOriginal(traced(r.Method, maxTracedMethod)))
	}
	if e.route != unmatchedRoute {
		attrs = append(attrs, semconv.HTTPRoute(e.route))
	}
	if agent := r.UserAgent(); agent != "" {
		attrs = append(attrs, semconv.UserAgentOriginal(traced(agent, maxTracedText)))
	}
	if o.errorType != "" {
		attrs = append(attrs, semconv.ErrorTypeKey.String(o.errorType))
	}
	return attrs
}

// traced bounds a text that a client chose and makes it valid UTF-8: one invalid text would keep the exporter from
// sending every span that it sends together with this one.
func traced(s string, n int) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return bounded(s, n)
}

// recordPanic adds the panic with value v to the span of ctx.
func recordPanic(ctx context.Context, v any, stack []byte) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.AddEvent(semconv.ExceptionEventName, trace.WithAttributes(
		semconv.ExceptionType(fmt.Sprintf("%T", v)),
		semconv.ExceptionMessage(traced(fmt.Sprint(v), maxTracedText)),
		semconv.ExceptionStacktrace(traced(string(stack), maxTracedStack)),
	))
}
