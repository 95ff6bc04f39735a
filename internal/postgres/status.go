package postgres

import (
	"time"

	"speedybites/internal/postgres/breaker"
	"speedybites/internal/postgres/cluster"
)

// Status is what is known of the database at one moment. Reading it never waits for the database.
type Status struct {
	// Connected reports whether the prober reaches the database; State says what it found, Since when, and Err why not.
	Connected bool
	State     cluster.State
	Since     time.Time
	Err       error
	// InGrace reports whether a loss is young enough to be bridged.
	InGrace bool
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

// Status returns what is known of the database now.
func (db *DB) Status() Status {
	v := db.monitor.View()
	stat := db.pool.Stat()
	return Status{
		Connected:         v.State == cluster.Connected,
		State:             v.State,
		Since:             v.Since,
		Err:               v.Err,
		InGrace:           db.bridgeable(v),
		EverConnected:     v.Epoch > 0,
		TotalConnections:  int(stat.TotalConns()),
		IdleConnections:   int(stat.IdleConns()),
		ActiveConnections: int(stat.AcquiredConns()),
		WaitingQueue:      db.gate.waitingQueue(),
		Breaker:           db.breaker.State(),
		Failures:          db.breaker.Failures(),
		Threshold:         db.breaker.Threshold(),
		Transitions:       db.breaker.Transitions(),
	}
}
