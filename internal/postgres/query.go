package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"speedybites/internal/postgres/breaker"
	"speedybites/internal/postgres/cluster"
	"speedybites/internal/postgres/sqlstate"
)

// query is one call of Read or Write: its attempts, and what it remembers from one to the next.
type query struct {
	db    *DB
	name  string
	read  func(context.Context, Querier) error
	write func(context.Context, *Tx) error
	trial bool // decides in HALF_OPEN, so it must not wait for the end of an outage

	epoch   uint64    // the prober's, when the last attempt began
	check   uint64    // the check whose verdict tells why the last attempt failed
	first   time.Time // when the first attempt failed
	placed  bool      // holds a place among the waiting
	waited  bool      // held one before
	inDoubt bool      // a COMMIT was sent and its answer lost
}

// run asks the breaker, runs the query and reports back.
func (q *query) run(ctx context.Context) error {
	permit, err := q.db.breaker.Allow()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	q.trial = permit.Trial()
	return q.runWith(ctx, permit)
}

func (q *query) runWith(ctx context.Context, permit breaker.Permit) error {
	outcome := breaker.Neutral // also of a panic
	defer func() {
		if q.placed {
			q.db.gate.unpark()
		}
		permit.Done(outcome, q.epoch)
	}()
	v, err := q.rounds(ctx)
	switch v {
	case answered, conflicting, overdue:
		outcome = breaker.Answered
	case disconnected:
		outcome = breaker.Failed
	case locked, abandoned, refused:
	}
	return v.asError(err)
}

// rounds makes attempts, waits for the end of an outage, and makes attempts again, until the query is answered or must
// not wait any longer.
func (q *query) rounds(ctx context.Context) (verdict, error) {
	for {
		v, err := q.attempts(ctx)
		if v != disconnected || !q.mayBridge() {
			return v, err
		}
		again, v, err := q.bridge(ctx, err)
		if !again {
			return v, err
		}
	}
}

// bridgeable reports whether view is a loss that is young enough to be waited for.
func (db *DB) bridgeable(view *cluster.View) bool {
	return view.State == cluster.Lost && time.Since(view.Since) < db.cfg.OutageGrace
}

func (q *query) mayBridge() bool { return q.db.cfg.OutageGrace > 0 && !q.trial }

// attempts makes one round of attempts with exponential backoff. It ends early when the database is known to be lost
// and the query may wait for its return instead.
func (q *query) attempts(ctx context.Context) (verdict, error) {
	for n := 1; ; n++ {
		v, err := q.attempt(ctx)
		if v != disconnected && v != conflicting {
			return v, err
		}
		if v == disconnected && q.mayBridge() && q.db.bridgeable(q.db.monitor.View()) {
			return v, err
		}
		if !q.db.cfg.Retry.Wait(ctx, n) {
			if ctx.Err() != nil {
				return abandoned, ctx.Err()
			}
			return v, err
		}
		q.db.log.LogAttrs(ctx, slog.LevelWarn, "query retried", slog.String("query", q.name), slog.Int("attempt", n+1),
			slog.String("sqlstate", sqlstate.Code(err)), slog.Any("error", err))
	}
}

// attempt runs the query once, on a connection of the database that the prober knows to be there.
func (q *query) attempt(ctx context.Context) (verdict, error) {
	if v, err := q.look(); err != nil {
		return v, err
	}
	if err := q.db.gate.enter(ctx, q.placed); err != nil {
		if errors.Is(err, ErrSaturated) {
			return refused, err
		}
		return abandoned, err
	}
	q.placed = false
	defer q.db.gate.leave()
	if v, err := q.look(); err != nil { // the wait may have been long
		return v, err
	}
	return q.serve(ctx)
}

// look asks the prober before dialing or queueing.
func (q *query) look() (verdict, error) {
	if q.db.closed.Load() {
		return refused, errClosed
	}
	view := q.db.monitor.View()
	q.epoch = view.Epoch
	switch view.State {
	case cluster.Connected:
		return answered, nil
	case cluster.Lost:
		q.failed(view.Check)
		return disconnected, fmt.Errorf("%w (%w)", errNoDial, view.Err)
	case cluster.AuthenticationFailed, cluster.DatabaseMissing:
	}
	return locked, view.Err
}

// serve runs the query's function on a pooled connection.
func (q *query) serve(ctx context.Context) (verdict, error) {
	conn, err := q.db.pool.Acquire(ctx)
	if err != nil {
		v := verdictOf(sqlstate.Classify(ctx, err))
		if errors.Is(err, errNoDial) || v == answered { // pgxpool's own errors: no connection, whatever the reason
			v = disconnected
		}
		q.suspect(v, true)
		return v, err
	}
	defer conn.Release()
	s := sessionOf(conn.Conn())
	if q.read != nil {
		err = q.read(ctx, conn)
		if err == nil {
			return answered, nil
		}
		v := classify(ctx, s, err)
		q.suspect(v, false)
		return v, err
	}
	tx := &Tx{conn: conn.Conn(), session: s, inDoubt: q.inDoubt}
	err = q.write(ctx, tx)
	if err == nil {
		err = tx.commit(ctx)
	}
	if err == nil {
		return answered, nil
	}
	v := classify(ctx, s, err)
	if tx.sent && !tx.committed && (v == overdue || v == abandoned || sqlstate.Ambiguous(sqlstate.Classify(ctx, err), err)) {
		q.inDoubt = true
	}
	tx.rollback(ctx)
	q.suspect(v, false)
	return v, err
}

// suspect tells the prober of a lost connection, or of a login that failed.
func (q *query) suspect(v verdict, login bool) {
	if v != disconnected && v != locked {
		return
	}
	now := time.Now()
	q.db.lastFailure.Store(sinceStart())
	q.failed(q.db.monitor.Suspect(now, login))
}

func (q *query) failed(check uint64) {
	q.check = check
	if q.first.IsZero() {
		q.first = time.Now()
	}
}

// bridge waits until the query should be run again, because the database is back or the sessions of an earlier epoch
// were to blame, or until it must not wait any longer; err is its last. The loss, and the query, are bridged for the
// grace counted from their own first failure. A query that will be run again keeps its place among the waiting until it
// is admitted, lest new arrivals push it out.
func (q *query) bridge(ctx context.Context, err error) (again bool, v verdict, _ error) {
	grace := q.db.cfg.OutageGrace
	for {
		view := q.db.monitor.View()
		deadline := q.first.Add(grace)
		switch view.State {
		case cluster.Connected:
			if view.Epoch == q.epoch && view.Check >= q.check {
				return false, disconnected, err // it is there, and it serves others
			}
			if view.Epoch != q.epoch && time.Now().Before(deadline) {
				return true, answered, nil
			}
		case cluster.Lost:
			if end := view.Since.Add(grace); end.Before(deadline) {
				deadline = end
			}
		case cluster.AuthenticationFailed, cluster.DatabaseMissing:
			return false, locked, view.Err
		}
		wait := time.Until(deadline)
		if wait <= 0 {
			return false, disconnected, err
		}
		if !q.placed {
			if err := q.db.gate.park(q.waited); err != nil {
				return false, refused, err
			}
			q.placed, q.waited = true, true
		}
		if ctxErr := await(ctx, view.Changed, wait); ctxErr != nil {
			return false, abandoned, q.gaveUp(ctxErr, err)
		}
	}
}

// gaveUp is the error of a caller that left while the database was away: its own cancellation, or the outage that made
// it miss its deadline.
func (q *query) gaveUp(ctxErr, err error) error {
	if errors.Is(ctxErr, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w (%w)", ErrUnavailable, ctxErr, err)
	}
	return ctxErr
}

// await waits for change, at most for wait. The error is ctx's.
func await(ctx context.Context, change <-chan struct{}, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-change:
		return nil
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
