package observability

import (
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel/attribute"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
	"go.opentelemetry.io/otel/sdk/resource"
)

// cardinalityLimit is the number of label sets of one instrument, beyond which
// measurements go to a series called otel_metric_overflow. Labels come from
// closed sets, so nothing gets near it.
const cardinalityLimit = 2000

// newRegistry returns a registry with the collectors of the process.
func newRegistry(cfg TelemetryConfig) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	buildInfo := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "speedybites_build_info",
		Help: "Always 1; its labels say which build is running.",
		ConstLabels: prometheus.Labels{
			"version": cfg.Version, "goversion": runtime.Version(), "revision": revision(),
		},
	})
	buildInfo.Set(1)
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo,
	} {
		if err := registry.Register(c); err != nil {
			cfg.Logger.Warn("a collector is missing from /metrics", "error", err)
		}
	}
	return registry
}

// revision returns the commit that the program was built from.
func revision() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}

// newMeters returns a provider whose instruments are collected with registry.
func newMeters(registry prometheus.Registerer, res *resource.Resource) (metric.MeterProvider, error) {
	// The strategy would otherwise follow a global of Prometheus's.
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo(),
		otelprometheus.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes))
	if err != nil {
		return nil, err
	}
	return sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter), sdkmetric.WithResource(res),
		sdkmetric.WithExemplarFilter(exemplar.TraceBasedFilter), sdkmetric.WithCardinalityLimit(cardinalityLimit),
		sdkmetric.WithView(
			// The client chooses these: one series for each would be its to make.
			sdkmetric.NewView(sdkmetric.Instrument{Name: "http.server.request.duration"}, sdkmetric.Stream{
				Aggregation: sdkmetric.AggregationExplicitBucketHistogram{Boundaries: httpBuckets()},
				AttributeFilter: attribute.NewDenyKeysFilter("server.address", "server.port", "client.address", "client.port",
					"network.peer.address", "network.peer.port", "url.full", "url.path", "url.query", "user_agent.original"),
			}),
			sdkmetric.NewView(sdkmetric.Instrument{Name: "db.client.operation.duration"}, sdkmetric.Stream{
				Aggregation: sdkmetric.AggregationExplicitBucketHistogram{Boundaries: dbBuckets()},
			}),
		)), nil
}

// httpBuckets are the semantic conventions', in seconds.
func httpBuckets() []float64 {
	return []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
}

// dbBuckets are the semantic conventions', in seconds.
func dbBuckets() []float64 { return []float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10} }
