package cluster

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// maxProbes bounds the logins under way at once while lost, probeTimeout each of them. A server that comes back slowly
// must get its time; one that swallows a login must not keep the next from finding it: at the usual pace, there is room
// for a new one until the oldest ends.
const (
	maxProbes    = 10
	probeTimeout = 4 * time.Second
)

// credentialsPause stretches the time between logins that the server refuses: hammering would fill its log, and its
// answer only changes when somebody acts. With the default probing it stays below 5 s.
const credentialsPause = 5

// run alternates between watching a session and finding a new one until ctx ends.
func (m *Monitor) run(ctx context.Context) {
	for ctx.Err() == nil {
		session := m.reconnect(ctx)
		for session != nil {
			session = m.watch(ctx, session)
		}
	}
}

// watch checks session until it fails. It returns the session to go on with: a fresh one when the server still lets us
// in, nil when it does not or ctx has ended.
func (m *Monitor) watch(ctx context.Context, session Session) Session {
	heartbeat := time.NewTicker(m.cfg.Heartbeat)
	defer heartbeat.Stop()
	look := time.NewTicker(jitter(m.cfg.Look*9/10, m.cfg.Look))
	defer look.Stop()
	for {
		var fresh bool
		select {
		case <-ctx.Done():
			session.Close()
			return nil
		case <-look.C:
			fresh = true
		case <-heartbeat.C:
		case <-m.kick:
		}
		check, login := m.begin()
		if fresh || login {
			if session = m.look(ctx, check, session, login); session == nil {
				return nil
			}
			continue
		}
		began := time.Now()
		err := m.ping(ctx, session)
		if err == nil {
			m.publish(m.connected(check, m.View().Epoch, session.Server()))
			continue
		}
		session.Close()
		if ctx.Err() != nil {
			return nil
		}
		m.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "database heartbeat failed", slog.Any("error", err))
		if !errors.Is(err, context.DeadlineExceeded) {
			began = time.Time{} // it was not silence
		}
		return m.confirm(ctx, check, began)
	}
}

// confirm tells a lost session from a lost server by one login. silentSince is when a ping began that was not answered.
func (m *Monitor) confirm(ctx context.Context, check uint64, silentSince time.Time) Session {
	session, err := m.loginWithin(ctx, m.cfg.LoginTimeout)
	switch {
	case err == nil:
		v := m.connected(check, m.View().Epoch+1, session.Server())
		v.SilentSince = silentSince
		m.publish(v)
		return session
	case ctx.Err() != nil:
		return nil
	case full(err):
		m.publish(m.connected(check, m.View().Epoch+1, m.View().Server))
		return nil
	}
	m.publish(m.lost(check, err))
	return nil
}

// look replaces the session by a fresh login, which is the only way to learn whether logins work. A server that has no
// place, or no longer takes the password, still serves the sessions it has; so does one that somebody only looks at in
// passing. But when logins were seen to fail, one that fails again is a loss: a server that is shutting down smartly
// waits for just those sessions to end.
func (m *Monitor) look(ctx context.Context, check uint64, session Session, suspected bool) Session {
	fresh, err := m.loginWithin(ctx, m.cfg.LoginTimeout)
	switch {
	case err == nil:
		epoch := m.View().Epoch
		// Whatever made logins fail may have ended the sessions as well, this one with them.
		if fresh.Server() != session.Server() || (suspected && m.ping(ctx, session) != nil) {
			epoch++
		}
		session.Close()
		m.publish(m.connected(check, epoch, fresh.Server()))
		return fresh
	case ctx.Err() != nil:
		session.Close()
		return nil
	case suspected && stateOf(err) == Lost && !full(err):
		session.Close()
		m.publish(m.lost(check, err))
		return nil
	}
	m.cfg.Logger.LogAttrs(ctx, slog.LevelError, "database refuses a fresh login, open sessions still work",
		slog.Any("error", err))
	m.publish(m.connected(check, m.View().Epoch, session.Server()))
	return session
}

type loginResult struct {
	session Session
	err     error
}

// reconnect tries logins until one works and returns its session, or nil when ctx has ended. The database may be
// Connected meanwhile: full, it serves the sessions it has.
func (m *Monitor) reconnect(ctx context.Context) Session {
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan loginResult)
	var probes sync.WaitGroup
	defer func() {
		cancel()
		probes.Wait()
	}()
	timer := time.NewTimer(0)
	if m.View().Check > 0 { // the login that confirmed the loss was just now
		timer.Reset(m.pause())
	}
	defer timer.Stop()
	for running := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			timer.Reset(m.pause())
			if running == maxProbes {
				continue
			}
			running++
			probes.Go(func() {
				session, err := m.loginWithin(ctx, probeTimeout)
				select {
				case results <- loginResult{session, err}:
				case <-ctx.Done():
					if err == nil {
						session.Close()
					}
				}
			})
		case r := <-results:
			running--
			check, _ := m.begin()
			view := m.View()
			switch {
			case r.err == nil:
				m.publish(m.connected(check, view.Epoch+1, r.session.Server()))
				return r.session
			case view.State == Connected && full(r.err):
				m.publish(m.connected(check, view.Epoch, view.Server))
			default:
				m.publish(m.lost(check, r.err))
			}
		}
	}
}

// pause returns the time to the next login while lost.
func (m *Monitor) pause() time.Duration {
	d := jitter(m.cfg.ProbeMin, m.cfg.ProbeMax)
	if s := m.View().State; s == AuthenticationFailed || s == DatabaseMissing {
		d *= credentialsPause
	}
	return d
}

func (m *Monitor) loginWithin(ctx context.Context, timeout time.Duration) (Session, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return m.cfg.Login(ctx)
}

func (m *Monitor) ping(ctx context.Context, session Session) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.PingTimeout)
	defer cancel()
	return session.Ping(ctx)
}

// jitter returns a random duration in [from, to).
func jitter(from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return from + rand.N(to-from) //nolint:gosec // jitter needs no secrecy
}
