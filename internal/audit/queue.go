package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"speedybites/internal/postgres"
)

// queueSize is how many entries of Record wait for the database at most.
const queueSize = 1000

// queue holds entries in memory until they are in the table.
type queue struct {
	mu      sync.Mutex
	entries []pending
}

// add returns false when the queue is full.
func (q *queue) add(e pending) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.entries) >= queueSize {
		return false
	}
	q.entries = append(q.entries, e)
	return true
}

// first returns up to n entries, which stay. They are the caller's.
func (q *queue) first(n int) []pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]pending(nil), q.entries[:min(n, len(q.entries))]...)
}

// remove takes the first n entries out.
func (q *queue) remove(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.entries = append([]pending(nil), q.entries[n:]...)
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.entries)
}

// oldest returns the time of the entry that waits the longest; zero when none does.
func (q *queue) oldest() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.entries) == 0 {
		return time.Time{}
	}
	return q.entries[0].at
}

// Record takes an entry that is no change in the database, such as what became of the database itself. It never blocks
// and does no input or output, so it may be called under locks. The entry is added to the table as soon as the database
// is there, once, and then gets its line. Until then it is in memory: at most 1000 are, further ones are dropped and
// counted, and the end of the process loses those that Drain could not bring home.
//
// An entry without an OperationID gets one, and one without At the time of the call.
func (r *Relay) Record(e Entry) {
	var err error
	if e.OperationID == uuid.Nil {
		e.OperationID, err = uuid.NewV7()
	}
	if e.At.IsZero() {
		e.At = time.Now()
	}
	if err == nil {
		var p pending
		if p, err = e.encode(); err == nil && !r.queue.add(p) {
			err = errors.New("too many wait for the database")
		}
	}
	if err != nil {
		r.drop(e.Action, e.OperationID, err)
		return
	}
	r.Wake()
}

func (r *Relay) drop(action string, id uuid.UUID, err error) {
	r.metrics.failed(stepRecord)
	r.log.LogAttrs(context.Background(), slog.LevelError, "audit entry dropped", slog.String("action", action),
		slog.String("id", id.String()), slog.Any("error", err))
}

// insertQueued moves the entries of Record to the table. A COMMIT whose answer is lost is sent again: the ids make that
// the same entries.
func (r *Relay) insertQueued(ctx context.Context) error {
	for {
		entries := r.queue.first(batchSize)
		if len(entries) == 0 {
			return nil
		}
		err := r.insert(ctx, entries)
		if invalid(err) && len(entries) > 1 {
			// One that the database will never take must not hold up the others.
			entries = entries[:1]
			err = r.insert(ctx, entries)
		}
		if invalid(err) {
			r.drop(entries[0].action, entries[0].operationID, err)
			err = nil
		}
		if err != nil {
			r.countFailure(ctx, stepInsert, err)
			return fmt.Errorf("add recorded audit entries: %w", err)
		}
		r.queue.remove(len(entries))
	}
}

func (r *Relay) insert(ctx context.Context, entries []pending) error {
	return r.db.Background(ctx, "audit.record", func(ctx context.Context, tx *postgres.Tx) error {
		b := &pgx.Batch{}
		for _, e := range entries {
			e.queue(b)
		}
		return tx.CommitWith(ctx, b)
	})
}

// invalid reports whether the database refused the data: classes 22, data exception, and 23, constraint violation.
func invalid(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (strings.HasPrefix(pgErr.Code, "22") || strings.HasPrefix(pgErr.Code, "23"))
}
