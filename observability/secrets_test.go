package observability_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"speedybites/observability"
	"speedybites/observability/otlptest"
)

// TestSecretsStayIn plants a secret wherever one may come in, and looks for it
// wherever something goes out: with a collector that works and with one that
// refuses, whose errors are told.
func TestSecretsStayIn(t *testing.T) {
	t.Parallel()
	const secret = "x9-s3cret-x9"
	for name, mode := range map[string]otlptest.Mode{"Accepted": otlptest.Accept, "Refused": otlptest.Refuse} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			collector := otlptest.Start(t)
			collector.Set(mode)
			telemetry, told := start(t, map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT":   strings.Replace(collector.HTTP, "://", "://user:"+secret+"@", 1),
				"OTEL_EXPORTER_OTLP_HEADERS":    "authorization=" + secret + ",x-api-key=" + secret,
				"OTEL_RESOURCE_ATTRIBUTES":      "api_token=" + secret + ",team=food",
				"OTEL_EXPORTER_OTLP_TIMEOUT":    "1000",
				"OTEL_TRACES_SAMPLER_ARG":       "0.5",
				"OTEL_BSP_MAX_QUEUE_SIZE":       "10000",
				"OTEL_EXPORTER_OTLP_CLIENT_KEY": secret, // not read for plain text
			})
			var stderr screen
			logs, dir := open(t, observability.LogConfig{Thin: observability.Thinning{First: 1}}, &stderr)
			if err := telemetry.Registry().Register(logs); err != nil {
				t.Fatal(err)
			}
			url := serve(t, telemetry, nil)
			tracer := telemetry.Tracers().Tracer("test")
			for range 100 {
				ctx, span := tracer.Start(t.Context(), "login", trace.WithAttributes(
					attribute.String("db.password", secret), attribute.String("http.request.header.authorization", secret)))
				logs.Logger().With("token_secret", secret).ErrorContext(ctx, "login failed", "password", secret, "access_token", secret)
				span.SetStatus(codes.Error, "login failed")
				span.End()
			}
			drain(t, telemetry)
			shut(t, logs)

			_, _, scrape := get(t, url+"/metrics", "application/openmetrics-text;version=1.0.0")
			out := map[string]string{"stderr": stderr.String(), "telemetry's own log": told.String(), "scrape": scrape}
			for _, span := range collector.Spans() {
				out["spans"] += fmt.Sprintln(span.Span, span.Resource)
			}
			files, err := filepath.Glob(filepath.Join(dir, "*"))
			for _, file := range files {
				text, readErr := os.ReadFile(file)
				err = errors.Join(err, readErr)
				out[file] = string(text)
			}
			if err != nil {
				t.Fatal(err)
			}
			for place, text := range out {
				if at := strings.Index(text, secret); at >= 0 {
					t.Errorf("%s has the secret: %s", place, text[max(0, at-200):at+len(secret)])
				}
			}
			if mode == otlptest.Accept && strings.Count(out["spans"], "[redacted]") != 300 {
				t.Errorf("spans: got %d places redacted, want 300", strings.Count(out["spans"], "[redacted]"))
			}
			if !strings.Contains(scrape, `target_info{api_token="[redacted]"`) {
				t.Error("target_info: not redacted")
			}
		})
	}
}
