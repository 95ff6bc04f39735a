package app

import (
	"speedybites/internal/httpapi"
	"speedybites/internal/postgres"
	"speedybites/internal/postgres/breaker"
	"speedybites/internal/postgres/cluster"
)

func (a *App) health() httpapi.Health { return healthOf(a.db.Status()) }

// healthOf is the contract's table of situations.
func healthOf(s postgres.Status) (h httpapi.Health) {
	h = httpapi.Health{
		TotalConnections: s.TotalConnections, IdleConnections: s.IdleConnections, ActiveConnections: s.ActiveConnections,
		WaitingQueue: s.WaitingQueue,
		BreakerState: s.Breaker.String(), FailureCount: s.Failures, Threshold: s.Threshold,
	}
	for _, t := range s.Transitions {
		h.Transitions = append(h.Transitions, httpapi.Transition{
			From: t.From.String(), To: t.To.String(), At: t.At.UTC(), Reason: t.Reason,
		})
	}
	h.Server = s.Server
	if len(s.Hosts) > 1 {
		for _, host := range s.Hosts {
			h.Hosts = append(h.Hosts, httpapi.Host{Server: host.Server, Role: string(host.Role)})
		}
	}
	for _, r := range s.Replicas {
		h.Replicas = append(h.Replicas, httpapi.Replica{
			Server: r.Server, Connected: r.Connected, Status: string(r.Use), Lag: r.Lag,
			TotalConnections: r.TotalConnections, IdleConnections: r.IdleConnections, ActiveConnections: r.ActiveConnections,
			BreakerState: r.Breaker.String(), FailureCount: r.Failures,
		})
	}
	defer func() { h.Ready = h.Ready || s.ReplicaAlone() }()
	switch {
	case s.State == cluster.AuthenticationFailed:
		h.DatabaseStatus = "Authentication failed"
	case s.State == cluster.DatabaseMissing:
		h.DatabaseStatus = "Database missing"
	case s.Breaker == breaker.HalfOpen:
		h.DatabaseStatus = "Recovering"
		h.Ready = true // or no query would come for the trial
	case s.Connected:
		h.Connected, h.DatabaseStatus = true, "Connected"
		h.Available = s.Breaker == breaker.Closed
		h.Ready = h.Available
	case s.InGrace && s.Breaker == breaker.Closed:
		h.DatabaseStatus = "Reconnecting"
		h.Available, h.Degraded, h.Ready = true, true, true
	default:
		h.DatabaseStatus = "Disconnected"
	}
	return h
}
