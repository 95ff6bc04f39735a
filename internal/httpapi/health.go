package httpapi

import (
	"math"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// Health is what the service knows about itself and its primary database.
type Health struct {
	// Connected tells whether the primary can be reached.
	Connected bool
	// The pool of the primary. WaitingQueue counts the queries that wait for a connection or for the end of an outage.
	TotalConnections, IdleConnections, ActiveConnections, WaitingQueue int
	// DatabaseStatus is "Connected", "Reconnecting", "Disconnected", "Recovering", "Authentication failed" or
	// "Database missing".
	DatabaseStatus string
	// BreakerState is "CLOSED", "OPEN" or "HALF_OPEN".
	BreakerState string
	// FailureCount is the failed queries in a row so far, Threshold the number that opens the breaker.
	FailureCount, Threshold int
	// Transitions is the breaker's latest changes of state, oldest first.
	Transitions []Transition
	// Server is the primary's host and port, "" before the first connection.
	Server string
	// Hosts are those that may be the primary, where there are several; Replicas those that reads can go to.
	Hosts    []Host
	Replicas []Replica
	// Available is false while queries fail at once: the health is then "unavailable" and 503.
	Available bool
	// Degraded is true while a lost connection is bridged.
	Degraded bool
	// Ready tells whether the service should receive traffic.
	Ready bool
}

// Transition is one change of the breaker's state.
type Transition struct {
	From, To string
	At       time.Time
	Reason   string
}

// Host is a server that may be the primary, and what it was when it was last looked at.
type Host struct {
	Server, Role string
}

// Replica is a server that reads can go to.
type Replica struct {
	Server    string
	Connected bool
	// Status says whether it serves reads: "Connected", or why not.
	Status string
	// Lag is how old its data may be.
	Lag time.Duration
	// The pool of the replica, and its breaker.
	TotalConnections, IdleConnections, ActiveConnections int
	BreakerState                                         string
	FailureCount                                         int
}

type healthView struct {
	OK             bool          `json:"ok"`
	Status         string        `json:"status"`
	Database       databaseView  `json:"database"`
	CircuitBreaker breakerView   `json:"circuitBreaker"`
	Replicas       []replicaView `json:"replicas,omitempty"`
	Uptime         float64       `json:"uptime"`
	Version        string        `json:"version"`
}

type databaseView struct {
	Connected         bool       `json:"connected"`
	TotalConnections  int        `json:"totalConnections"`
	IdleConnections   int        `json:"idleConnections"`
	ActiveConnections int        `json:"activeConnections"`
	WaitingQueue      int        `json:"waitingQueue"`
	Status            string     `json:"status"`
	Server            string     `json:"server,omitempty"`
	Hosts             []hostView `json:"hosts,omitempty"`
}

type hostView struct {
	Server string `json:"server"`
	Role   string `json:"role"`
}

type replicaView struct {
	Server            string  `json:"server"`
	Connected         bool    `json:"connected"`
	Status            string  `json:"status"`
	LagSeconds        float64 `json:"lagSeconds"`
	TotalConnections  int     `json:"totalConnections"`
	IdleConnections   int     `json:"idleConnections"`
	ActiveConnections int     `json:"activeConnections"`
	CircuitBreaker    struct {
		State        string `json:"state"`
		FailureCount int    `json:"failureCount"`
	} `json:"circuitBreaker"`
}

func viewReplica(r Replica) replicaView {
	v := replicaView{
		Server: r.Server, Connected: r.Connected, Status: r.Status, LagSeconds: seconds(r.Lag),
		TotalConnections: r.TotalConnections, IdleConnections: r.IdleConnections, ActiveConnections: r.ActiveConnections,
	}
	v.CircuitBreaker.State, v.CircuitBreaker.FailureCount = r.BreakerState, r.FailureCount
	return v
}

// seconds rounds to milliseconds.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }

type breakerView struct {
	State        string           `json:"state"`
	FailureCount int              `json:"failureCount"`
	Threshold    int              `json:"threshold"`
	Transitions  []transitionView `json:"transitions"`
}

type transitionView struct {
	From   string    `json:"from"`
	To     string    `json:"to"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// health answers from memory, so it is as fast with a hung database as with a healthy one.
func (a *api) health(c *gin.Context) error {
	noStore(c)
	h := a.deps.Health()
	code, status := http.StatusOK, "operational"
	switch {
	case !h.Available:
		code, status = http.StatusServiceUnavailable, "unavailable"
	case h.Degraded:
		status = "degraded"
	}
	transitions := make([]transitionView, len(h.Transitions))
	for i, t := range h.Transitions {
		transitions[i] = transitionView{From: t.From, To: t.To, At: t.At.UTC(), Reason: t.Reason}
	}
	hosts := make([]hostView, len(h.Hosts))
	for i, host := range h.Hosts {
		hosts[i] = hostView(host)
	}
	replicas := make([]replicaView, len(h.Replicas))
	for i, r := range h.Replicas {
		replicas[i] = viewReplica(r)
	}
	return a.json(c, code, healthView{
		OK:     h.Available,
		Status: status,
		Database: databaseView{
			Connected:         h.Connected,
			TotalConnections:  h.TotalConnections,
			IdleConnections:   h.IdleConnections,
			ActiveConnections: h.ActiveConnections,
			WaitingQueue:      h.WaitingQueue,
			Status:            h.DatabaseStatus,
			Server:            h.Server,
			Hosts:             hosts,
		},
		CircuitBreaker: breakerView{
			State:        h.BreakerState,
			FailureCount: h.FailureCount,
			Threshold:    h.Threshold,
			Transitions:  transitions,
		},
		Replicas: replicas,
		Uptime:   seconds(time.Since(a.cfg.Started)),
		Version:  a.cfg.Version,
	})
}

type probeView struct {
	Status string `json:"status"`
}

// livez answers as long as the process works, whatever the database does: a restart would not help the database.
func (a *api) livez(c *gin.Context) error {
	noStore(c)
	return a.json(c, http.StatusOK, probeView{Status: "alive"})
}

// readyz tells a balancer whether to send traffic.
func (a *api) readyz(c *gin.Context) error {
	noStore(c)
	if a.draining.Load() {
		return errDraining
	}
	if !a.deps.Health().Ready {
		return errNotReady
	}
	return a.json(c, http.StatusOK, probeView{Status: "ready"})
}

// ready is what readyz tells.
func (a *api) ready() bool { return !a.draining.Load() && a.deps.Health().Ready }

func noStore(c *gin.Context) { c.Writer.Header().Set("Cache-Control", "no-store") }
