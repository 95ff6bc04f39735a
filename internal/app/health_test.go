package app

import (
	"testing"

	"speedybites/internal/postgres"
	"speedybites/internal/postgres/breaker"
	"speedybites/internal/postgres/cluster"
)

// TestHealthOf walks the contract's table of situations.
func TestHealthOf(t *testing.T) {
	t.Parallel()
	type want struct {
		available, degraded, connected, ready bool
		status                                string
	}
	for _, c := range []struct {
		name   string
		status postgres.Status
		want   want
	}{
		{
			"Connected",
			postgres.Status{Connected: true, State: cluster.Connected},
			want{available: true, connected: true, ready: true, status: "Connected"},
		},
		{
			"LostInsideTheGrace",
			postgres.Status{State: cluster.Lost, InGrace: true},
			want{available: true, degraded: true, ready: true, status: "Reconnecting"},
		},
		{
			"LostForLonger",
			postgres.Status{State: cluster.Lost},
			want{status: "Disconnected"},
		},
		{
			"NeverConnectedAfterTheGrace",
			postgres.Status{State: cluster.Lost, EverConnected: false},
			want{status: "Disconnected"},
		},
		{
			"Open",
			postgres.Status{State: cluster.Lost, Breaker: breaker.Open},
			want{status: "Disconnected"},
		},
		{
			"OpenAndLostAgainInsideTheGrace",
			postgres.Status{State: cluster.Lost, InGrace: true, Breaker: breaker.Open},
			want{status: "Disconnected"},
		},
		{
			"OpenWhileConnected",
			postgres.Status{Connected: true, State: cluster.Connected, Breaker: breaker.Open},
			want{connected: true, status: "Connected"},
		},
		{
			"HalfOpen",
			postgres.Status{Connected: true, State: cluster.Connected, Breaker: breaker.HalfOpen},
			want{ready: true, status: "Recovering"},
		},
		{
			"WrongPassword",
			postgres.Status{State: cluster.AuthenticationFailed},
			want{status: "Authentication failed"},
		},
		{
			"NoDatabase",
			postgres.Status{State: cluster.DatabaseMissing, Breaker: breaker.Open},
			want{status: "Database missing"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := healthOf(c.status)
			got := want{h.Available, h.Degraded, h.Connected, h.Ready, h.DatabaseStatus}
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
