package postgres

import (
	"context"
	"errors"
	"log/slog"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"speedybites/internal/postgres/breaker"
	"speedybites/internal/postgres/cluster"
	"speedybites/internal/postgres/sqlstate"
)

// attrOutage marks spans of an outage: a trace with one of them is kept whatever the sampling ratio.
const attrOutage = attribute.Key("speedybites.outage")

// queryName is the context's key of the query's name, for the spans of its statements.
type queryName struct{}

// statementTracers makes the spans of otelpgx, which knows neither the query that a statement is a part of nor which
// errors are nobody's fault: its spans would be errors, and their traces kept, for every duplicate e-mail address.
type statementTracers struct{ trace.TracerProvider }

func (p statementTracers) Tracer(name string, opts ...trace.TracerOption) trace.Tracer {
	return statementTracer{p.TracerProvider.Tracer(name, opts...)}
}

type statementTracer struct{ trace.Tracer }

// Start implements trace.Tracer.
func (t statementTracer) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	if query, ok := ctx.Value(queryName{}).(string); ok {
		name = query
	}
	caller := ctx
	ctx, s := t.Tracer.Start(ctx, name, opts...)
	if !s.IsRecording() {
		return ctx, s
	}
	s = &statementSpan{Span: s, caller: caller}
	return trace.ContextWithSpan(ctx, s), s
}

// statementSpan is a span that only takes errors of the database or the network for errors.
type statementSpan struct {
	trace.Span
	caller   context.Context //nolint:containedctx // whether it has ended is asked when the span does
	harmless bool
}

// RecordError implements trace.Span. otelpgx calls it before SetStatus.
func (s *statementSpan) RecordError(err error, opts ...trace.EventOption) {
	v := verdictOf(sqlstate.Classify(s.caller, err))
	if s.harmless = v == answered || v == abandoned; !s.harmless {
		s.Span.RecordError(err, opts...)
	}
}

// SetStatus implements trace.Span.
func (s *statementSpan) SetStatus(code codes.Code, description string) {
	if code != codes.Error || !s.harmless {
		s.Span.SetStatus(code, description)
	}
}

// networkReason names what went wrong on the network, for labels: refused, timeout, reset or other.
func networkReason(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err), errors.Is(err, syscall.ETIMEDOUT):
		return "timeout"
	}
	if sqlstate.Code(err) == "" && sqlstate.Classify(context.Background(), err) == sqlstate.Connection {
		return "reset"
	}
	return "other"
}

// span is a span, or nothing where nobody records. Its methods do nothing then, and cost nothing.
type span struct{ trace.Span }

// startSpan starts a span below that of ctx if that one records. With root, it starts a trace where ctx has none: for
// loops that no request waits for.
func (srv *server) startSpan(ctx context.Context, name string, root bool) (context.Context, span) {
	if srv.tracer == nil {
		return ctx, span{}
	}
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() && (!root || parent.SpanContext().IsValid()) {
		return ctx, span{}
	}
	ctx, s := srv.tracer.Start(ctx, name)
	if !s.IsRecording() {
		return ctx, span{}
	}
	return ctx, span{s}
}

func (s span) on() bool { return s.Span != nil }

func (s span) set(attrs ...attribute.KeyValue) {
	if s.on() {
		s.SetAttributes(attrs...)
	}
}

func (s span) event(name string, attrs ...attribute.KeyValue) {
	if s.on() {
		s.AddEvent(name, trace.WithAttributes(attrs...))
	}
}

// end ends the span of an attempt or call with its verdict. Only what the database or the network did wrong is an
// error: not what a caller asked for, nor its leaving.
func (s span) end(v verdict, err error) {
	if !s.on() {
		return
	}
	switch v {
	case disconnected, locked, overdue, conflicting, refused:
		s.SetAttributes(attribute.String("error.type", verdicts[v]))
		if code := sqlstate.Code(err); code != "" {
			s.SetAttributes(attribute.String("db.response.status_code", code))
		}
		s.SetStatus(codes.Error, verdicts[v])
	case answered, abandoned:
	}
	if v == disconnected {
		s.SetAttributes(attrOutage.Bool(true))
	}
	s.End()
}

// millis is a duration as an attribute, in milliseconds.
func millis(key string, d time.Duration) attribute.KeyValue {
	return attribute.Float64(key, float64(d.Microseconds())/1000)
}

// onTransition makes a change of the breaker's state a log line, a metric and a span of its own, all with one id. It is
// called under the breaker's lock.
func (srv *server) onTransition(ctx context.Context, t breaker.Transition) {
	level := slog.LevelWarn
	switch t.To {
	case breaker.Open:
		level = srv.lossLevel
	case breaker.HalfOpen:
		select {
		case srv.halfOpen <- struct{}{}:
		default:
		}
	case breaker.Closed:
		srv.gate.rampUp()
	}
	spanCtx := context.WithoutCancel(ctx)
	sc := trace.SpanContext{}
	if srv.tracer != nil {
		cause := trace.SpanContextFromContext(ctx)
		var s trace.Span
		spanCtx, s = srv.tracer.Start(spanCtx, "circuit_breaker.transition", trace.WithNewRoot(), trace.WithTimestamp(t.At),
			trace.WithLinks(trace.Link{SpanContext: cause}), trace.WithAttributes(
				attribute.String("speedybites.transition_id", t.ID.String()), attribute.String("speedybites.breaker", srv.name),
				attribute.String("speedybites.breaker.from", label(t.From)), attribute.String("speedybites.breaker.to", label(t.To)),
				attribute.String("speedybites.breaker.reason", t.Reason), attrOutage.Bool(true),
			))
		sc = s.SpanContext()
		s.End()
	}
	exemplar := prometheus.Labels{"transition_id": t.ID.String()}
	if sc.IsValid() {
		exemplar["trace_id"] = sc.TraceID().String()
	}
	if c, ok := srv.metrics.transitions.WithLabelValues(srv.name, label(t.From), label(t.To)).(prometheus.ExemplarAdder); ok {
		c.AddWithExemplar(1, exemplar)
	}
	srv.log.LogAttrs(spanCtx, level, "circuit breaker "+t.To.String(),
		slog.String("transition_id", t.ID.String()), slog.String("from", t.From.String()),
		slog.String("to", t.To.String()), slog.String("reason", t.Reason))
	if srv.announce != nil {
		srv.announce(t)
	}
}

// endOutage accounts for an outage that is over, as a metric and as a span over its whole length.
func (srv *server) endOutage(lost, now cluster.View) {
	length := now.Since.Sub(lost.Since)
	srv.metrics.outageTime.Observe(length.Seconds())
	if srv.tracer != nil {
		_, s := srv.tracer.Start(context.Background(), "database.outage", trace.WithNewRoot(), trace.WithTimestamp(lost.Since))
		s.SetAttributes(attrOutage.Bool(true), millis("speedybites.outage.duration_ms", length))
		s.End(trace.WithTimestamp(now.Since))
	}
}
