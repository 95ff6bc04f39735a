package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"speedybites/internal/postgres/breaker"
	"speedybites/internal/postgres/cluster"
	"speedybites/internal/postgres/sqlstate"
)

// query is one call of Read or Write: its attempts, and what it remembers from one to the next.
type query struct {
	srv   *server
	name  string
	read  func(context.Context, Querier) error
	write func(context.Context, *Tx) error
	trial bool // decides in HALF_OPEN, so it must not wait for the end of an outage
	once  bool // is attempted once, past the breaker
	root  bool // nobody's request: its spans are a trace of their own

	permit  breaker.Permit // of a trial that nobody asked for
	db      *DB            // whose replicas may answer the read; nil where there are none
	stoodIn bool           // one did, as the primary could not

	metrics  *queryMetrics
	span     span
	attempts int // made so far
	rejected bool

	epoch   uint64    // the prober's, when the last attempt began
	check   uint64    // the check whose verdict tells why the last attempt failed
	first   time.Time // when the first attempt failed
	place   *place    // among the waiting
	waited  bool      // had one before
	inDoubt bool      // a COMMIT was sent and its answer lost

	positioned bool     // the position of the COMMIT is wanted
	position   Position // it, 0 where it is not known
}

// run runs the query and accounts for it.
func (q *query) run(ctx context.Context) error {
	ctx = q.begin(ctx)
	v, err := abandoned, error(nil) // also of a panic
	defer func() { q.end(v, err) }()
	switch { // no function value: it would cost an allocation
	case q.trial:
		v, err = q.permitted(ctx, q.permit)
	case q.once:
		v, err = q.attempt(ctx)
	case q.db != nil:
		v, err = q.routed(ctx)
	default:
		v, err = q.guard(ctx)
	}
	return v.asError(err)
}

// guard asks the breaker, runs the query and reports back.
func (q *query) guard(ctx context.Context) (verdict, error) {
	permit, err := q.srv.breaker.Allow()
	if err != nil {
		q.rejected = true
		q.srv.metrics.breaker[kindRejected].Inc()
		q.span.set(attribute.String("speedybites.breaker", "rejected"))
		return disconnected, err
	}
	return q.permitted(ctx, permit)
}

func (q *query) permitted(ctx context.Context, permit breaker.Permit) (v verdict, err error) {
	outcome, kind := breaker.Neutral, kindNeutral // also of a panic
	if q.trial = permit.Trial(); q.trial {
		q.srv.metrics.breaker[kindTrial].Inc()
		q.span.set(attribute.String("speedybites.breaker", "trial"))
	}
	defer func() {
		if q.place != nil {
			q.srv.gate.unpark(q.place)
		}
		permit.Done(ctx, outcome, q.epoch)
		q.srv.metrics.breaker[kind].Inc()
	}()
	own, v, err := q.rounds(ctx)
	switch own {
	case answered, conflicting, overdue:
		outcome, kind = breaker.Answered, kindSuccess
	case disconnected:
		outcome, kind = breaker.Failed, kindFailure
	case locked, abandoned, refused:
	}
	return v, err
}

// class is what the gate makes of the query. A trial decides for all who are refused meanwhile.
func (q *query) class() class {
	if q.write != nil || q.trial {
		return writing
	}
	return reading
}

func (q *query) begin(ctx context.Context) context.Context {
	q.metrics = q.srv.metrics.of(q.name)
	ctx, q.span = q.srv.startSpan(ctx, q.name, q.root)
	return ctx
}

// end accounts for the whole call.
func (q *query) end(v verdict, err error) {
	q.metrics.calls[q.result(v)].Inc()
	if v == refused {
		q.srv.metrics.countShed(q.write != nil, err)
	}
	if q.span.on() {
		// The statements' spans say what system it is; each attribute costs three allocations on its way out.
		q.span.set(attribute.String("db.query.summary", q.name))
		if q.attempts > 1 {
			q.span.set(attribute.Int("speedybites.attempts", q.attempts))
		}
		if q.waited {
			q.span.set(attrOutage.Bool(true))
		}
		q.span.end(v, err)
	}
}

func (q *query) result(v verdict) result {
	again := q.attempts > 1 || q.waited
	if q.rejected {
		return refusedOpen
	}
	switch v {
	case answered:
		if again {
			return successAfterRetry
		}
		return successFirst
	case refused:
		return refusedCapacity
	case abandoned:
		return abandonedCall
	case disconnected, locked, conflicting, overdue:
	}
	if again {
		return failedAfterRetry
	}
	return failedFirst
}

// rounds makes attempts, waits for the end of an outage, and makes attempts again, until the query is answered, there or at
// a replica, or must not wait any longer. own is what the server's breaker is told.
func (q *query) rounds(ctx context.Context) (own, v verdict, err error) {
	for {
		v, err = q.round(ctx)
		if r := q.standInFor(ctx, v); r.done {
			if v == disconnected && q.mayBridge() && q.srv.bridgeable(q.srv.monitor.View()) {
				v = abandoned // it would have waited
			}
			return v, r.verdict, r.err
		}
		if v != disconnected || !q.mayBridge() {
			return v, v, err
		}
		again, v, err := q.bridge(ctx, err)
		if q.stoodIn {
			return abandoned, v, err
		}
		if !again {
			return v, v, err
		}
	}
}

// bridgeable reports whether view is a loss that is young enough to be waited for.
func (srv *server) bridgeable(view *cluster.View) bool {
	return view.State == cluster.Lost && time.Since(view.Since) < srv.cfg.OutageGrace
}

func (q *query) mayBridge() bool { return q.srv.cfg.OutageGrace > 0 && !q.trial }

// round makes attempts with exponential backoff. It ends early when the database is known to be lost and the query may
// wait for its return instead.
func (q *query) round(ctx context.Context) (verdict, error) {
	for n := 1; ; n++ {
		v, err := q.attempt(ctx)
		if v != disconnected && v != conflicting {
			return v, err
		}
		if v == disconnected && q.mayBridge() && q.srv.bridgeable(q.srv.monitor.View()) {
			return v, err
		}
		began := time.Now()
		again := q.srv.cfg.Retry.Wait(ctx, n)
		if waited := time.Since(began); waited > time.Millisecond {
			q.srv.metrics.backoff.Observe(waited.Seconds())
			q.span.event("backoff", millis("duration_ms", waited), attribute.Int("after_attempt", q.attempts))
		}
		if !again {
			if ctx.Err() != nil {
				return abandoned, ctx.Err()
			}
			return v, err
		}
		reason := reasonOf(err)
		q.srv.metrics.retries[reason].Inc()
		q.srv.log.LogAttrs(ctx, slog.LevelWarn, "query retried", slog.String("query", q.name), slog.Int("attempt", n+1),
			slog.String("reason", reason), slog.String("sqlstate", sqlstate.Code(err)), slog.Any("error", err))
	}
}

// attempt runs the query once, on a connection of the database that the prober knows to be there.
func (q *query) attempt(ctx context.Context) (v verdict, err error) {
	q.attempts++
	ctx, s := q.srv.startSpan(ctx, "attempt", false)
	if s.on() {
		ctx = context.WithValue(ctx, queryName{}, q.name)
	}
	defer func() {
		q.metrics.attempts[v].Inc()
		if s.on() { // or the attributes would be allocated for nothing
			if q.attempts > 1 {
				s.set(attribute.Int("speedybites.attempt", q.attempts))
			}
			s.end(v, err)
		}
	}()
	if v, err := q.look(); err != nil {
		return v, err
	}
	began := time.Now()
	if err := q.srv.gate.enter(ctx, q.class(), q.place); err != nil {
		if errors.Is(err, ErrSaturated) {
			if errors.Is(err, errNoneFree) {
				q.srv.metrics.timeouts.Inc()
			}
			return refused, err
		}
		return abandoned, err
	}
	q.place = nil
	defer q.srv.gate.leave()
	if v, err := q.look(); err != nil { // the wait may have been long
		return v, err
	}
	return q.serve(ctx, began)
}

// look asks the prober before dialing or queueing.
func (q *query) look() (verdict, error) {
	if q.srv.closed.Load() {
		return refused, errClosed
	}
	view := q.srv.monitor.View()
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

// serve runs the query's function on a pooled connection, which it has been waiting for since began.
func (q *query) serve(ctx context.Context, began time.Time) (verdict, error) {
	conn, err := q.srv.pool.Acquire(ctx)
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
	s.rows = 0
	acquired := time.Now()
	q.srv.metrics.waitTime.Observe(acquired.Sub(began).Seconds())
	if q.read != nil {
		err = q.read(ctx, conn)
	} else {
		err = q.transact(ctx, conn.Conn(), s)
	}
	v := answered
	if err != nil {
		v = classify(ctx, s, err)
	}
	used := time.Since(acquired)
	q.srv.metrics.useTime.Observe(used.Seconds())
	if v != abandoned { // how long a caller has patience is nothing about the database
		observe(ctx, q.metrics.duration, used)
		q.metrics.rows.Observe(float64(s.rows))
	}
	q.suspect(v, false)
	return v, err
}

// suspect tells the prober of a lost connection, or of a login that failed.
func (q *query) suspect(v verdict, login bool) {
	if v != disconnected && v != locked {
		return
	}
	now := time.Now()
	q.srv.gate.troubled()
	q.srv.lastFailure.Store(sinceStart())
	q.failed(q.srv.monitor.Suspect(now, login))
}

func (q *query) failed(check uint64) {
	q.check = check
	if q.first.IsZero() {
		q.first = time.Now()
	}
}
