package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"speedybites/internal/audit/chain"
	"speedybites/internal/postgres"
)

// batchSize is how many entries become lines in one transaction, and how many lines of the file can be without a mark.
const batchSize = 500

const (
	// pollInterval finds the entries that nobody woke the relay for: those of other processes, and of a crash.
	pollInterval = time.Second
	// paceInterval keeps a busy service from one transaction and one sync of the file for every change.
	paceInterval = 100 * time.Millisecond
)

// Sink is where the lines go. A Write is a whole line. Sync returns when all that was written would survive the loss of
// power.
type Sink interface {
	io.Writer
	Sync() error
}

// TailReader looks at the end of what the sink has written.
type TailReader interface {
	// Recover removes an incomplete last line, and returns what the last n lines say, once they would survive the loss of
	// power. It fails rather than returning less than there is.
	Recover(n int) (Tail, error)
}

// Relay writes committed entries to a sink, each exactly once; see the package comment.
//
// Several instances may relay from one database, each to its own file: FOR UPDATE SKIP LOCKED gives every entry to one
// of them. What is left is a crash between the sync of a file and COMMIT while another instance runs: that one writes
// the same lines to its own file, since it cannot see the first one's. Then up to one batch of entries is in two files,
// with the same auditId; none is in no file, and none is twice in one.
type Relay struct {
	db      *postgres.DB
	sink    Sink
	tail    TailReader
	log     *slog.Logger
	stream  string
	metrics *metrics
	backlog backlog
	queue   queue
	wake    chan struct{}

	// mu is held during a pass: Run and Drain take turns.
	mu sync.Mutex
	// unsure means that the file may hold lines, or a part of one, whose entries are not marked.
	unsure bool
	// head is the last line of the chain. It is only right while unsure is false, or during a pass.
	head chain.Head
	// previous is the last chain of this stream that the database knows, while the files have none.
	previous chain.Head
	// done are the last entries whose lines are in the file. A failover to an asynchronous standby can lose their marks
	// after COMMIT was answered; they are only marked again then.
	done recent
	// failing means that the last pass failed: a failure is logged once, and so is its end.
	failing bool
	// measured is when the backlog was counted last.
	measured time.Time
}

// NewRelay returns a relay of the entries of cfg.DB to cfg.Sink. It fails only when the metrics cannot be registered.
func NewRelay(cfg Config) (*Relay, error) {
	r := &Relay{
		db: cfg.DB, sink: cfg.Sink, tail: cfg.Tail, log: cfg.Log, stream: cmp.Or(cfg.Stream, "audit"),
		wake: make(chan struct{}, 1), unsure: true,
	}
	r.backlog.queue = &r.queue
	var err error
	if r.metrics, err = newMetrics(cfg.Registerer, &r.backlog); err != nil {
		return nil, err
	}
	return r, nil
}

// Wake tells Run that there are new entries, so that it need not wait for its next look, at most a second away. It never
// blocks.
func (r *Relay) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run relays until ctx ends, and returns nil then. Failures are logged and tried again: the entries are safe in the
// table.
func (r *Relay) Run(ctx context.Context) error {
	for {
		wake := r.wake
		if err := r.Drain(ctx); err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the end of ctx is how Run ends
			}
			wake = nil // what failed will not go better for being tried at every change
		}
		if !pause(ctx, paceInterval, nil) || !pause(ctx, pollInterval-paceInterval, wake) {
			return nil
		}
	}
}

// pause waits until d has passed or there is something to receive, and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-wake:
	case <-t.C:
	}
	return true
}

// Drain relays all entries that are there now; ctx bounds it. The last step of a shutdown, after Run has returned and
// the requests are done, with a context of its own.
func (r *Relay) Drain(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	// What cannot be added to the table is kept in memory, and must not hold up what is in the table.
	recorded := r.insertQueued(ctx)
	for {
		n, err := r.pass(ctx)
		failed := errors.Join(recorded, err)
		r.report(ctx, failed)
		r.measure(ctx, failed != nil || n < batchSize && r.backlog.rows.Load() > 0)
		switch {
		case err == nil && n == batchSize:
		case failed != nil:
			return fmt.Errorf("relay audit entries: %w", failed)
		default:
			return nil
		}
	}
}

// report logs the first of several failures, and the success after them. That the database is away is said by those
// who watch it.
func (r *Relay) report(ctx context.Context, err error) {
	switch {
	case err != nil && !r.failing && !errors.Is(err, postgres.ErrUnavailable) && ctx.Err() == nil:
		r.failing = true
		r.log.WarnContext(ctx, "audit relay failing; entries wait in the table", slog.Any("error", err))
	case err == nil && r.failing:
		r.failing = false
		r.log.InfoContext(ctx, "audit relay recovered")
	}
}

// measure counts what waits in the table: once in a while, and whenever it is likely to be different. While it cannot,
// the oldest entry grows older.
func (r *Relay) measure(ctx context.Context, now bool) {
	if !now && time.Since(r.measured) < pollInterval {
		return
	}
	r.measured = time.Now()
	var rows int64
	var age time.Duration
	err := r.db.Background(ctx, "audit.measure", func(ctx context.Context, tx *postgres.Tx) (err error) {
		rows, age, err = countPending(ctx, tx)
		return err
	})
	if err == nil {
		r.backlog.set(rows, age)
	}
}

// pass relays up to batchSize entries and returns how many they were.
func (r *Relay) pass(ctx context.Context) (int, error) {
	at := stepRecover
	count, err := r.passSteps(ctx, &at)
	if err != nil {
		r.countFailure(ctx, at, err)
	}
	return count, err
}

// countFailure counts a failed step, but not that the database is away or has no connection free, or that the caller has
// left: the step is made again, and how late it is shows in the lag.
func (r *Relay) countFailure(ctx context.Context, at step, err error) {
	if !errors.Is(err, postgres.ErrUnavailable) && !errors.Is(err, postgres.ErrSaturated) && ctx.Err() == nil {
		r.metrics.failed(at)
	}
}

// passSteps keeps where it is in at.
func (r *Relay) passSteps(ctx context.Context, at *step) (int, error) {
	if r.unsure {
		if err := r.recover(ctx, at); err != nil {
			return 0, err
		}
		r.unsure = false
	}
	var count int
	*at = stepRead
	err := r.db.Background(ctx, "audit.relay", func(ctx context.Context, tx *postgres.Tx) error {
		if r.unsure {
			return errors.New("lines written by an earlier attempt have no marks yet")
		}
		entries, err := lockPending(ctx, tx, batchSize)
		if err != nil || len(entries) == 0 {
			return err
		}
		count = len(entries)
		// From the first byte until COMMIT is known to be through.
		r.unsure = true
		w, err := r.write(ctx, entries, at)
		if err != nil {
			return err
		}
		*at = stepMark
		return markExported(ctx, tx, r.stream, w)
	})
	if err != nil {
		return 0, err
	}
	r.unsure = false
	return count, nil
}
