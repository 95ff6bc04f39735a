package tracing

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// OutageKey is the attribute that, when true, has the trace of a span kept
// whatever the sampling ratio.
const OutageKey = attribute.Key("speedybites.outage")

// Limits bound the memory that spans may take.
type Limits struct {
	// Traces is the number of traces that are followed at a time. Default 4096.
	Traces int
	// TraceSpans is the number of spans, open or waiting, of one trace. Default 512.
	TraceSpans int
	// Spans is the number of spans that wait for the end of their trace. Default 16384.
	Spans int
	// Age is how long a trace is followed. Default two minutes: longer than any request.
	Age time.Duration
}

// Config is what a [Processor] needs.
type Config struct {
	Exporter sdktrace.SpanExporter
	Metrics  *Metrics
	// Logger is told when exporting begins to fail, and when it works again.
	Logger *slog.Logger
	// Secret reports whether an attribute of this key must not leave the
	// process; nil means none.
	Secret func(key string) bool
	Batch  Batch
	Limits Limits
}

// Processor is the span processor described at the head of the package. End it
// with Shutdown.
type Processor struct {
	limits Limits
	queue  *queue

	traces, spans atomic.Int64 // followed, waiting

	shards [16]shard
}

// shard has the spans of some of the traces, so that not every span of the
// process waits for one lock.
type shard struct {
	mu sync.Mutex
	// open holds every open span that is not sampled, with its family.
	open map[trace.SpanID]*family
}

// family is a local root and what was started below it.
type family struct {
	began time.Time
	open  int
	ended []sdktrace.ReadOnlySpan
	kept  bool // a span failed: all goes straight to the queue
}

// NewProcessor starts the goroutine that exports.
func NewProcessor(cfg Config) *Processor {
	limits := &cfg.Limits
	setDefault(&limits.Traces, 4096)
	setDefault(&limits.TraceSpans, 512)
	setDefault(&limits.Spans, 16384)
	if limits.Age <= 0 {
		limits.Age = 2 * time.Minute
	}
	p := &Processor{limits: cfg.Limits, queue: newQueue(cfg)}
	for i := range p.shards {
		p.shards[i].open = make(map[trace.SpanID]*family)
	}
	p.queue.start(p.expire)
	return p
}

func setDefault(n *int, value int) {
	if *n <= 0 {
		*n = value
	}
}

func (p *Processor) shardOf(id trace.TraceID) *shard {
	return &p.shards[id[len(id)-1]%byte(len(p.shards))]
}

// OnStart joins a span that is not sampled to the family of its parent.
func (p *Processor) OnStart(_ context.Context, span sdktrace.ReadWriteSpan) {
	self := span.SpanContext()
	if self.IsSampled() {
		return
	}
	parent := span.Parent()
	s := p.shardOf(self.TraceID())
	s.mu.Lock()
	defer s.mu.Unlock()
	var fam *family
	if parent.IsValid() && !parent.IsRemote() {
		fam = s.open[parent.SpanID()]
	}
	switch {
	case fam == nil:
		if p.traces.Load() >= int64(p.limits.Traces) {
			return // See OnEnd for what becomes of a span without a family.
		}
		p.traces.Add(1)
		fam = &family{began: span.StartTime()}
	case fam.open >= p.limits.TraceSpans:
		return
	}
	fam.open++
	s.open[self.SpanID()] = fam
}

// OnEnd queues the span, lets it wait, or forgets it.
func (p *Processor) OnEnd(span sdktrace.ReadOnlySpan) {
	self := span.SpanContext()
	if self.IsSampled() {
		p.queue.add(span)
		return
	}
	failed := worthKeeping(span)
	s := p.shardOf(self.TraceID())
	s.mu.Lock()
	fam := s.open[self.SpanID()]
	if fam == nil {
		s.mu.Unlock()
		// There was no room to follow its trace. An error alone is better than none.
		if failed {
			p.queue.add(span)
		} else {
			p.queue.metrics.drop(bufferFull, 1)
		}
		return
	}
	delete(s.open, self.SpanID())
	fam.open--
	var before []sdktrace.ReadOnlySpan
	lost := 0
	switch {
	case fam.kept:
	case failed:
		fam.kept = true
		before = p.release(fam)
	case fam.open == 0: // The last one, and nothing has failed.
		p.release(fam)
	case len(fam.ended) < p.limits.TraceSpans && p.spans.Load() < int64(p.limits.Spans):
		p.spans.Add(1)
		fam.ended = append(fam.ended, span)
	default:
		lost = 1
	}
	if fam.open == 0 {
		p.traces.Add(-1)
	}
	kept := fam.kept
	s.mu.Unlock()

	p.queue.metrics.drop(bufferFull, lost)
	if kept {
		p.queue.add(before...)
		p.queue.add(span)
	}
}

// release takes the waiting spans out of a family, whose shard is locked.
func (p *Processor) release(fam *family) []sdktrace.ReadOnlySpan {
	ended := fam.ended
	fam.ended = nil
	p.spans.Add(-int64(len(ended)))
	return ended
}

func worthKeeping(span sdktrace.ReadOnlySpan) bool {
	if span.Status().Code == codes.Error {
		return true
	}
	for _, a := range span.Attributes() {
		if a.Key == OutageKey && a.Value.Type() == attribute.BOOL && a.Value.AsBool() {
			return true
		}
	}
	return false
}

// expire stops following the traces that began too long ago: some span of
// theirs may never end.
func (p *Processor) expire(now time.Time) {
	for i := range p.shards {
		s := &p.shards[i]
		lost := 0
		s.mu.Lock()
		for id, fam := range s.open {
			if now.Sub(fam.began) < p.limits.Age {
				continue
			}
			delete(s.open, id)
			lost += len(p.release(fam))
			if fam.open--; fam.open == 0 {
				p.traces.Add(-1)
			}
		}
		s.mu.Unlock()
		p.queue.metrics.drop(tooOld, lost)
	}
}

// ForceFlush returns when everything queued before the call is exported or
// lost, or with ctx's error.
func (p *Processor) ForceFlush(ctx context.Context) error { return p.queue.flush(ctx) }

// Shutdown exports what is queued, and ends the exporter. When ctx ends first,
// the rest is counted as lost and the error is ctx's. Spans that end later are
// lost.
func (p *Processor) Shutdown(ctx context.Context) error { return p.queue.shutdown(ctx) }
