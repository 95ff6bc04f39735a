package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"speedybites/internal/postgres/cluster"
)

// bridge waits until the query should be run again, because the database is back or the sessions of an earlier epoch
// were to blame, or until it must not wait any longer; err is its last. The loss, and the query, are bridged for the
// grace counted from their own first failure. A query that will be run again keeps its place among the waiting until it
// is admitted, lest new arrivals push it out.
func (q *query) bridge(ctx context.Context, err error) (again bool, v verdict, _ error) {
	var parked time.Time // zero: it was not, the verdict was there
	defer func() {
		if !parked.IsZero() {
			q.unparked(ctx, time.Since(parked), again)
		}
	}()
	for {
		view := q.srv.monitor.View()
		now := time.Now()
		deadline := q.first.Add(q.srv.cfg.OutageGrace)
		switch view.State {
		case cluster.Connected:
			if view.Epoch == q.epoch && view.Check >= q.check {
				return false, disconnected, err // it is there, and it serves others
			}
			if view.Epoch != q.epoch && now.Before(deadline) {
				return true, answered, nil
			}
		case cluster.Lost:
			if r := q.standInFor(ctx, disconnected); r.done {
				return false, r.verdict, r.err
			}
			if end := view.Since.Add(q.srv.cfg.OutageGrace); end.Before(deadline) {
				deadline = end
			}
		case cluster.AuthenticationFailed, cluster.DatabaseMissing:
			return false, locked, view.Err
		}
		if !now.Before(deadline) {
			return false, disconnected, err
		}
		if parked.IsZero() {
			if err := q.parkNow(); err != nil {
				return false, refused, err
			}
			parked = now
		}
		switch waitErr := q.await(ctx, view.Changed, deadline.Sub(now)); {
		case errors.Is(waitErr, ErrSaturated):
			return false, refused, waitErr
		case waitErr != nil:
			return false, abandoned, gaveUp(waitErr, err)
		}
	}
}

// parkNow takes a place among the waiting, unless the query still has one.
func (q *query) parkNow() error {
	if q.place == nil {
		p, err := q.srv.gate.park(q.class(), q.waited)
		if err != nil {
			return err
		}
		q.place, q.waited = p, true
	}
	q.srv.metrics.parked.Inc()
	q.span.event("parked")
	return nil
}

// unparked accounts for the wait.
func (q *query) unparked(ctx context.Context, waited time.Duration, again bool) {
	q.srv.metrics.parked.Dec()
	q.srv.metrics.parkedTime.Observe(waited.Seconds())
	q.srv.metrics.bridged[again].Inc()
	q.span.event("unparked", millis("duration_ms", waited))
	q.srv.log.LogAttrs(ctx, slog.LevelInfo, "query waited for the database", slog.String("query", q.name),
		slog.Bool("again", again), slog.Float64("waited_ms", float64(waited.Microseconds())/1000))
}

// gaveUp is the error of a caller that left while the database was away: its own cancellation, or the outage that made
// it miss its deadline.
func gaveUp(ctxErr, err error) error {
	if errors.Is(ctxErr, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w (%w)", ErrUnavailable, ctxErr, err)
	}
	return ctxErr
}

// await waits for change, at most for wait. The error is ctx's, or says that the gate gave the query's place to a write.
func (q *query) await(ctx context.Context, change <-chan struct{}, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-change:
		return nil
	case <-timer.C:
		return nil
	case <-q.place.over:
		return q.place.outcome()
	case <-ctx.Done():
		return ctx.Err()
	}
}
