package postgres

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"speedybites/internal/postgres/breaker"
	"speedybites/internal/postgres/cluster"
)

// ReplicaState says whether a replica serves reads, and why not.
type ReplicaState string

// The states of a replica. Only the first serves reads while there is a primary; the second does while there is none.
const (
	ReplicaUsable        ReplicaState = "Connected"
	ReplicaLagging       ReplicaState = "Lagging"
	ReplicaDisconnected  ReplicaState = "Disconnected"
	ReplicaUnauthorized  ReplicaState = "Authentication failed"
	ReplicaMissing       ReplicaState = "Database missing"
	ReplicaIsPrimary     ReplicaState = "Primary"
	ReplicaOtherCluster  ReplicaState = "Other cluster"
	ReplicaBreakerOpened ReplicaState = "Circuit breaker open"
)

// replica is a server that reads can go to.
type replica struct {
	*server

	host     host
	prober   *prober
	topology *topology
	maxLag   time.Duration
	latest   atomic.Pointer[observation] // nil before the first
	told     atomic.Pointer[ReplicaState]
}

// login opens a session of the prober, whatever role the server has: a misplaced primary is there, if of no use here.
func (r *replica) login(ctx context.Context) (_ cluster.Session, err error) {
	ctx, span := r.startSpan(ctx, "prober.login", true)
	defer func() { r.checked(span, err) }()
	s, err := r.prober.login(ctx, r.host, r.see)
	if err != nil {
		return nil, err // a nil *probe would be a session
	}
	return s, nil
}

// see notes what the server says. One that is no longer a standby of the primary gets its connections back: it may need
// them, as the new primary.
func (r *replica) see(o observation) error {
	before := r.latest.Swap(&o)
	if before != nil && before.standby && !r.isStandby() {
		r.sever(func(*session) bool { return true })
	}
	r.tell()
	return nil
}

// isStandby reports whether the server is a standby of the primary, as far as is known.
func (r *replica) isStandby() bool {
	o := r.latest.Load()
	return o != nil && o.standby && r.sameCluster(o)
}

// asOf returns the latest moment of which the replica surely has everything; zero for none.
func (r *replica) asOf() time.Time {
	if o := r.latest.Load(); o != nil && o.standby {
		return r.topology.positions.asOf(o.position)
	}
	return time.Time{}
}

// lag returns how old the replica's data may be. It is a bound: the primary is asked once a second only.
func (r *replica) lag() (d time.Duration, known bool) {
	if at := r.asOf(); !at.IsZero() {
		return time.Since(at), true
	}
	// Older than the memory of positions, which is at least that old then.
	if begin := r.topology.positions.since(); !begin.IsZero() {
		return time.Since(begin), false
	}
	return 0, false
}

// standsIn returns whether the replica can answer reads, however old its data is.
func (r *replica) standsIn() bool {
	return r.monitor.View().State == cluster.Connected && r.isStandby() && r.breaker.State() == breaker.Closed
}

func (r *replica) sameCluster(o *observation) bool {
	primary := r.topology.primaryCluster()
	return primary == "" || o.cluster == "" || o.cluster == primary
}

// serves reports whether the replica can answer a read that wants this.
func (r *replica) serves(w want) bool {
	if !r.standsIn() {
		return false
	}
	at := r.asOf()
	return !at.IsZero() && time.Since(at) <= r.maxLag && !at.Before(w.since) && r.latest.Load().position >= w.position
}

// state says whether the replica serves reads, and why not.
func (r *replica) state() ReplicaState {
	o := r.latest.Load()
	switch r.monitor.View().State {
	case cluster.AuthenticationFailed:
		return ReplicaUnauthorized
	case cluster.DatabaseMissing:
		return ReplicaMissing
	case cluster.Lost:
		return ReplicaDisconnected
	case cluster.Connected:
	}
	switch {
	case o == nil:
		return ReplicaDisconnected
	case !r.sameCluster(o):
		return ReplicaOtherCluster
	case !o.standby:
		return ReplicaIsPrimary
	case r.breaker.State() != breaker.Closed:
		return ReplicaBreakerOpened
	case !r.serves(want{}):
		return ReplicaLagging
	}
	return ReplicaUsable
}

// tell logs a change of the state. The prober has its own lines for a server that is lost.
func (r *replica) tell() {
	now := r.state()
	if before := r.told.Swap(&now); (before == nil && now == ReplicaUsable) || (before != nil && *before == now) {
		return
	}
	lag, _ := r.lag()
	attrs := []slog.Attr{slog.String("server", r.host.name), slog.String("state", string(now)), slog.Duration("lag", lag)}
	switch now {
	case ReplicaLagging, ReplicaOtherCluster:
		r.log.LogAttrs(context.Background(), slog.LevelWarn, "replica gets no reads", attrs...)
	case ReplicaIsPrimary:
		level := slog.LevelWarn
		if r.host.name == r.topology.monitor.View().Server {
			level = slog.LevelInfo // it was promoted, or both lists name all servers
		}
		r.log.LogAttrs(context.Background(), level, "replica gets no reads: it is a primary", attrs...)
	case ReplicaUsable:
		r.log.LogAttrs(context.Background(), slog.LevelInfo, "replica gets reads", attrs...)
	case ReplicaDisconnected, ReplicaUnauthorized, ReplicaMissing, ReplicaBreakerOpened:
	}
}
