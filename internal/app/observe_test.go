package app_test

import (
	"bytes"
	"encoding/hex"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"speedybites/observability/otlptest"
)

// observed is a service that exports its traces.
type observed struct {
	*service
	stderr *bytes.Buffer // complete when the service has stopped
}

// observe runs the service with a queue of spans that loses none here.
func observe(tb testing.TB, databaseURL string, env ...string) *observed {
	tb.Helper()
	env = append([]string{"OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_BSP_MAX_QUEUE_SIZE=65536"}, env...)
	o := &observed{stderr: &bytes.Buffer{}}
	o.service = startTo(tb, o.stderr, databaseURL, env...)
	return o
}

// grpcTo and httpTo are the variables that send traces to a receiver.
func grpcTo(r *otlptest.Receiver) []string {
	return []string{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_ENDPOINT=" + r.GRPC}
}

func httpTo(r *otlptest.Receiver) []string {
	return []string{"OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_EXPORTER_OTLP_ENDPOINT=" + r.HTTP}
}

// sample is one line of a scrape.
type sample struct {
	name             string
	labels, exemplar map[string]string
	value            float64
}

type scraped []sample

var (
	metricLine = regexp.MustCompile(`^([a-zA-Z_:][\w:]*)(?:\{(.*?)\})? (\S+)(?: # \{(.*?)\} .*)?$`)
	metricPair = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
)

// scrape reads /metrics in the OpenMetrics format, the only one with exemplars.
func (o *observed) scrape() scraped {
	o.t.Helper()
	a := o.call("GET", "/metrics", nil, "Accept", "application/openmetrics-text; version=1.0.0")
	if a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Content-Type"), "application/openmetrics-text") {
		o.t.Fatalf("scrape: %d, %s", a.status, a.header.Get("Content-Type"))
	}
	var all scraped
	for line := range strings.Lines(a.body) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		m := metricLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			o.t.Fatalf("not a sample: %s", line)
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			o.t.Fatalf("%v in %s", err, line)
		}
		all = append(all, sample{name: m[1], labels: pairs(m[2]), value: value, exemplar: pairs(m[4])})
	}
	return all
}

func pairs(text string) map[string]string {
	m := map[string]string{}
	for _, p := range metricPair.FindAllStringSubmatch(text, -1) {
		m[p[1]] = p[2]
	}
	return m
}

// with returns the scraped of a name that have the labels, given as name, value, name, value.
func (s scraped) with(name string, labels ...string) (found scraped) {
	for _, m := range s {
		matches := m.name == name
		for i := 0; i+1 < len(labels); i += 2 {
			matches = matches && m.labels[labels[i]] == labels[i+1]
		}
		if matches {
			found = append(found, m)
		}
	}
	return found
}

// sum adds up what with returns, of which there must be some.
func (s scraped) sum(tb testing.TB, name string, labels ...string) float64 {
	tb.Helper()
	found := s.with(name, labels...)
	if len(found) == 0 {
		tb.Errorf("there is no %s with %v", name, labels)
	}
	total := 0.0
	for _, m := range found {
		total += m.value
	}
	return total
}

// family is the spans of one trace.
type family []otlptest.Span

func families(spans []otlptest.Span) map[string]family {
	traces := map[string]family{}
	for _, s := range spans {
		id := hex.EncodeToString(s.TraceId)
		traces[id] = append(traces[id], s)
	}
	return traces
}

func (f family) below(parent otlptest.Span) (children family) {
	for _, s := range f {
		if bytes.Equal(s.ParentSpanId, parent.SpanId) {
			children = append(children, s)
		}
	}
	return children
}

func (f family) named(name string) (found family) {
	for _, s := range f {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

// server returns the span of the request, if it is there.
func (f family) server() (otlptest.Span, bool) {
	i := slices.IndexFunc(f, func(s otlptest.Span) bool { return s.Kind == tracev1.Span_SPAN_KIND_SERVER })
	if i < 0 {
		return otlptest.Span{}, false
	}
	return f[i], true
}

func isTrue(s otlptest.Span, key string) bool { return strings.Contains(s.Attr(key), "true") }

// eventsNamed returns the events of a name, each with its duration in milliseconds; -1 where it has none.
func eventsNamed(s otlptest.Span, name string) (durations []float64) {
	for _, e := range s.Events {
		if e.Name != name {
			continue
		}
		d := -1.0
		for _, a := range e.Attributes {
			if a.Key == "duration_ms" {
				d = a.Value.GetDoubleValue()
			}
		}
		durations = append(durations, d)
	}
	return durations
}
