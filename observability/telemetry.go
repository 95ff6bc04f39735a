package observability

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"

	"speedybites/observability/internal/tracing"
)

// OutageKey is the span attribute that, when true, has a trace exported
// whatever the sampling ratio, as an error status does.
const OutageKey = tracing.OutageKey

// TelemetryConfig says whose telemetry it is, and where it goes.
type TelemetryConfig struct {
	// ServiceName is what OTEL_SERVICE_NAME, or service.name among
	// OTEL_RESOURCE_ATTRIBUTES, may replace.
	ServiceName string
	// Version is the program's, for build_info and the resource.
	Version string
	// Environment is where it runs, such as "production".
	Environment string
	// Getenv returns the OTEL_* variables; nil means that none is set.
	Getenv func(name string) string
	// Logger is told what is wrong with the telemetry itself.
	Logger *slog.Logger
}

// Telemetry has the metrics and the traces of one service. Several may run in
// one process; the error handler of OpenTelemetry, which is the process's, is
// then that of the one that started last.
type Telemetry struct {
	registry *prometheus.Registry
	meters   metric.MeterProvider
	tracers  trace.TracerProvider
	metrics  http.Handler

	sdk *sdktrace.TracerProvider // nil when nothing is exported
}

// Start starts the telemetry. It cannot fail: what cannot be set up is left
// out, with one warning for each thing. Traces are exported when OTEL_* name an
// endpoint. End it with [Telemetry.Shutdown].
func Start(ctx context.Context, cfg TelemetryConfig) *Telemetry {
	if cfg.Getenv == nil {
		cfg.Getenv = func(string) string { return "" }
	}
	// The SDK looks at the same variables, in the process's environment, and
	// would complain a second time.
	var speak atomic.Bool
	handleOTelErrors(cfg.Logger, &speak)
	defer speak.Store(true)

	t := &Telemetry{
		registry: newRegistry(cfg),
		meters:   metricnoop.NewMeterProvider(),
		tracers:  tracing.IDs{},
	}
	settings := tracing.ReadSettings(cfg.Getenv, cfg.Logger)
	res := newResource(cfg)
	t.startMeters(ctx, cfg, settings, res)
	t.startTracers(ctx, cfg, settings, res)
	t.metrics = newMetricsHandler(t.registry, cfg.Logger)
	return t
}

func (t *Telemetry) startMeters(ctx context.Context, cfg TelemetryConfig, settings tracing.Settings, res *resource.Resource) {
	if settings.Disabled {
		cfg.Logger.InfoContext(ctx, "OTEL_SDK_DISABLED is true: there are no traces")
		return
	}
	meters, err := newMeters(t.registry, res)
	if err != nil {
		cfg.Logger.WarnContext(ctx, "latencies are not measured", "error", err)
		return
	}
	t.meters = meters
}

func (t *Telemetry) startTracers(ctx context.Context, cfg TelemetryConfig, settings tracing.Settings, res *resource.Resource) {
	// The counters are there, at 0, even when nothing is exported.
	metrics, err := tracing.NewMetrics(t.registry)
	if err != nil {
		cfg.Logger.WarnContext(ctx, "exported spans are not counted", "error", err)
	}
	exporter, err := tracing.NewExporter(ctx, settings)
	if err != nil {
		cfg.Logger.WarnContext(ctx, "traces are not exported", "error", err)
		return
	}
	if exporter == nil {
		return
	}
	processor := tracing.NewProcessor(tracing.Config{
		Exporter: exporter, Metrics: metrics, Logger: cfg.Logger, Secret: isSecret, Batch: settings.Batch,
	})
	t.sdk = tracing.NewProvider(settings.Sampler, processor, res)
	t.tracers = t.sdk
}

// newResource describes the service. Attributes that are called like a secret
// are hidden: they end up in target_info, for everybody to read.
func newResource(cfg TelemetryConfig) *resource.Resource {
	attrs := []attribute.KeyValue{
		semconv.TelemetrySDKLanguageGo, semconv.TelemetrySDKName("opentelemetry"),
		semconv.ServiceName(cfg.ServiceName), semconv.ServiceVersion(cfg.Version),
		semconv.ServiceInstanceID(uuid.NewString()), attribute.String("deployment.environment.name", cfg.Environment),
	}
	for key, value := range tracing.Pairs("OTEL_RESOURCE_ATTRIBUTES", cfg.Getenv, cfg.Logger) {
		if isSecret(key) {
			value = "[redacted]"
		}
		attrs = append(attrs, attribute.String(key, value))
	}
	if name := cfg.Getenv("OTEL_SERVICE_NAME"); name != "" {
		attrs = append(attrs, semconv.ServiceName(name))
	}
	return resource.NewSchemaless(attrs...) // Of equal keys the last one counts.
}

// Registry returns the registry behind /metrics.
func (t *Telemetry) Registry() *prometheus.Registry { return t.registry }

// Meters returns the provider of instruments whose measurements are part of
// the registry, with exemplars of sampled traces.
func (t *Telemetry) Meters() metric.MeterProvider { return t.meters }

// Tracers returns the provider of tracers. Without an exporter, its spans have
// ids for the logs and nothing else.
func (t *Telemetry) Tracers() trace.TracerProvider { return t.tracers }

// Shutdown exports the spans that have ended, until ctx ends, which is then
// its error. The registry can be read on.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if t.sdk == nil {
		return nil
	}
	return t.sdk.Shutdown(ctx)
}
