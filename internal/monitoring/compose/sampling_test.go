package compose_test

import (
	"crypto/rand"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"speedybites/internal/monitoring/proctest"
)

type traceID [16]byte

func newTrace() (id traceID) {
	_, _ = rand.Read(id[:]) // It never fails.
	return id
}

// span is what a test says of one.
type span struct {
	trace  traceID
	name   string
	attrs  map[string]any // bool or string
	failed bool
	took   time.Duration
	below  bool // not the root
}

// export is a message with spans of the API.
func export(spans ...span) *collectortrace.ExportTraceServiceRequest {
	var list []*tracev1.Span
	for _, s := range spans {
		id := newTrace()
		began := time.Now().Add(-s.took)
		p := &tracev1.Span{
			TraceId: s.trace[:], SpanId: id[:8], Name: s.name,
			StartTimeUnixNano: uint64(began.UnixNano()), EndTimeUnixNano: uint64(began.Add(s.took).UnixNano()),
		}
		if s.below {
			p.ParentSpanId = id[8:]
		}
		if s.failed {
			p.Status = &tracev1.Status{Code: tracev1.Status_STATUS_CODE_ERROR}
		}
		for key, value := range s.attrs {
			p.Attributes = append(p.Attributes, &common.KeyValue{Key: key, Value: attribute(value)})
		}
		list = append(list, p)
	}
	return &collectortrace.ExportTraceServiceRequest{ResourceSpans: []*tracev1.ResourceSpans{{
		Resource:   &resource.Resource{Attributes: []*common.KeyValue{{Key: "service.name", Value: attribute("speedy-bites")}}},
		ScopeSpans: []*tracev1.ScopeSpans{{Spans: list}},
	}}}
}

func attribute(value any) *common.AnyValue {
	if b, ok := value.(bool); ok {
		return &common.AnyValue{Value: &common.AnyValue_BoolValue{BoolValue: b}}
	}
	return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: fmt.Sprint(value)}}
}

// traces is a store of traces.
type traces struct {
	store *store
	mu    sync.Mutex
	spans map[traceID]int
}

func newTraces(t *testing.T) *traces {
	t.Helper()
	s := &traces{spans: map[traceID]int{}}
	s.store = newStore(t, "/v1/traces", func(body []byte) error {
		var m collectortrace.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &m); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, r := range m.GetResourceSpans() {
			for _, scope := range r.GetScopeSpans() {
				for _, p := range scope.GetSpans() {
					s.spans[traceID(p.GetTraceId())]++
				}
			}
		}
		return nil
	})
	return s
}

func (s *traces) has(id traceID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spans[id]
}

// whole returns an error until so many traces are decided about, and the kept ones have come.
func (s *traces) whole(metrics string, decided int) error {
	text, _, err := proctest.Get(metrics)
	if err != nil {
		return err
	}
	counts := map[string]int{}
	count := regexp.MustCompile(`(?m)^otelcol_processor_tail_sampling_global_count_traces_sampled(?:_total)?\{.*sampled="(\w+)".*\} (\d+)$`)
	for _, m := range count.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(m[2]) // It is digits.
		counts[m[1]] += n
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if counts["true"]+counts["false"] != decided || len(s.spans) != counts["true"] {
		return fmt.Errorf("%v are decided and %d have come, want %d in all", counts, len(s.spans), decided)
	}
	return nil
}

// TestTailSampling: everything that somebody will want to see is kept, about a tenth of the rest, and nothing of the probes.
func TestTailSampling(t *testing.T) {
	t.Parallel()
	kept := newTraces(t)
	c := newCollector(t, kept.store.URL, kept.store.URL)
	wanted := map[string]span{
		"Failed":             {name: "POST /api/orders", failed: true},
		"Slow":               {name: "POST /api/orders", took: 501 * time.Millisecond},
		"InAnOutage":         {name: "orders.place", attrs: map[string]any{"speedybites.outage": true}},
		"BreakerRefused":     {name: "orders.place", attrs: map[string]any{"speedybites.breaker": "rejected"}},
		"BreakerTrial":       {name: "breaker.trial", attrs: map[string]any{"speedybites.breaker": "trial"}},
		"BreakerTransition":  {name: "circuit_breaker.transition", attrs: map[string]any{"speedybites.breaker": "primary", "speedybites.outage": true}},
		"FailedBelowTheRoot": {name: "attempt", failed: true, below: true},
	}
	unwanted := map[string]span{
		"Live":     {name: "GET /livez", attrs: map[string]any{"http.route": "/livez"}},
		"Ready":    {name: "GET /readyz", attrs: map[string]any{"http.route": "/readyz"}},
		"NotReady": {name: "GET /readyz", attrs: map[string]any{"http.route": "/readyz"}, failed: true},
	}
	for _, m := range []map[string]span{wanted, unwanted} {
		for name, s := range m {
			s.trace = newTrace()
			m[name] = s
			c.send(t, export(s))
			if s.below {
				c.send(t, export(span{trace: s.trace, name: "GET /api/orders"}))
			}
		}
	}
	const plain = 2000
	ordinary := make([]traceID, plain)
	var batch []span
	for n := range ordinary {
		ordinary[n] = newTrace()
		batch = append(batch, span{trace: ordinary[n], name: "GET /api/orders", took: 20 * time.Millisecond})
	}
	c.send(t, export(batch...))
	c.Until(t, func() error { return kept.whole(c.metrics, len(wanted)+len(unwanted)+plain) })
	for name, s := range wanted {
		want := 1
		if s.below {
			want = 2 // The whole trace is kept for one span of it.
		}
		if got := kept.has(s.trace); got != want {
			t.Errorf("%s: got %d spans, want %d", name, got, want)
		}
	}
	for name, s := range unwanted {
		if got := kept.has(s.trace); got != 0 {
			t.Errorf("%s: got %d spans, want none", name, got)
		}
	}
	n := 0
	for _, id := range ordinary {
		n += kept.has(id)
	}
	if n < plain*6/100 || n > plain*14/100 { // six standard deviations
		t.Errorf("%d of %d ordinary traces were kept, want about a tenth", n, plain)
	}

	late := wanted["Failed"]
	late.below = true
	c.send(t, export(late))
	c.Until(t, func() error {
		if got := kept.has(late.trace); got != 2 {
			return fmt.Errorf("a kept trace has %d spans after a late one, want 2", got)
		}
		return nil
	})
}
