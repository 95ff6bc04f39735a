package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

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
	// Recover removes an incomplete last line, and returns the audit ids of the last n lines, in any order, once they
	// would survive the loss of power. It fails rather than returning less than there is.
	Recover(n int) ([]uuid.UUID, error)
}

// Relay writes committed entries to a sink, each exactly once; see the package comment.
//
// Several instances may relay from one database, each to its own file: FOR UPDATE SKIP LOCKED gives every entry to one
// of them. What is left is a crash between the sync of a file and COMMIT while another instance runs: that one writes
// the same lines to its own file, since it cannot see the first one's. Then up to one batch of entries is in two files,
// with the same auditId; none is in no file, and none is twice in one.
type Relay struct {
	db   *postgres.DB
	sink Sink
	tail TailReader
	log  *slog.Logger
	wake chan struct{}

	// mu is held during a pass: Run and Drain take turns.
	mu sync.Mutex
	// unsure means that the file may hold lines, or a part of one, whose entries are not marked.
	unsure bool
	// done are the last entries whose lines are in the file. A failover to an asynchronous standby can lose their marks
	// after COMMIT was answered; they are only marked again then.
	done recent
	// failing means that the last pass failed: a failure is logged once, and so is its end.
	failing bool
}

// NewRelay returns a relay of db's entries to sink. tail must look at the file that sink writes.
func NewRelay(db *postgres.DB, sink Sink, tail TailReader, log *slog.Logger) *Relay {
	return &Relay{db: db, sink: sink, tail: tail, log: log, wake: make(chan struct{}, 1), unsure: true}
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
	for {
		n, err := r.pass(ctx)
		r.report(ctx, err)
		if err != nil {
			return fmt.Errorf("relay audit entries: %w", err)
		}
		if n < batchSize {
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

// pass relays up to batchSize entries and returns how many they were.
func (r *Relay) pass(ctx context.Context) (int, error) {
	if r.unsure {
		if err := r.recover(ctx); err != nil {
			return 0, err
		}
		r.unsure = false
	}
	var count int
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
		if err := r.write(entries); err != nil {
			return err
		}
		ids := operationIDs(entries)
		r.done.add(ids)
		return markExported(ctx, tx, ids)
	})
	if err != nil {
		return 0, err
	}
	r.unsure = false
	return count, nil
}

// recover marks the entries whose lines are in the file.
func (r *Relay) recover(ctx context.Context) error {
	ids, err := r.tail.Recover(batchSize)
	if err != nil {
		return fmt.Errorf("read the end of the audit file: %w", err)
	}
	if len(ids) == 0 {
		return nil
	}
	r.done.add(ids)
	return r.db.Background(ctx, "audit.recover", func(ctx context.Context, tx *postgres.Tx) error {
		return markExported(ctx, tx, ids)
	})
}

func (r *Relay) write(entries []pending) error {
	for _, e := range entries {
		if r.done.has(e.operationID) {
			continue
		}
		line, err := e.line()
		if err != nil {
			return fmt.Errorf("encode line of audit entry %s: %w", e.operationID, err)
		}
		// A line at a time: a rotating sink never splits a line, and refuses more at once than a file may hold.
		if _, err := r.sink.Write(line); err != nil {
			return fmt.Errorf("write line of audit entry %s: %w", e.operationID, err)
		}
	}
	if err := r.sink.Sync(); err != nil {
		return fmt.Errorf("sync the audit file: %w", err)
	}
	return nil
}
