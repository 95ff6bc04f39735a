//go:build bench

package bench

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel/trace"

	"speedybites/internal/accounts"
	"speedybites/internal/audit"
	"speedybites/internal/catalog"
	"speedybites/internal/dbtest"
	"speedybites/internal/demo"
	"speedybites/internal/httpapi"
	"speedybites/internal/ordering"
	"speedybites/internal/pgtest"
	"speedybites/internal/postgres"
	"speedybites/observability"
)

// The promises for the telemetry of a request with one query, over the same without: CPU time and allocations of the
// process, with the export.
const (
	maxTracedCPU    = 50 * time.Microsecond // the goal is 25 µs
	maxTracedAllocs = 120                   // the goal is 60
	maxUntracedCPU  = 15 * time.Microsecond
	maxScrape       = 5 * time.Millisecond
)

const (
	telemetryRounds = 30
	perRound        = 1000
	exportDelay     = 20 * time.Millisecond
)

// variant is the API with more or less telemetry.
type variant struct {
	name      string
	handler   http.Handler
	telemetry *observability.Telemetry // nil: off
	exports   bool

	// cpu and allocs are those of a request, for each round.
	cpu    []time.Duration
	allocs []float64
}

// TestTelemetry measures what metrics, traces and their export add to a request with one query. The network of the
// client is left out. Everything writes the same log.
func TestTelemetry(t *testing.T) {
	url := pgtest.DB(t)
	if _, err := demo.Load(t.Context(), dbtest.OpenDefault(t, url)); err != nil {
		t.Fatal(err)
	}
	collector := discard(t)
	off := newVariant(t, "off", url, nil)
	untraced := newVariant(t, "metrics only", url, map[string]string{})
	traced := newVariant(t, "metrics and traces", url, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_TRACES_SAMPLER": "always_on",
		// So short that a round pays for its own export.
		"OTEL_BSP_SCHEDULE_DELAY": strconv.FormatInt(exportDelay.Milliseconds(), 10), "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
	})
	held := newVariant(t, "traces, held", url, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_TRACES_SAMPLER": "always_on", "OTEL_BSP_SCHEDULE_DELAY": "3600000",
		"OTEL_BSP_MAX_QUEUE_SIZE": "100000", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "100000",
	})
	for _, v := range []*variant{off, untraced, held} {
		allocs := testing.AllocsPerRun(500, func() { v.request(t) })
		t.Logf("%-18s %.0f allocations a request until the answer", v.name, allocs)
	}
	variants := []*variant{off, untraced, traced}
	for _, v := range variants {
		v.round(t) // connections, buffers, prepared statements
		v.cpu, v.allocs = nil, nil
	}
	for i := range telemetryRounds {
		for j := range variants {
			variants[(i+j)%len(variants)].round(t)
		}
	}

	for _, v := range variants {
		t.Logf("%-18s %v CPU and %.0f allocations a request, with the export", v.name, median(v.cpu), median(v.allocs))
	}
	delta := func(v *variant) time.Duration {
		var deltas []time.Duration
		for i := range v.cpu {
			deltas = append(deltas, v.cpu[i]-off.cpu[i])
		}
		return median(deltas)
	}
	t.Logf("metrics add %v, metrics and traces %v", delta(untraced), delta(traced))
	if got := delta(traced); got > maxTracedCPU {
		t.Errorf("metrics and traces: %v CPU a request, want at most %v", got, maxTracedCPU)
	}
	if got := delta(untraced); got > maxUntracedCPU {
		t.Errorf("metrics alone: %v CPU a request, want at most %v", got, maxUntracedCPU)
	}
	if got := median(traced.allocs) - median(off.allocs); got > maxTracedAllocs {
		t.Errorf("metrics and traces: %.0f allocations a request, want at most %d", got, maxTracedAllocs)
	}
	if got := value(t, traced.telemetry.Registry(), "speedybites_telemetry_spans_dropped_total"); got != 0 {
		t.Errorf("%v spans were dropped", got)
	}
	scrape(t, traced.telemetry)
}

// newVariant builds the API as the service does; with no variables at all it has no telemetry.
func newVariant(t *testing.T, name, url string, vars map[string]string) *variant {
	t.Helper()
	v := &variant{name: name}
	logs, err := observability.OpenLogs(observability.LogConfig{
		Dir: t.TempDir(), MaxSizeMB: 100, MaxBackups: 1,
		AttrsFromContext: func(ctx context.Context) []slog.Attr {
			return []slog.Attr{slog.String("requestId", httpapi.RequestID(ctx))} //nolint:sloglint // the contract's name
		},
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	atEnd(t, logs.Close)
	log := logs.Logger()
	var tracers trace.TracerProvider
	var registerer prometheus.Registerer
	if vars != nil {
		v.telemetry = observability.Start(t.Context(), observability.TelemetryConfig{
			ServiceName: "bench", Getenv: func(name string) string { return vars[name] }, Logger: log,
		})
		atEnd(t, v.telemetry.Shutdown)
		tracers, registerer = v.telemetry.Tracers(), v.telemetry.Registry()
		v.exports = len(vars) > 0
		if err := v.telemetry.Registry().Register(logs); err != nil {
			t.Fatal(err)
		}
	}
	db, err := postgres.Open(dbtest.Config(url), postgres.Deps{
		Logger: log, Tracers: tracers, Registerer: registerer,
		Queries: slices.Concat(accounts.Queries(), catalog.Queries(), ordering.Queries(), audit.Queries(), demo.Queries()),
	})
	if err != nil {
		t.Fatal(err)
	}
	atEnd(t, func(ctx context.Context) error { db.Close(ctx); return nil })
	if _, err := db.Verdict(t.Context()); err != nil {
		t.Fatal(err)
	}
	users, err := accounts.New(db, accounts.Config{TokenSecret: []byte(strings.Repeat("b", 32)), TokenTTL: time.Hour}, log)
	if err != nil {
		t.Fatal(err)
	}
	orders, err := ordering.New(db, ordering.Config{IdempotencyTTL: time.Hour, Registerer: registerer})
	if err != nil {
		t.Fatal(err)
	}
	server, err := httpapi.New(httpapi.Config{}, httpapi.Deps{
		Logger: log, Accounts: users, Catalog: catalog.New(db), Orders: orders,
		Health: func() httpapi.Health { return httpapi.Health{} }, Tracers: tracers, Registerer: registerer,
	})
	if err != nil {
		t.Fatal(err)
	}
	v.handler = server.Handler()
	return v
}

// discard is a collector that reads spans and does nothing with them, as its own work would be taken for the service's.
func discard(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func atEnd(t *testing.T, end func(context.Context) error) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := end(ctx); err != nil {
			t.Error(err)
		}
	})
}

func (v *variant) request(t *testing.T) {
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/restaurants/"+demo.RestaurantID().String(), nil)
	answer := httptest.NewRecorder()
	v.handler.ServeHTTP(answer, req)
	if answer.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", v.name, answer.Code, answer.Body)
	}
}

// round makes requests, and leaves the exporter the time to send their spans.
func (v *variant) round(t *testing.T) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begin := cpuTime(t)
	for range perRound {
		v.request(t)
	}
	if v.exports {
		time.Sleep(5 * exportDelay)
	}
	spent := cpuTime(t) - begin
	runtime.ReadMemStats(&after)
	v.cpu = append(v.cpu, spent/perRound)
	v.allocs = append(v.allocs, float64(after.Mallocs-before.Mallocs)/perRound)
}

// cpuTime returns the CPU time that this process has used. PostgreSQL's processes are others.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func median[T time.Duration | float64](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// value returns the sum of a counter over its labels.
func value(t *testing.T, registry *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == name })
	if i < 0 {
		t.Fatalf("there is no %s", name)
	}
	for _, m := range families[i].GetMetric() {
		sum += m.GetCounter().GetValue()
	}
	return sum
}

// scrape measures one look at the whole registry, by its best time: the promise is about its work, not about what else
// the machine does.
func scrape(t *testing.T, telemetry *observability.Telemetry) {
	t.Helper()
	best, size := time.Hour, 0
	for range 50 {
		answer := httptest.NewRecorder()
		begin := time.Now()
		telemetry.MetricsHandler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
		best, size = min(best, time.Since(begin)), answer.Body.Len()
	}
	t.Logf("a scrape: %v, %d bytes", best, size)
	if best > maxScrape {
		t.Errorf("a scrape takes %v, want at most %v", best, maxScrape)
	}
}
