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
	status := func(s postgres.ServerStatus) postgres.Status { return postgres.Status{ServerStatus: s} }
	inGrace := func(s postgres.ServerStatus) postgres.Status { return postgres.Status{ServerStatus: s, InGrace: true} }
	withReplica := func(s postgres.ServerStatus, use postgres.ReplicaState) postgres.Status {
		return postgres.Status{ServerStatus: s, Replicas: []postgres.ReplicaStatus{{Use: use}}}
	}
	for _, c := range []struct {
		name   string
		status postgres.Status
		want   want
	}{
		{
			"Connected",
			status(postgres.ServerStatus{Connected: true, State: cluster.Connected}),
			want{available: true, connected: true, ready: true, status: "Connected"},
		},
		{
			"LostInsideTheGrace",
			inGrace(postgres.ServerStatus{State: cluster.Lost}),
			want{available: true, degraded: true, ready: true, status: "Reconnecting"},
		},
		{
			"LostForLonger",
			status(postgres.ServerStatus{State: cluster.Lost}),
			want{status: "Disconnected"},
		},
		{
			"NeverConnectedAfterTheGrace",
			status(postgres.ServerStatus{State: cluster.Lost, EverConnected: false}),
			want{status: "Disconnected"},
		},
		{
			"Open",
			status(postgres.ServerStatus{State: cluster.Lost, Breaker: breaker.Open}),
			want{status: "Disconnected"},
		},
		{
			"OpenAndLostAgainInsideTheGrace",
			inGrace(postgres.ServerStatus{State: cluster.Lost, Breaker: breaker.Open}),
			want{status: "Disconnected"},
		},
		{
			"OpenWhileConnected",
			status(postgres.ServerStatus{Connected: true, State: cluster.Connected, Breaker: breaker.Open}),
			want{connected: true, status: "Connected"},
		},
		{
			"HalfOpen",
			status(postgres.ServerStatus{Connected: true, State: cluster.Connected, Breaker: breaker.HalfOpen}),
			want{ready: true, status: "Recovering"},
		},
		{
			"WrongPassword",
			status(postgres.ServerStatus{State: cluster.AuthenticationFailed}),
			want{status: "Authentication failed"},
		},
		{
			"NoDatabase",
			status(postgres.ServerStatus{State: cluster.DatabaseMissing, Breaker: breaker.Open}),
			want{status: "Database missing"},
		},
		{
			"OpenWithAReplica",
			withReplica(postgres.ServerStatus{State: cluster.Lost, Breaker: breaker.Open}, postgres.ReplicaLagging),
			want{ready: true, status: "Disconnected"},
		},
		{
			"OpenWithoutAUsefulReplica",
			withReplica(postgres.ServerStatus{State: cluster.Lost, Breaker: breaker.Open}, postgres.ReplicaOtherCluster),
			want{status: "Disconnected"},
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
