package chaos

import (
	"sync"
	"time"
)

// The promises, with the documented defaults.
const (
	// grace is DB_OUTAGE_GRACE_MS.
	grace = 10 * time.Second
	// recovery is the time from the database's return to the first success while the breaker is OPEN; while it is CLOSED,
	// half of that.
	recovery = 2 * time.Second
	// hung is how long a server that says nothing may go unnoticed.
	hung = 5 * time.Second
	// longestWait bounds every request: nothing takes longer than a hung server unnoticed, the grace and a second.
	longestWait = hung + grace + time.Second
	// healthLimit bounds the answer of /api/health.
	healthLimit = 1500 * time.Millisecond
)

// allowance is what an instance may do in a window.
type allowance int

const (
	// unavailable: answer 503, as the outage is older than the grace.
	unavailable allowance = iota
	// unwritable: the same to writes only, as there is a replica to read from.
	unwritable
	// scarce: answer 503, as the server has no connection free.
	scarce
	// gone: not answer, as it was killed.
	gone
	// closing: refuse connections, as it was asked to end. It must answer what it has accepted.
	closing
)

// window is a span of time in which an instance may do what it must not do otherwise.
type window struct {
	what     allowance
	instance int
	from, to time.Time // to is zero while it is open
}

// windows is all that is allowed, and when.
type windows struct {
	noise time.Duration // Config.Noise

	mu   sync.Mutex
	list []*window
}

// open begins a window, and returns how to end it.
func (ws *windows) open(what allowance, instance int, from time.Time) (end func(time.Time)) {
	w := &window{what: what, instance: instance, from: from}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.list = append(ws.list, w)
	return func(to time.Time) {
		ws.mu.Lock()
		defer ws.mu.Unlock()
		w.to = to
	}
}

// allow reports whether an instance may do something somewhere between from and to.
func (ws *windows) allow(what allowance, instance int, from, to time.Time) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.list {
		if w.what == what && w.instance == instance && !to.Before(w.from) && (w.to.IsZero() || !from.After(w.to)) {
			return true
		}
	}
	return false
}
