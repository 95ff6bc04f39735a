package cluster

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"speedybites/internal/postgres/sqlstate"
)

// State is what the monitor knows of the database.
type State uint8

// The states. Only Lost is an outage; the last two need a person.
const (
	Lost State = iota
	Connected
	AuthenticationFailed
	DatabaseMissing
)

// String returns the state's name in logs.
func (s State) String() string {
	switch s {
	case Lost:
		return "lost"
	case Connected:
		return "connected"
	case AuthenticationFailed:
		return "authentication failed"
	case DatabaseMissing:
		return "missing"
	default:
		return "unknown"
	}
}

// View is what the monitor knew at one moment. It is immutable.
type View struct {
	State State
	// Epoch counts the monitor's connections. Sessions that a pool opened under an earlier epoch may be dead.
	Epoch uint64
	// Since is when the state began: for Lost, the first failure that anybody saw.
	Since time.Time
	// Err is why the database is not Connected; nil when it is.
	Err error
	// Server is the server of the monitor's session, as Session.Server names it; "" before the first. A pool must only
	// have sessions with that one.
	Server string
	// SilentSince is when the ping began that the previous session never answered, in an epoch that began for that
	// reason; else zero. Sessions not heard from since are likely as dead.
	SilentSince time.Time
	// Check is the number of the check that this view is the verdict of.
	Check uint64
	// Changed is closed when this view has been replaced.
	Changed <-chan struct{}

	replaced chan struct{}
}

// Session is the monitor's own connection.
type Session interface {
	// Ping asks the server for a sign of life, and whether it is still the primary.
	Ping(ctx context.Context) error
	// Server names the server that the session is with.
	Server() string
	// Close ends the session without waiting for the server.
	Close()
}

// Config is the configuration of a Monitor. Every duration must be positive.
type Config struct {
	// Login opens a session. It must respect ctx.
	Login func(ctx context.Context) (Session, error)
	// Heartbeat is the time between pings while connected. Default 1 s.
	Heartbeat time.Duration
	// PingTimeout bounds a ping. Default 2 s.
	PingTimeout time.Duration
	// LoginTimeout bounds the login that confirms a loss. Default 1.5 s.
	LoginTimeout time.Duration
	// Look is the time between fresh logins while connected, which notice a password or a limit that no longer lets
	// anybody in. Default 30 s.
	Look time.Duration
	// ProbeMin and ProbeMax bound the jittered time between logins while lost. Defaults 400 and 800 ms.
	ProbeMin, ProbeMax time.Duration
	// OnConnected is told of every new epoch before anybody can see it.
	OnConnected func(previous, now View)
	// OnLost is told of every loss after everybody can see it.
	OnLost func(now View)
	// Logger receives losses and recoveries.
	Logger *slog.Logger
	// LossLevel is the level of a loss's line. Default INFO, as slog's.
	LossLevel slog.Level
}

// Defaults returns cfg with the documented default for every duration that is zero.
func (c Config) Defaults() Config {
	set := func(d *time.Duration, fallback time.Duration) {
		if *d == 0 {
			*d = fallback
		}
	}
	set(&c.Heartbeat, time.Second)
	set(&c.PingTimeout, 2*time.Second)
	set(&c.LoginTimeout, 1500*time.Millisecond)
	set(&c.Look, 30*time.Second)
	set(&c.ProbeMin, 400*time.Millisecond)
	set(&c.ProbeMax, 800*time.Millisecond)
	return c
}

// Monitor watches one database. Create it with New.
type Monitor struct {
	cfg    Config
	cancel context.CancelFunc
	done   chan struct{}
	kick   chan struct{} // capacity 1: a check is wanted

	view atomic.Pointer[View]

	mu      sync.Mutex
	started uint64 // checks begun
	wanted  uint64 // the latest check that somebody waits for
	login   bool   // the next check must be a login: a ping cannot tell whether logins work
	// The first failure reported since the latest check began, and the first one that this check is about. A check that
	// succeeds refutes the latter only.
	reported, examined time.Time
}

// New returns a monitor that is Lost, since now, until Start has let it make its first check.
func New(cfg Config) *Monitor {
	m := &Monitor{cfg: cfg.Defaults(), kick: make(chan struct{}, 1), wanted: 1}
	m.view.Store(newView(View{Since: time.Now(), Err: errors.New("not connected yet")}))
	return m
}

// Start starts looking for the database. Close must follow.
func (m *Monitor) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel, m.done = cancel, make(chan struct{})
	go func() {
		defer close(m.done)
		m.run(ctx)
	}()
}

// Close stops the monitor and waits for it. Its last view stays.
func (m *Monitor) Close() {
	m.cancel()
	<-m.done
}

// View returns what the monitor knows. It costs one atomic load.
func (m *Monitor) View() *View { return m.view.Load() }

// Suspect reports a failure that a query saw at the given time, and asks for a check: by a fresh login when the failure
// was one, else by a ping. The verdict on it is the first view whose Check is at least the number returned, or any that
// is not Connected.
func (m *Monitor) Suspect(at time.Time, login bool) uint64 {
	m.mu.Lock()
	if m.reported.IsZero() || at.Before(m.reported) {
		m.reported = at
	}
	m.login = m.login || login
	m.wanted = m.started + 1 // one that is under way began before the failure
	n := m.wanted
	m.mu.Unlock()
	select {
	case m.kick <- struct{}{}:
	default:
	}
	return n
}

// Verdict waits for the check that is wanted now, if one is, and returns the view then: at once unless a failure has
// just been reported or the monitor has just been started. The error is ctx's.
func (m *Monitor) Verdict(ctx context.Context) (*View, error) {
	m.mu.Lock()
	wanted := m.wanted
	m.mu.Unlock()
	for {
		v := m.View()
		if v.Check >= wanted || (v.State != Connected && v.Check > 0) {
			return v, nil
		}
		select {
		case <-v.Changed:
		case <-ctx.Done():
			return v, ctx.Err()
		}
	}
}

func newView(v View) *View {
	v.replaced = make(chan struct{})
	v.Changed = v.replaced
	return &v
}

// publish replaces the view. Only run's goroutine calls it.
func (m *Monitor) publish(v View) {
	previous := m.view.Load()
	next := newView(v)
	if v.State == Connected && v.Epoch != previous.Epoch && m.cfg.OnConnected != nil {
		m.cfg.OnConnected(*previous, *next)
	}
	m.view.Store(next)
	close(previous.replaced)
	if v.State != Connected && previous.State == Connected && m.cfg.OnLost != nil {
		m.cfg.OnLost(*next)
	}
	m.announce(*previous, *next)
}

// announce logs what changed.
func (m *Monitor) announce(previous, now View) {
	ctx := context.Background()
	switch {
	case now.State == Connected && previous.State != Connected:
		m.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "database connected",
			slog.Uint64("epoch", now.Epoch), slog.Duration("after", now.Since.Sub(previous.Since)))
	case now.State == Connected && previous.Epoch != now.Epoch:
		m.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "database sessions lost, the server is there",
			slog.Uint64("epoch", now.Epoch))
	case now.State != Connected && (previous.State != now.State || previous.Check == 0):
		m.cfg.Logger.LogAttrs(ctx, m.cfg.LossLevel, "database "+now.State.String(),
			slog.Any("error", now.Err), slog.Time("since", now.Since))
	}
}

// lost is the view after a check that failed.
func (m *Monitor) lost(check uint64, err error) View {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	previous := m.View()
	v := View{State: stateOf(err), Epoch: previous.Epoch, Since: now, Err: err, Check: check, Server: previous.Server}
	for _, failure := range []time.Time{m.examined, m.reported} {
		if !failure.IsZero() && failure.Before(v.Since) {
			v.Since = failure
		}
	}
	m.examined, m.reported = time.Time{}, time.Time{}
	if previous.State != Connected {
		v.Since = previous.Since
		if previous.State != v.State && v.State == Lost && previous.Check > 0 {
			v.Since = now // an outage that follows a wrong password starts its own clock
		}
	}
	return v
}

// connected is the view after a check that succeeded, with a session of the given epoch and server.
func (m *Monitor) connected(check, epoch uint64, server string) View {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.examined = time.Time{}
	previous := m.View()
	v := View{State: Connected, Epoch: epoch, Since: previous.Since, Check: check, Server: server}
	if previous.State != Connected {
		v.Since = time.Now()
	}
	return v
}

// begin numbers a check, and reports whether it has to be a login.
func (m *Monitor) begin() (check uint64, login bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started++
	if m.examined.IsZero() {
		m.examined = m.reported
	}
	m.reported = time.Time{}
	login, m.login = m.login, false
	return m.started, login
}

// full reports whether a login failed because the server has no place for it: it is there, and serves those it has.
func full(err error) bool { return sqlstate.Code(err) == "53300" }

func stateOf(err error) State {
	switch {
	case sqlstate.Code(err) == "3D000":
		return DatabaseMissing
	case sqlstate.Classify(context.Background(), err) == sqlstate.Credentials:
		return AuthenticationFailed
	}
	return Lost
}
