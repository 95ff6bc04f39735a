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

type healthView struct {
	OK             bool         `json:"ok"`
	Status         string       `json:"status"`
	Database       databaseView `json:"database"`
	CircuitBreaker breakerView  `json:"circuitBreaker"`
	Uptime         float64      `json:"uptime"`
	Version        string       `json:"version"`
}

type databaseView struct {
	Connected         bool   `json:"connected"`
	TotalConnections  int    `json:"totalConnections"`
	IdleConnections   int    `json:"idleConnections"`
	ActiveConnections int    `json:"activeConnections"`
	WaitingQueue      int    `json:"waitingQueue"`
	Status            string `json:"status"`
}

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
		},
		CircuitBreaker: breakerView{
			State:        h.BreakerState,
			FailureCount: h.FailureCount,
			Threshold:    h.Threshold,
			Transitions:  transitions,
		},
		Uptime:  math.Round(time.Since(a.cfg.Started).Seconds()*1000) / 1000,
		Version: a.cfg.Version,
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
