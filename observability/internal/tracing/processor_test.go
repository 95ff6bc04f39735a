package tracing_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"speedybites/observability/internal/tracing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink is an exporter that keeps what it gets.
type sink struct {
	mu    sync.Mutex
	spans []sdktrace.ReadOnlySpan
	stall chan struct{} // exports wait until it is closed; nil means not at all
}

func (s *sink) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if s.stall != nil {
		select {
		case <-s.stall:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spans = append(s.spans, spans...)
	return nil
}

func (s *sink) Shutdown(context.Context) error { return nil }

func (s *sink) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []string{}
	for _, span := range s.spans {
		list = append(list, span.Name())
	}
	return list
}

// pipeline is a provider that samples nothing, with what is behind it.
type pipeline struct {
	trace.Tracer
	processor *tracing.Processor
	registry  *prometheus.Registry
}

func newPipeline(tb testing.TB, cfg tracing.Config, sampler sdktrace.Sampler) *pipeline {
	tb.Helper()
	p := &pipeline{registry: prometheus.NewRegistry()}
	var err error
	if cfg.Metrics, err = tracing.NewMetrics(p.registry); err != nil {
		tb.Fatal(err)
	}
	cfg.Logger = slog.New(slog.DiscardHandler)
	p.processor = tracing.NewProcessor(cfg)
	provider := tracing.NewProvider(sampler, p.processor, resource.Empty())
	p.Tracer = provider.Tracer("test")
	tb.Cleanup(func() {
		if err := provider.Shutdown(context.Background()); err != nil {
			tb.Errorf("Shutdown: %v", err)
		}
	})
	return p
}

func (p *pipeline) flush(tb testing.TB) {
	tb.Helper()
	if err := p.processor.ForceFlush(tb.Context()); err != nil {
		tb.Errorf("ForceFlush: %v", err)
	}
}

// dropped returns the drops by reason that are not 0.
func (p *pipeline) dropped(tb testing.TB) map[string]int {
	tb.Helper()
	families, err := p.registry.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	drops := map[string]int{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if n := int(m.GetCounter().GetValue()); len(m.GetLabel()) == 1 && n > 0 {
				drops[m.GetLabel()[0].GetValue()] = n
			}
		}
	}
	return drops
}

func fail(span trace.Span) { span.SetStatus(codes.Error, "refused") }

func TestProcessor(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		run  func(ctx context.Context, p *pipeline)
		want []string
	}{
		"NothingFailed": {func(ctx context.Context, p *pipeline) {
			ctx, root := p.Start(ctx, "root")
			_, child := p.Start(ctx, "child")
			child.End()
			root.End()
		}, []string{}},
		"RootFailed": {func(ctx context.Context, p *pipeline) {
			ctx, root := p.Start(ctx, "root")
			_, child := p.Start(ctx, "child")
			child.End()
			fail(root)
			root.End()
		}, []string{"child", "root"}},
		"ChildFailed": {func(ctx context.Context, p *pipeline) {
			ctx, root := p.Start(ctx, "root")
			_, before := p.Start(ctx, "before")
			before.End()
			_, child := p.Start(ctx, "failed")
			fail(child)
			child.End()
			_, after := p.Start(ctx, "after")
			after.End()
			root.End()
		}, []string{"before", "failed", "after", "root"}},
		"ChildOutlivesRoot": {func(ctx context.Context, p *pipeline) {
			ctx, root := p.Start(ctx, "root")
			_, child := p.Start(ctx, "child")
			root.End()
			fail(child)
			child.End()
		}, []string{"root", "child"}},
		"Outage": {func(ctx context.Context, p *pipeline) {
			ctx, root := p.Start(ctx, "root")
			_, child := p.Start(ctx, "child", trace.WithAttributes(tracing.OutageKey.Bool(true)))
			child.End()
			root.End()
		}, []string{"child", "root"}},
		"NoOutage": {func(ctx context.Context, p *pipeline) {
			_, root := p.Start(ctx, "root", trace.WithAttributes(tracing.OutageKey.Bool(false)))
			root.End()
		}, []string{}},
		"NeighboursOfOneRemoteTrace": {func(ctx context.Context, p *pipeline) {
			ctx = trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
				TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1},
			}))
			_, fine := p.Start(ctx, "fine")
			_, failed := p.Start(ctx, "failed")
			fail(failed)
			failed.End()
			fine.End()
		}, []string{"failed"}},
		"RemoteParentSampled": {func(ctx context.Context, p *pipeline) {
			ctx = trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
				TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled,
			}))
			_, root := p.Start(ctx, "root")
			root.End()
		}, []string{"root"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out sink
			p := newPipeline(t, tracing.Config{Exporter: &out}, sdktrace.ParentBased(sdktrace.NeverSample()))
			test.run(t.Context(), p)
			p.flush(t)
			if diff := cmp.Diff(test.want, out.names()); diff != "" {
				t.Errorf("spans (-want +got):\n%s", diff)
			}
			for _, span := range out.spans {
				if !span.SpanContext().IsSampled() {
					t.Errorf("%s: got no sampled flag", span.Name())
				}
			}
			if got := p.dropped(t); len(got) > 0 {
				t.Errorf("got drops %v, want none", got)
			}
		})
	}
}

func TestSecretsAreHidden(t *testing.T) {
	t.Parallel()
	for name, sampler := range map[string]sdktrace.Sampler{"Sampled": sdktrace.AlwaysSample(), "Kept": sdktrace.NeverSample()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out sink
			p := newPipeline(t, tracing.Config{Exporter: &out, Secret: func(key string) bool { return key == "password" }}, sampler)
			_, span := p.Start(t.Context(), "login", trace.WithAttributes(
				attribute.String("user", "u"), attribute.String("password", "s3cret")))
			fail(span)
			span.End()
			p.flush(t)
			want := []attribute.KeyValue{attribute.String("user", "u"), attribute.String("password", "[redacted]")}
			if len(out.spans) != 1 || !slices.Equal(out.spans[0].Attributes(), want) {
				t.Errorf("got %v, want %v", out.spans, want)
			}
		})
	}
}
