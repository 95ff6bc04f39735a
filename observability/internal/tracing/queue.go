package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Batch says how spans are put together for the exporter.
type Batch struct {
	// Queue is the number of spans that may wait to be exported. Default 2048.
	Queue int
	// Size is the number of spans sent at once, at most Queue. Default 512.
	Size int
	// Interval is the longest that a span waits while the exporter is idle. Default 5 s.
	Interval time.Duration
	// Timeout bounds one export, its retries included. Default 30 s.
	Timeout time.Duration
}

// queue hands spans to the exporter from a goroutine of its own. Adding to it
// takes a lock for the time of a copy, and never waits for the exporter.
type queue struct {
	batch    Batch
	exporter sdktrace.SpanExporter
	metrics  *Metrics
	log      *slog.Logger
	secret   func(string) bool

	mu      sync.Mutex
	waiting []sdktrace.ReadOnlySpan
	stopped bool

	wake    chan struct{} // of capacity 1
	flushes chan chan struct{}
	stop    chan struct{}
	done    chan struct{} // closed when the worker has ended
	closing sync.Once
	// abort ends the export under way, for when nobody waits any longer.
	abort context.CancelFunc

	failing bool // of the worker: the last export failed, and that was told
}

func newQueue(cfg Config) *queue {
	batch := cfg.Batch
	setDefault(&batch.Queue, 2048)
	setDefault(&batch.Size, 512)
	batch.Size = min(batch.Size, batch.Queue)
	if batch.Interval <= 0 {
		batch.Interval = 5 * time.Second
	}
	if batch.Timeout <= 0 {
		batch.Timeout = 30 * time.Second
	}
	return &queue{
		batch: batch, exporter: cfg.Exporter, metrics: cfg.Metrics, log: cfg.Logger, secret: cfg.Secret,
		wake: make(chan struct{}, 1), flushes: make(chan chan struct{}),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// start starts the worker, which also calls expire from time to time.
func (q *queue) start(expire func(time.Time)) {
	// The worker outlives whatever context the program was started with.
	var ctx context.Context
	ctx, q.abort = context.WithCancel(context.Background())
	go q.work(ctx, expire)
}

func (q *queue) add(spans ...sdktrace.ReadOnlySpan) {
	q.mu.Lock()
	room := q.batch.Queue - len(q.waiting)
	why := queueFull
	if q.stopped {
		room, why = 0, shutDown
	}
	lost := max(0, len(spans)-room)
	before := len(q.waiting)
	q.waiting = append(q.waiting, spans[:len(spans)-lost]...)
	full := before < q.batch.Size && len(q.waiting) >= q.batch.Size
	q.mu.Unlock()
	q.metrics.drop(why, lost)
	if full {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// work exports full batches at once, and the rest at each tick.
func (q *queue) work(ctx context.Context, expire func(time.Time)) {
	defer close(q.done)
	ticker := time.NewTicker(q.batch.Interval)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			expire(now)
			q.export(ctx, 1)
		case <-q.wake:
			q.export(ctx, q.batch.Size)
		case flushed := <-q.flushes:
			q.export(ctx, 1)
			close(flushed)
		case <-q.stop:
			q.export(ctx, 1)
			if err := q.exporter.Shutdown(ctx); err != nil && ctx.Err() == nil {
				q.log.WarnContext(ctx, "trace exporter did not shut down", "error", err)
			}
			return
		}
	}
}

// export sends batch after batch while there are at least enough spans.
func (q *queue) export(ctx context.Context, enough int) {
	for {
		batch := q.take(enough)
		if len(batch) == 0 {
			return
		}
		q.send(ctx, batch)
	}
}

func (q *queue) take(enough int) []sdktrace.ReadOnlySpan {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) < enough {
		return nil
	}
	batch := make([]sdktrace.ReadOnlySpan, min(len(q.waiting), q.batch.Size))
	n := copy(batch, q.waiting)
	rest := copy(q.waiting, q.waiting[n:])
	clear(q.waiting[rest:]) // or they would hold on to the spans
	q.waiting = q.waiting[:rest]
	return batch
}

func (q *queue) send(ctx context.Context, batch []sdktrace.ReadOnlySpan) {
	if ctx.Err() != nil {
		q.metrics.drop(shutDown, len(batch))
		return
	}
	for i, span := range batch {
		batch[i] = forExport(span, q.secret)
	}
	limited, cancel := context.WithTimeout(ctx, q.batch.Timeout)
	err := q.exporter.ExportSpans(limited, batch)
	cancel()
	switch {
	case err == nil:
		q.metrics.exported.Add(float64(len(batch)))
	case ctx.Err() != nil:
		q.metrics.drop(shutDown, len(batch))
		return
	default:
		q.metrics.drop(exportFailed, len(batch))
	}
	// A collector that is away must not fill the log as well.
	if failing := err != nil; failing != q.failing {
		q.failing = failing
		if failing {
			q.log.WarnContext(ctx, "traces cannot be exported, spans are dropped until they can", "error", err)
		} else {
			q.log.InfoContext(ctx, "traces are exported again")
		}
	}
}

func (q *queue) flush(ctx context.Context) error {
	flushed := make(chan struct{})
	select {
	case q.flushes <- flushed:
	case <-q.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("flush spans: %w", ctx.Err())
	}
	select {
	case <-flushed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("flush spans: %w", ctx.Err())
	}
}

func (q *queue) shutdown(ctx context.Context) error {
	q.closing.Do(func() {
		q.mu.Lock()
		q.stopped = true
		q.mu.Unlock()
		close(q.stop)
	})
	select {
	case <-q.done:
		q.abort()
		return nil
	case <-ctx.Done():
		q.abort() // The worker counts what is left as lost, and ends by itself.
		return fmt.Errorf("flush spans: %w", ctx.Err())
	}
}
