package tracing_test

import (
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"speedybites/observability/internal/tracing"
)

func TestBounds(t *testing.T) {
	t.Parallel()

	t.Run("SpansOfATrace", func(t *testing.T) {
		t.Parallel()
		var out sink
		p := newPipeline(t, tracing.Config{Exporter: &out, Limits: tracing.Limits{TraceSpans: 5}}, sdktrace.NeverSample())
		ctx, root := p.Start(t.Context(), "root")
		for range 20 {
			_, child := p.Start(ctx, "child")
			child.End()
		}
		fail(root)
		root.End()
		p.flush(t)
		if diff := cmp.Diff([]string{"child", "child", "child", "child", "child", "root"}, out.names()); diff != "" {
			t.Errorf("spans (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]int{"buffer_full": 15}, p.dropped(t)); diff != "" {
			t.Errorf("drops (-want +got):\n%s", diff)
		}
	})

	t.Run("SpansInAll", func(t *testing.T) {
		t.Parallel()
		var out sink
		p := newPipeline(t, tracing.Config{Exporter: &out, Limits: tracing.Limits{Spans: 10}}, sdktrace.NeverSample())
		for round := range 3 { // letting go must make room again
			var roots []trace.Span
			for range 20 {
				ctx, root := p.Start(t.Context(), "root")
				_, child := p.Start(ctx, "child")
				child.End()
				roots = append(roots, root)
			}
			for _, root := range roots {
				root.End()
			}
			if diff := cmp.Diff(map[string]int{"buffer_full": 10 * (round + 1)}, p.dropped(t)); diff != "" {
				t.Errorf("drops (-want +got):\n%s", diff)
			}
		}
	})

	t.Run("Traces", func(t *testing.T) {
		t.Parallel()
		var out sink
		p := newPipeline(t, tracing.Config{Exporter: &out, Limits: tracing.Limits{Traces: 1}}, sdktrace.NeverSample())
		_, followed := p.Start(t.Context(), "followed")
		_, failed := p.Start(t.Context(), "failed")
		fail(failed) // An error is kept even then.
		failed.End()
		_, fine := p.Start(t.Context(), "fine")
		fine.End()
		followed.End()
		_, next := p.Start(t.Context(), "next")
		fail(next)
		next.End()
		p.flush(t)
		if diff := cmp.Diff([]string{"failed", "next"}, out.names()); diff != "" {
			t.Errorf("spans (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]int{"buffer_full": 1}, p.dropped(t)); diff != "" {
			t.Errorf("drops (-want +got):\n%s", diff)
		}
	})

	t.Run("Age", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var out sink
			p := newPipeline(t, tracing.Config{Exporter: &out, Limits: tracing.Limits{Traces: 1, Age: time.Minute}}, sdktrace.NeverSample())
			ctx, root := p.Start(t.Context(), "root")
			_, child := p.Start(ctx, "child")
			child.End()
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if diff := cmp.Diff(map[string]int{"too_old": 1}, p.dropped(t)); diff != "" {
				t.Errorf("drops (-want +got):\n%s", diff)
			}
			ctx, other := p.Start(t.Context(), "other") // There is room again.
			_, child = p.Start(ctx, "other child")
			child.End()
			fail(other)
			other.End()
			fail(root) // Too late for its child, but not for itself.
			root.End()
			p.flush(t)
			if diff := cmp.Diff([]string{"other child", "other", "root"}, out.names()); diff != "" {
				t.Errorf("spans (-want +got):\n%s", diff)
			}
		})
	})

	t.Run("Queue", func(t *testing.T) {
		t.Parallel()
		out := sink{stall: make(chan struct{})}
		p := newPipeline(t, tracing.Config{Exporter: &out, Batch: tracing.Batch{Queue: 10, Size: 10}}, sdktrace.AlwaysSample())
		const spans = 100
		for i := range spans {
			_, span := p.Start(t.Context(), strconv.Itoa(i))
			span.End()
		}
		close(out.stall)
		p.flush(t)
		got, lost := len(out.names()), p.dropped(t)["queue_full"]
		// At most one batch is on its way while the next fills the queue.
		if got < 10 || got > 20 || got+lost != spans {
			t.Errorf("got %d exported and %d dropped, want 10 to 20, and %d in all", got, lost, spans)
		}
	})
}

func TestConcurrentTraces(t *testing.T) {
	t.Parallel()
	var out sink
	p := newPipeline(t, tracing.Config{Exporter: &out, Batch: tracing.Batch{Queue: 1 << 20}}, sdktrace.NeverSample())
	const workers, each = 8, 500
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for i := range each {
				ctx, root := p.Start(t.Context(), "root")
				var children sync.WaitGroup
				for c := range 4 {
					children.Go(func() {
						_, child := p.Start(ctx, "child")
						if i%10 == 0 && c == 2 {
							child.SetStatus(codes.Error, "")
						}
						child.End()
					})
				}
				children.Wait()
				root.End()
			}
		})
	}
	group.Wait()
	p.flush(t)
	if got, want := len(out.names()), workers*each/10*5; got != want {
		t.Errorf("got %d spans, want %d", got, want)
	}
	if got := p.dropped(t); len(got) > 0 {
		t.Errorf("got drops %v, want none", got)
	}
}

func TestSpansAfterShutdown(t *testing.T) {
	t.Parallel()
	var out sink
	p := newPipeline(t, tracing.Config{Exporter: &out}, sdktrace.AlwaysSample())
	_, span := p.Start(t.Context(), "late")
	for range 2 {
		if err := p.processor.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	}
	span.End()
	p.flush(t)
	if diff := cmp.Diff(map[string]int{"shutdown": 1}, p.dropped(t)); diff != "" {
		t.Errorf("drops (-want +got):\n%s", diff)
	}
}
