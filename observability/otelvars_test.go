package observability_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"

	"speedybites/observability"
)

func TestBrokenVariables(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ name, value, hidden string }{
		"Endpoint":     {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:s3cret@[::1", "s3cret"},
		"NoScheme":     {"OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", ""},
		"Protocol":     {"OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon", ""},
		"Headers":      {"OTEL_EXPORTER_OTLP_HEADERS", "authorization s3cret", "s3cret"},
		"HeaderEscape": {"OTEL_EXPORTER_OTLP_HEADERS", "authorization=s3cret%zz", "s3cret"},
		"Timeout":      {"OTEL_EXPORTER_OTLP_TIMEOUT", "soon", ""},
		"Compression":  {"OTEL_EXPORTER_OTLP_COMPRESSION", "zip", ""},
		"Exporter":     {"OTEL_TRACES_EXPORTER", "fax", ""},
		"Sampler":      {"OTEL_TRACES_SAMPLER", "sometimes", ""},
		"Ratio":        {"OTEL_TRACES_SAMPLER_ARG", "2", ""},
		"NotANumber":   {"OTEL_TRACES_SAMPLER_ARG", "NaN", ""},
		"Resource":     {"OTEL_RESOURCE_ATTRIBUTES", "novalue", ""},
		"Disabled":     {"OTEL_SDK_DISABLED", "perhaps", ""},
		"Metrics":      {"OTEL_METRICS_EXPORTER", "otlp", ""},
		"Logs":         {"OTEL_LOGS_EXPORTER", "otlp", ""},
		"Queue":        {"OTEL_BSP_MAX_QUEUE_SIZE", "-1", ""},
		"Certificate":  {"OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vars := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://localhost:1"}
			vars[test.name] = test.value
			telemetry, log := start(t, vars)
			lines := parse(t, log.String())
			if len(lines) != 1 || lines[0]["level"] != "WARN" || !strings.Contains(log.String(), test.name) {
				t.Errorf("got %s, want one warning that names %s", log.String(), test.name)
			}
			if test.hidden != "" && strings.Contains(log.String(), test.hidden) {
				t.Errorf("got %s, want no secret", log.String())
			}
			if _, span := telemetry.Tracers().Tracer("test").Start(t.Context(), "span"); !span.SpanContext().IsValid() {
				t.Error("got no span")
			}
			value(t, telemetry.Registry(), "speedybites_build_info", nil)
		})
	}
}

func TestDisabled(t *testing.T) {
	t.Parallel()
	telemetry, _ := start(t, map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:1"})
	histogram, err := telemetry.Meters().Meter("test").Float64Histogram("http.server.request.duration", metric.WithUnit("s"))
	if err != nil {
		t.Fatal(err)
	}
	histogram.Record(t.Context(), 1)
	var text bytes.Buffer
	families, err := telemetry.Registry().Gather()
	for _, f := range families {
		text.WriteString(f.GetName() + "\n")
	}
	if err != nil || strings.Contains(text.String(), "http_server") {
		t.Errorf("got %v, %s, want no measurements", err, text.String())
	}
	if _, span := telemetry.Tracers().Tracer("test").Start(t.Context(), "span"); span.IsRecording() {
		t.Error("got a recording span")
	}
	value(t, telemetry.Registry(), "go_goroutines", nil)
}

// TestProcessEnvironment has the SDK see the broken values too, which it reads
// by itself: each is told once, and no header gets out. It is not parallel, for
// the environment and OpenTelemetry's handlers are the process's.
func TestProcessEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		"OTEL_TRACES_SAMPLER": "sometimes", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=s3cret%zz", "OTEL_RESOURCE_ATTRIBUTES": "novalue",
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:1", "OTEL_EXPORTER_OTLP_TIMEOUT": "soon",
	} {
		t.Setenv(name, value)
	}
	var log screen
	telemetry := observability.Start(t.Context(), observability.TelemetryConfig{
		ServiceName: "speedy-bites", Getenv: os.Getenv, Logger: slog.New(slog.NewJSONHandler(&log, nil)),
	})
	if got := len(parse(t, log.String())); got != 4 || strings.Contains(log.String(), "s3cret") {
		t.Errorf("got %s, want four warnings", log.String())
	}
	for range 1000 {
		otel.Handle(errors.New("something is wrong with a span"))
	}
	if got := len(parse(t, log.String())); got != 5 {
		t.Errorf("got %d lines, want one more", got)
	}
	drain(t, telemetry)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	collector := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if r.URL.Path != "/custom" {
			t.Errorf("got path %s", r.URL.Path)
		}
	}))
	t.Cleanup(collector.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: collector.Certificate().Raw})
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	telemetry, log := start(t, map[string]string{
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.URL + "/custom", "OTEL_EXPORTER_OTLP_CERTIFICATE": file,
		"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:1",
	})
	_, span := telemetry.Tracers().Tracer("test").Start(t.Context(), "span")
	span.End()
	drain(t, telemetry)
	if calls.Load() != 1 || log.String() != "" {
		t.Errorf("got %d calls, log %s", calls.Load(), log.String())
	}
}
