package postgres

import (
	"errors"
	"slices"
	"time"

	"speedybites/internal/postgres/breaker"
	"speedybites/internal/postgres/cluster"
)

// Status is what is known of the database at one moment. Reading it never waits for the database.
type Status struct {
	// ServerStatus is the primary's.
	ServerStatus

	// InGrace reports whether a loss is young enough to be bridged.
	InGrace bool
	// Hosts are those of the database's URL, in its order.
	Hosts []HostStatus
	// Replicas are those of the replicas' URL, in its order.
	Replicas []ReplicaStatus
}

// ServerStatus is what is known of one server.
type ServerStatus struct {
	// Server is its host and port; for the primary, of the latest, "" before the first.
	Server string
	// Connected reports whether the prober reaches the server; State says what it found, Since when, and Err why not.
	Connected bool
	State     cluster.State
	Since     time.Time
	Err       error
	// EverConnected is false until the first connection of this process.
	EverConnected bool

	TotalConnections  int
	IdleConnections   int
	ActiveConnections int
	// WaitingQueue is the number of queries that wait for a connection or for the end of an outage.
	WaitingQueue int

	Breaker     breaker.State
	Failures    int
	Threshold   int
	Transitions []breaker.Transition
}

// HostStatus is one of the hosts that may be the primary.
type HostStatus struct {
	Server string
	Role   HostRole
}

// HostRole is what a host was when it was last looked at.
type HostRole string

// The roles of a host.
const (
	HostPrimary       HostRole = "primary"
	HostStandby       HostRole = "standby"
	HostReadOnly      HostRole = "read-only"
	HostFormerPrimary HostRole = "former primary"
	HostOtherCluster  HostRole = "other cluster"
	HostUnreachable   HostRole = "unreachable"
	HostUnknown       HostRole = "unknown"
)

// ReplicaStatus is what is known of a replica.
type ReplicaStatus struct {
	ServerStatus

	// Use says whether it serves reads, and why not.
	Use ReplicaState
	// Lag is how old its data may be; more than that where LagKnown is false.
	Lag      time.Duration
	LagKnown bool
}

// Status returns what is known of the database now.
func (db *DB) Status() Status {
	s := Status{
		ServerStatus: db.primary.status(),
		InGrace:      db.primary.bridgeable(db.primary.monitor.View()),
		Hosts:        db.topology.status(),
	}
	for _, r := range db.replicas {
		lag, known := r.lag()
		own := r.status()
		own.Server = r.host.name
		s.Replicas = append(s.Replicas, ReplicaStatus{ServerStatus: own, Use: r.state(), Lag: lag, LagKnown: known})
	}
	return s
}

// ReplicaAlone reports whether reads would find a replica without a primary.
func (s Status) ReplicaAlone() bool {
	return slices.ContainsFunc(s.Replicas, func(r ReplicaStatus) bool {
		return r.Use == ReplicaUsable || r.Use == ReplicaLagging
	})
}

func (srv *server) status() ServerStatus {
	v := srv.monitor.View()
	stat := srv.pool.Stat()
	return ServerStatus{
		Server:            v.Server,
		Connected:         v.State == cluster.Connected,
		State:             v.State,
		Since:             v.Since,
		Err:               v.Err,
		EverConnected:     v.Epoch > 0,
		TotalConnections:  int(stat.TotalConns()),
		IdleConnections:   int(stat.IdleConns()),
		ActiveConnections: int(stat.AcquiredConns()),
		WaitingQueue:      srv.gate.waitingQueue(),
		Breaker:           srv.breaker.State(),
		Failures:          srv.breaker.Failures(),
		Threshold:         srv.breaker.Threshold(),
		Transitions:       srv.breaker.Transitions(),
	}
}

// status returns what every host was when it was last looked at.
func (t *topology) status() []HostStatus {
	view := t.monitor.View()
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]HostStatus, len(t.hosts))
	for i, h := range t.hosts {
		list[i] = HostStatus{Server: h.name, Role: HostUnknown}
		seen, ok := t.seen[h.name]
		if ok {
			list[i].Role = seen.role()
		}
		if list[i].Role == HostPrimary && (view.State != cluster.Connected || view.Server != h.name) {
			list[i].Role = HostUnknown // it was, at the last look
		}
	}
	return list
}

func (s sighting) role() HostRole {
	switch {
	case s.err == nil:
		return HostPrimary
	case errors.Is(s.err, errOtherCluster):
		return HostOtherCluster
	case errors.Is(s.err, errFormerPrimary):
		return HostFormerPrimary
	case !errors.Is(s.err, errReadOnly):
		return HostUnreachable
	case s.standby:
		return HostStandby
	}
	return HostReadOnly
}
