package cluster

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// maxProbes bounds the logins under way at once while lost.
const maxProbes = 4

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

// watch pings session until it fails. It returns the session to go on with: a fresh one when the server still lets us
// in, nil when the database is lost or ctx has ended.
func (m *Monitor) watch(ctx context.Context, session Session) Session {
	heartbeat := time.NewTicker(m.cfg.Heartbeat)
	defer heartbeat.Stop()
	look := time.NewTicker(jitter(m.cfg.Look*9/10, m.cfg.Look))
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			session.Close()
			return nil
		case <-look.C:
			session = m.look(ctx, session)
			continue
		case <-heartbeat.C:
		case <-m.kick:
		}
		check := m.begin()
		err := m.ping(ctx, session)
		if err == nil {
			m.publish(m.connected(check, m.View().Epoch))
			continue
		}
		session.Close()
		if ctx.Err() != nil {
			return nil
		}
		m.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "database heartbeat failed", slog.Any("error", err))
		return m.confirm(ctx, check)
	}
}

// confirm tells a lost session from a lost server by one login.
func (m *Monitor) confirm(ctx context.Context, check uint64) Session {
	session, err := m.login(ctx, m.cfg.LoginTimeout)
	switch {
	case err == nil:
		m.publish(m.connected(check, m.View().Epoch+1))
		return session
	case ctx.Err() == nil:
		m.publish(m.lost(check, err))
	}
	return nil
}

// look replaces the session by a fresh login, which is the only way to learn that logins no longer work. A refusal is
// not a loss: the sessions there are go on working.
func (m *Monitor) look(ctx context.Context, session Session) Session {
	fresh, err := m.login(ctx, m.cfg.LoginTimeout)
	if err != nil {
		if ctx.Err() == nil {
			m.cfg.Logger.LogAttrs(ctx, slog.LevelError, "database refuses a fresh login, open sessions still work",
				slog.Any("error", err))
		}
		return session
	}
	session.Close()
	return fresh
}

type loginResult struct {
	session Session
	err     error
}

// reconnect tries logins until one works and returns its session, or nil when ctx has ended.
func (m *Monitor) reconnect(ctx context.Context) Session {
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan loginResult)
	var probes sync.WaitGroup
	defer func() {
		cancel()
		probes.Wait()
	}()
	timeout := max(m.cfg.LoginTimeout, m.cfg.ProbeMax*(maxProbes-1))
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
				session, err := m.login(ctx, timeout)
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
			check := m.begin()
			if r.err == nil {
				m.publish(m.connected(check, m.View().Epoch+1))
				return r.session
			}
			m.publish(m.lost(check, r.err))
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

func (m *Monitor) login(ctx context.Context, timeout time.Duration) (Session, error) {
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
