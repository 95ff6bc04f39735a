package observability_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"speedybites/observability/otlptest"
)

// TestCollectorInTrouble makes more spans than fit the queue while the
// collector stalls, refuses or is away: nobody waits, and every span is
// accounted for.
func TestCollectorInTrouble(t *testing.T) {
	t.Parallel()
	closed, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]otlptest.Mode{"Stalling": otlptest.Stall, "Refusing": otlptest.Refuse, "Away": -1} {
		for _, protocol := range []string{"grpc", "http/protobuf"} {
			t.Run(name+"/"+strings.ReplaceAll(protocol, "/", "-"), func(t *testing.T) {
				t.Parallel()
				endpoint := "http://" + closed.Addr().String()
				if mode >= 0 {
					collector := otlptest.Start(t)
					collector.Set(mode)
					endpoint = collector.HTTP
					if protocol == "grpc" {
						endpoint = collector.GRPC
					}
				}
				telemetry, log := start(t, map[string]string{
					"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
					"OTEL_EXPORTER_OTLP_TIMEOUT": "500", "OTEL_BSP_EXPORT_TIMEOUT": "500", "OTEL_BSP_SCHEDULE_DELAY": "20",
				})
				tracer := telemetry.Tracers().Tracer("test")
				const spans = 20_000
				began := time.Now()
				for range spans {
					_, span := tracer.Start(t.Context(), "span")
					span.End()
				}
				// One wait for the exporter would be 500 ms, one for each batch 20 s.
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("%d spans took %v", spans, took)
				}
				dropped := func(reason string) float64 {
					return value(t, telemetry.Registry(), "speedybites_telemetry_spans_dropped_total", map[string]string{"reason": reason})
				}
				eventually(t, "a failed export", func() bool { return dropped("export_failed") > 0 })

				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				if err := telemetry.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Shutdown: got %v", err)
				}
				sum := func() float64 {
					return value(t, telemetry.Registry(), "speedybites_telemetry_spans_exported_total", nil) +
						dropped("queue_full") + dropped("export_failed") + dropped("shutdown")
				}
				eventually(t, "all spans to be accounted for", func() bool { return sum() == spans })
				if got := len(parse(t, log.String())); got != 1 || !strings.Contains(log.String(), "cannot be exported") {
					t.Errorf("log: got %s, want one line", log.String())
				}
			})
		}
	}
}

func TestCollectorComesBack(t *testing.T) {
	t.Parallel()
	collector := otlptest.Start(t)
	collector.Set(otlptest.Refuse)
	telemetry, log := start(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.HTTP, "OTEL_BSP_SCHEDULE_DELAY": "20"})
	tracer := telemetry.Tracers().Tracer("test")
	span := func() {
		_, span := tracer.Start(t.Context(), "span")
		span.End()
	}
	span()
	eventually(t, "a refused export", func() bool { return strings.Contains(log.String(), "cannot be exported") })
	collector.Set(otlptest.Accept)
	span()
	eventually(t, "an export", func() bool { return strings.Contains(log.String(), "exported again") })
	if got := len(collector.Spans()); got != 1 {
		t.Errorf("got %d spans, want 1", got)
	}
}
