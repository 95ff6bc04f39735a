package cluster_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"speedybites/internal/postgres/cluster"
)

// server is a database in a bubble: it refuses, hangs or answers as told.
type server struct {
	mu      sync.Mutex
	down    error // logins fail with it
	hung    bool  // logins and pings do not return
	killed  int   // sessions up to this number are dead
	logins  []time.Time
	session int
}

func (s *server) set(change func(*server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *server) login(ctx context.Context) (cluster.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logins = append(s.logins, time.Now())
	if s.hung {
		s.mu.Unlock()
		<-ctx.Done()
		s.mu.Lock()
		return nil, ctx.Err()
	}
	if s.down != nil {
		return nil, s.down
	}
	s.session++
	return &session{server: s, number: s.session}, nil
}

type session struct {
	server *server
	number int
}

func (s *session) Ping(ctx context.Context) error {
	s.server.mu.Lock()
	hung, dead := s.server.hung, s.server.down != nil || s.number <= s.server.killed
	s.server.mu.Unlock()
	if hung {
		<-ctx.Done()
		return ctx.Err()
	}
	if dead {
		return errors.New("EOF")
	}
	return nil
}

func (s *session) Close() {}

func (s *session) Server() string { return "here" }

var errRefused = errors.New("connection refused")

type bundle struct {
	server *server
	lost   []cluster.View
	found  []cluster.View
}

// setup starts a monitor of a healthy server and waits for its first connection.
func setup(t *testing.T) (*cluster.Monitor, *bundle) {
	t.Helper()
	b := &bundle{server: &server{}}
	m := cluster.New(cluster.Config{
		Login:       b.server.login,
		OnLost:      func(v cluster.View) { b.lost = append(b.lost, v) },
		OnConnected: func(_, v cluster.View) { b.found = append(b.found, v) },
		Logger:      slog.New(slog.DiscardHandler),
	})
	m.Start()
	t.Cleanup(m.Close)
	synctest.Wait()
	if v := m.View(); v.State != cluster.Connected || v.Epoch != 1 {
		t.Fatalf("after the start: %v, epoch %d, %v", v.State, v.Epoch, v.Err)
	}
	return m, b
}

// until waits for the view to be as wanted and returns how long that took.
func until(t *testing.T, m *cluster.Monitor, limit time.Duration, want func(*cluster.View) bool) time.Duration {
	t.Helper()
	begin := time.Now()
	timeout := time.After(limit)
	for {
		v := m.View()
		if want(v) {
			took := time.Since(begin)
			synctest.Wait() // for the hooks
			return took
		}
		select {
		case <-v.Changed:
		case <-timeout:
			t.Fatalf("after %v the database is still %v: %v", limit, v.State, v.Err)
		}
	}
}

func connected(v *cluster.View) bool { return v.State == cluster.Connected }
func lost(v *cluster.View) bool      { return v.State == cluster.Lost }

func TestMonitor(t *testing.T) {
	t.Parallel()
	bubble := func(name string, f func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, f)
		})
	}

	bubble("NoticesALossWithoutTraffic", func(t *testing.T) {
		m, b := setup(t)
		b.server.set(func(s *server) { s.down = errRefused })
		if took := until(t, m, time.Minute, lost); took > time.Second {
			t.Errorf("noticed after %v, want at most 1s", took)
		}
		if len(b.lost) != 1 || !errors.Is(m.View().Err, errRefused) {
			t.Errorf("OnLost %d times, error %v", len(b.lost), m.View().Err)
		}
	})

	bubble("NoticesAtOnceWhatAQuerySaw", func(t *testing.T) {
		m, b := setup(t)
		b.server.set(func(s *server) { s.down = errRefused })
		seen := time.Now()
		m.Suspect(seen, false)
		if took := until(t, m, time.Minute, lost); took != 0 {
			t.Errorf("noticed after %v, want at once", took)
		}
		if got := m.View().Since; !got.Equal(seen) {
			t.Errorf("the loss counts from %v, want the query's failure at %v", got, seen)
		}
	})

	bubble("ProbesJitteredWhileLost", func(t *testing.T) {
		m, b := setup(t)
		b.server.set(func(s *server) { s.down, s.logins = errRefused, nil })
		until(t, m, time.Minute, lost)
		time.Sleep(30 * time.Second)
		b.server.mu.Lock()
		defer b.server.mu.Unlock()
		gaps := map[time.Duration]bool{}
		for i := 2; i < len(b.server.logins); i++ {
			gap := b.server.logins[i].Sub(b.server.logins[i-1])
			gaps[gap] = true
			if gap < 400*time.Millisecond || gap > 800*time.Millisecond {
				t.Errorf("logins %v apart, want 400 to 800 ms", gap)
			}
		}
		if len(b.server.logins) < 37 || len(gaps) < 10 {
			t.Errorf("%d logins in 30 s with %d distinct gaps", len(b.server.logins), len(gaps))
		}
	})

	bubble("FindsTheServerAgain", func(t *testing.T) {
		m, b := setup(t)
		b.server.set(func(s *server) { s.down = errRefused })
		until(t, m, time.Minute, lost)
		time.Sleep(7 * time.Second)
		b.server.set(func(s *server) { s.down = nil })
		if took := until(t, m, time.Minute, connected); took > 800*time.Millisecond {
			t.Errorf("found after %v, want at most 800ms", took)
		}
		if m.View().Epoch != 2 || len(b.found) != 2 {
			t.Errorf("epoch %d, OnConnected %d times; want 2 and 2", m.View().Epoch, len(b.found))
		}
	})

	bubble("FindsAHungServer", func(t *testing.T) {
		m, b := setup(t)
		b.server.set(func(s *server) { s.hung = true })
		if took := until(t, m, time.Minute, lost); took > 4500*time.Millisecond {
			t.Errorf("noticed after %v, want at most 4.5s", took)
		}
		// Logins that hang must not keep later ones from finding the server.
		time.Sleep(20 * time.Second)
		b.server.set(func(s *server) { s.hung = false })
		if took := until(t, m, time.Minute, connected); took > 3*time.Second {
			t.Errorf("found after %v", took)
		}
	})

	bubble("TellsLostSessionsFromALostServer", func(t *testing.T) {
		m, b := setup(t)
		b.server.set(func(s *server) { s.killed = s.session })
		check := m.Suspect(time.Now(), false)
		until(t, m, time.Minute, func(v *cluster.View) bool { return v.Check >= check })
		if v := m.View(); v.State != cluster.Connected || v.Epoch != 2 {
			t.Errorf("got %v, epoch %d; want connected, 2", v.State, v.Epoch)
		}
		if len(b.lost) != 0 {
			t.Error("announced a loss")
		}
	})

	bubble("ClearsASuspicion", func(t *testing.T) {
		m, _ := setup(t)
		check := m.Suspect(time.Now(), false)
		until(t, m, time.Minute, func(v *cluster.View) bool { return v.Check >= check })
		if v := m.View(); v.State != cluster.Connected || v.Epoch != 1 {
			t.Errorf("got %v, epoch %d; want connected, 1", v.State, v.Epoch)
		}
	})

	bubble("VerdictWaitsForTheCheck", func(t *testing.T) {
		m, b := setup(t)
		b.server.set(func(s *server) { s.hung = true })
		m.Suspect(time.Now(), false)
		begin := time.Now()
		v, err := m.Verdict(t.Context())
		if err != nil || v.State != cluster.Lost {
			t.Fatalf("got %v, %v; want lost", v.State, err)
		}
		if took := time.Since(begin); took < 2*time.Second {
			t.Errorf("verdict after %v, before ping and login can have timed out", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := m.Verdict(ctx); err != nil {
			t.Errorf("a verdict that is there: %v", err)
		}
	})

	bubble("CredentialsAreNotAnOutage", func(t *testing.T) {
		m, b := setup(t)
		for _, c := range []struct {
			code string
			want cluster.State
		}{{"28P01", cluster.AuthenticationFailed}, {"3D000", cluster.DatabaseMissing}} {
			refusal := &pgconn.PgError{Code: c.code}
			b.server.set(func(s *server) { s.down, s.logins = refusal, nil })
			until(t, m, time.Minute, func(v *cluster.View) bool { return v.State == c.want })
			time.Sleep(40 * time.Second)
			b.server.mu.Lock()
			for i := 2; i < len(b.server.logins); i++ {
				if gap := b.server.logins[i].Sub(b.server.logins[i-1]); gap < 2*time.Second || gap > 5*time.Second {
					t.Errorf("%v: logins %v apart, want 2 to 5 s", c.want, gap)
				}
			}
			b.server.mu.Unlock()
		}
		b.server.set(func(s *server) { s.down = nil })
		until(t, m, 5*time.Second, connected)
	})

	bubble("AFreshLookRefusedIsNotALoss", func(t *testing.T) {
		m, b := setup(t)
		time.Sleep(31 * time.Second)
		b.server.mu.Lock()
		looks := b.server.session
		b.server.mu.Unlock()
		if looks < 2 {
			t.Errorf("%d logins within 31 s, want a fresh one at 30", looks)
		}
		if v := m.View(); v.Epoch != 1 {
			t.Errorf("a fresh look started epoch %d", v.Epoch)
		}
	})
}
