package cluster_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"speedybites/internal/postgres/cluster"
)

// slowSession answers pings after a round trip of 5 ms, unless its server is down.
type slowSession struct{ cluster.Session }

func (s slowSession) Ping(ctx context.Context) error {
	time.Sleep(5 * time.Millisecond)
	return s.Session.Ping(ctx)
}

// storm starts a monitor, and queries that fail every 2 ms while it is connected: less than a round trip apart.
func storm(t *testing.T) (*cluster.Monitor, *server) {
	t.Helper()
	srv := &server{}
	m := cluster.New(cluster.Config{
		Login: func(ctx context.Context) (cluster.Session, error) {
			s, err := srv.login(ctx)
			return slowSession{s}, err
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	m.Start()
	t.Cleanup(m.Close)
	if _, err := m.Verdict(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var queries sync.WaitGroup
	t.Cleanup(func() { cancel(); queries.Wait() })
	queries.Go(func() {
		for ctx.Err() == nil {
			m.Suspect(time.Now(), false)
			time.Sleep(2 * time.Millisecond)
		}
	})
	return m, srv
}

// TestStormThenLoss: the grace of a loss counts from its first failure, not from that of something else which the
// monitor has refuted a thousand times since.
func TestStormThenLoss(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, srv := storm(t)
		time.Sleep(20 * time.Second)
		srv.set(func(s *server) { s.down = errRefused })
		begin := time.Now()
		for m.View().State == cluster.Connected {
			time.Sleep(time.Millisecond)
		}
		if since := m.View().Since; begin.Sub(since) > time.Second {
			t.Errorf("the loss is dated %v before it happened", begin.Sub(since))
		}
	})
}

// TestStormVerdict: who waits for a verdict waits for the one on what had failed then.
func TestStormVerdict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, _ := storm(t)
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := m.Verdict(ctx); err != nil {
			t.Errorf("no verdict for 10 s from a server that answers in 5 ms: %v", err)
		}
	})
}
