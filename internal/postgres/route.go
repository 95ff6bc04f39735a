package postgres

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"speedybites/internal/postgres/breaker"
	"speedybites/internal/postgres/cluster"
	"speedybites/internal/postgres/sqlstate"
)

// Consistency says what the reads of one request may miss, and learns what its writes leave behind. It is of no effect
// without replicas. Its zero value asks for the latest data.
type Consistency struct {
	// Replica lets reads go to a replica that lags by no more than Config.ReplicaMaxLag.
	Replica bool
	// After is a position that they must include, such as that of the client's last write.
	After Position

	written atomic.Uint64
}

// Written returns the position of the request's last write, 0 without one. A read that includes it sees the write.
func (c *Consistency) Written() Position { return Position(c.written.Load()) }

type consistencyKey struct{}

// WithConsistency returns a context whose reads and writes use c.
func WithConsistency(ctx context.Context, c *Consistency) context.Context {
	return context.WithValue(ctx, consistencyKey{}, c)
}

// want is what a read must include to be answered by a replica.
type want struct {
	since    time.Time // everything committed by then
	position Position
}

// route is where a read was answered that could have gone to a replica, and why.
type route string

const (
	routeReplica  route = "replica"          // it was fresh enough
	routeStandIn  route = "replica_stand_in" // the primary was away
	routeCurrent  route = "primary_current"  // the request wants the latest data
	routeLagging  route = "primary_lagging"  // no replica was fresh enough, or there
	routeFallback route = "primary_fallback" // a replica was tried and failed
)

var allRoutes = []route{routeReplica, routeStandIn, routeCurrent, routeLagging, routeFallback}

// group is the part of a query's name before the dot: what was written in a group is read in it.
func group(name string) string {
	g, _, _ := strings.Cut(name, ".")
	return g
}

// wants returns what a read of ctx must include, and whether a replica may answer it at all.
func (db *DB) wants(ctx context.Context, name string) (want, bool) {
	c, _ := ctx.Value(consistencyKey{}).(*Consistency)
	if c == nil || !c.Replica || c.Written() != 0 {
		return want{}, false
	}
	w := want{position: c.After}
	if at := db.written[group(name)]; at != nil { // this process's own writes are seen at once
		if last := at.Load(); last != 0 {
			w.since = start.Add(time.Duration(last))
		}
	}
	return w, true
}

// wrote remembers when a group was written last, for the reads of this process.
func (db *DB) wrote(name string) {
	if at := db.written[group(name)]; at != nil {
		at.Store(sinceStart())
	}
}

// reply is what a replica had to say. It is not done when another server may do better.
type reply struct {
	verdict verdict
	err     error
	done    bool
}

// routed is a read where there are replicas.
func (q *query) routed(ctx context.Context) (verdict, error) {
	if view := q.srv.monitor.View(); view.State != cluster.Connected || q.srv.breaker.State() != breaker.Closed {
		if r := q.standIn(ctx); r.done {
			return r.verdict, r.err
		}
		return q.guard(ctx)
	}
	why := routeCurrent
	if w, may := q.db.wants(ctx, q.name); may {
		why = routeLagging
		for next := range q.db.inTurn() {
			if !next.serves(w) {
				continue
			}
			why = routeFallback
			if r := q.tryReplica(ctx, next, q.read, false); r.done {
				q.count(routeReplica)
				return r.verdict, r.err
			}
		}
	}
	v, err := q.guard(ctx)
	if !q.stoodIn {
		q.count(why)
	}
	return v, err
}

func (q *query) count(r route) { q.srv.metrics.routes[r].Inc() }

// inTurn yields every replica once, beginning with another one each time.
func (db *DB) inTurn() func(yield func(*replica) bool) {
	return func(yield func(*replica) bool) {
		first := int(db.turn.Add(1) % uint64(len(db.replicas))) //nolint:gosec // below the number of replicas
		for i := range db.replicas {
			if !yield(db.replicas[(first+i)%len(db.replicas)]) {
				return
			}
		}
	}
}

// standInFor is standIn after an attempt that ended with v, if that was because the primary is away: one that is there but
// has lost a session may have what no replica has yet.
func (q *query) standInFor(ctx context.Context, v verdict) reply {
	if q.db == nil || (v != disconnected && v != locked) || q.srv.monitor.View().State == cluster.Connected {
		return reply{}
	}
	return q.standIn(ctx)
}

// catchUp is how long a read that wants the latest data waits at a stand-in for it to replay what it has received. With
// synchronous replication that is everything that was acknowledged, and takes milliseconds.
const catchUp = 300 * time.Millisecond

// standIn answers a read at any replica that is there, however far behind: the primary is not.
func (q *query) standIn(ctx context.Context) reply {
	read := q.read
	if w, may := q.db.wants(ctx, q.name); !may || w.position > 0 {
		read = func(ctx context.Context, on Querier) error {
			if err := caughtUp(ctx, on); err != nil {
				return err
			}
			return q.read(ctx, on)
		}
	}
	for r := range q.db.inTurn() {
		if !r.standsIn() {
			continue
		}
		if r := q.tryReplica(ctx, r, read, true); r.done {
			q.stoodIn = true
			q.count(routeStandIn)
			return r
		}
	}
	return reply{}
}

// caughtUp waits until the standby has replayed what it has received so far, or for catchUp: the read goes on either way.
func caughtUp(ctx context.Context, on Querier) error {
	var received Position
	replayed := func() (done bool, err error) {
		var position int64
		err = on.QueryRow(ctx, `SELECT coalesce(pg_last_wal_receive_lsn() - '0/0', 0)::bigint,
			coalesce(pg_last_wal_replay_lsn() - '0/0', 0)::bigint >= coalesce(nullif($1::bigint, 0), pg_last_wal_receive_lsn() - '0/0', 0)`,
			int64(received)).Scan(&position, &done) //nolint:gosec // a position in the log has 63 bits
		if received == 0 {
			received = Position(position) //nolint:gosec // as above
		}
		return done, err
	}
	for end := time.Now().Add(catchUp); ; {
		done, err := replayed()
		if done || err != nil || time.Now().After(end) {
			return err
		}
		timer := time.NewTimer(2 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// tryReplica makes one attempt at a replica. Another server may do better when the replica was lost, is full, or
// cancelled the query for what it has to replay; and, unless it is the last resort, when it does not know a table yet.
func (q *query) tryReplica(ctx context.Context, r *replica, read func(context.Context, Querier) error, lastResort bool) reply {
	permit, err := r.breaker.Allow()
	if err != nil {
		return reply{disconnected, err, false}
	}
	at := query{srv: r.server, name: q.name, read: read, metrics: q.metrics}
	outcome, kind := breaker.Neutral, kindNeutral // also of a panic
	defer func() {
		q.attempts += at.attempts
		permit.Done(ctx, outcome, at.epoch)
		r.metrics.breaker[kind].Inc()
	}()
	v, err := at.attempt(ctx)
	switch v {
	case answered, overdue, conflicting:
		outcome, kind = breaker.Answered, kindSuccess
	case disconnected:
		outcome, kind = breaker.Failed, kindFailure
	case locked, refused, abandoned:
	}
	done := v == overdue || v == abandoned || v == answered && (lastResort || !sqlstate.Undefined(err))
	return reply{v, err, done}
}
