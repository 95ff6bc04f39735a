package observability_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"speedybites/observability"
	"speedybites/observability/otlptest"
)

// start starts telemetry with the given variables and nothing of the
// process's, and returns it with what it logs.
func start(tb testing.TB, vars map[string]string) (*observability.Telemetry, *screen) {
	tb.Helper()
	var log screen
	t := observability.Start(tb.Context(), observability.TelemetryConfig{
		ServiceName: "speedy-bites", Version: "1.2.3", Environment: "test",
		Getenv: func(name string) string { return vars[name] },
		Logger: slog.New(slog.NewJSONHandler(&log, nil)),
	})
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = t.Shutdown(ctx) // Tests that care call it themselves.
	})
	return t, &log
}

// drain shuts t down with plenty of time.
func drain(tb testing.TB, t *observability.Telemetry) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := t.Shutdown(ctx); err != nil {
		tb.Errorf("Shutdown: %v", err)
	}
}

// value returns the sum of the counters and gauges of a name with these labels.
func value(tb testing.TB, reg prometheus.Gatherer, name string, labels map[string]string) float64 {
	tb.Helper()
	families, err := reg.Gather()
	if err != nil {
		tb.Fatalf("Gather: %v", err)
	}
	sum, found := 0.0, false
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			match := 0
			for _, l := range m.GetLabel() {
				if labels[l.GetName()] == l.GetValue() {
					match++
				}
			}
			if match == len(labels) {
				found = true
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	if !found {
		tb.Errorf("no series %s%v", name, labels)
	}
	return sum
}

func names(spans []otlptest.Span) []string {
	list := []string{}
	for _, s := range spans {
		list = append(list, s.Name)
	}
	return list
}

func TestStartWithoutEndpoint(t *testing.T) {
	t.Parallel()
	telemetry, log := start(t, nil)
	tracer := telemetry.Tracers().Tracer("test")

	ctx, span := tracer.Start(t.Context(), "root")
	if sc := span.SpanContext(); !sc.IsValid() || sc.IsSampled() || span.IsRecording() {
		t.Errorf("root: got %v, want ids and no recording", sc)
	}
	if _, child := tracer.Start(ctx, "child"); !child.SpanContext().Equal(span.SpanContext()) {
		t.Error("child: got another trace")
	}
	if _, other := tracer.Start(ctx, "other", trace.WithNewRoot()); other.SpanContext().TraceID() == span.SpanContext().TraceID() {
		t.Error("new root: got the same trace")
	}
	incoming := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, Remote: true,
	})
	ctx = trace.ContextWithRemoteSpanContext(t.Context(), incoming)
	if _, server := tracer.Start(ctx, "server", trace.WithSpanKind(trace.SpanKindServer)); !server.SpanContext().Equal(incoming) {
		t.Errorf("incoming: got %v, want it passed on", server.SpanContext())
	}

	problems, err := testutil.GatherAndLint(telemetry.Registry())
	if err != nil {
		t.Fatalf("GatherAndLint: %v", err)
	}
	for _, p := range problems {
		if !strings.HasPrefix(p.Metric, "go_") && !strings.HasPrefix(p.Metric, "process_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for _, reason := range []string{"queue_full", "buffer_full", "too_old", "export_failed", "shutdown"} {
		if got := value(t, telemetry.Registry(), "speedybites_telemetry_spans_dropped_total", map[string]string{"reason": reason}); got != 0 {
			t.Errorf("%s: got %v, want 0", reason, got)
		}
	}
	value(t, telemetry.Registry(), "speedybites_build_info", map[string]string{"version": "1.2.3"})
	value(t, telemetry.Registry(), "target_info", map[string]string{"service_name": "speedy-bites", "deployment_environment_name": "test"})
	drain(t, telemetry)
	if log.String() != "" {
		t.Errorf("log: got %s, want nothing", log.String())
	}
}

func TestExport(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		t.Run(strings.ReplaceAll(protocol, "/", "-"), func(t *testing.T) {
			t.Parallel()
			collector := otlptest.Start(t)
			endpoint := collector.HTTP
			if protocol == "grpc" {
				endpoint = collector.GRPC
			}
			telemetry, log := start(t, map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
				"OTEL_EXPORTER_OTLP_HEADERS": "x-test=a%20b", "OTEL_SERVICE_NAME": "renamed",
				"OTEL_RESOURCE_ATTRIBUTES": "team=food,service.name=other",
			})
			tracer := telemetry.Tracers().Tracer("test")
			ctx, root := tracer.Start(t.Context(), "root")
			_, child := tracer.Start(ctx, "child", trace.WithAttributes(attribute.String("key", "value")))
			child.End()
			root.End()
			drain(t, telemetry)

			spans := collector.Spans()
			if diff := cmp.Diff([]string{"child", "root"}, names(spans)); diff != "" {
				t.Fatalf("spans (-want +got):\n%s", diff)
			}
			if spans[0].Attr("key") != "value" || spans[0].Resource["service.name"] != "renamed" || spans[0].Resource["team"] != "food" {
				t.Errorf("got attributes %v, resource %v", spans[0].Attributes, spans[0].Resource)
			}
			if got := collector.Header(); got != "a b" {
				t.Errorf("header: got %q", got)
			}
			if got := value(t, telemetry.Registry(), "speedybites_telemetry_spans_exported_total", nil); got != 2 {
				t.Errorf("exported: got %v, want 2", got)
			}
			if log.String() != "" {
				t.Errorf("log: got %s, want nothing", log.String())
			}
		})
	}
}

// TestFailuresAreAlwaysKept samples nothing and expects the failing trace.
func TestFailuresAreAlwaysKept(t *testing.T) {
	t.Parallel()
	collector := otlptest.Start(t)
	telemetry, _ := start(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": collector.HTTP, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0",
	})
	tracer := telemetry.Tracers().Tracer("test")
	request := func(name string, end func(trace.Span)) {
		ctx, root := tracer.Start(t.Context(), name)
		_, child := tracer.Start(ctx, name+" query")
		end(child)
		child.End()
		root.End()
	}
	request("fine", func(trace.Span) {})
	request("failing", func(s trace.Span) { s.SetStatus(codes.Error, "connection refused") })
	request("bridged", func(s trace.Span) { s.SetAttributes(observability.OutageKey.Bool(true)) })
	drain(t, telemetry)
	if diff := cmp.Diff([]string{"failing query", "failing", "bridged query", "bridged"}, names(collector.Spans())); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
}
