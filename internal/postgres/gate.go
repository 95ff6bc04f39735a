package postgres

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// rampStart and rampStep are the contract's way back from an outage: at most 4 queries at first, the limit doubling
// every 50 ms up to the pool's.
const (
	rampStart = 4
	rampStep  = 50 * time.Millisecond
)

// gate admits as many queries as the pool has connections, in the order of their arrival, and bounds those that wait:
// for a connection here, or parked until the end of an outage. pgxpool has neither a bound nor a count of its waiters.
type gate struct {
	maxWaiting int
	timeout    time.Duration // longest wait for a connection

	mu     sync.Mutex
	full   int // the limit outside a ramp
	limit  int
	inUse  int
	places list.List // of time.Time: those that wait, in the queue or parked, and since when; the oldest first
	queue  list.List // of *ticket
	ramp   *time.Timer
}

// place is one query's place among the waiting; nil is none.
type place = *list.Element

// ticket is one query's place in the queue. ready is closed when it is admitted.
type ticket struct {
	ready chan struct{}
	place place
}

func newGate(limit, maxWaiting int, timeout time.Duration) *gate {
	return &gate{full: limit, limit: limit, maxWaiting: maxWaiting, timeout: timeout}
}

// enter waits for admission; leave must follow. p is the place of a caller that was parked: it ends with the admission.
// The error is one of ErrSaturated, or ctx's; a caller with a place still has it then.
func (g *gate) enter(ctx context.Context, p place) error {
	g.mu.Lock()
	if g.inUse < g.limit && g.queue.Len() == 0 {
		g.inUse++
		if p != nil {
			g.places.Remove(p)
		}
		g.mu.Unlock()
		return nil
	}
	t := &ticket{ready: make(chan struct{}), place: p}
	if p == nil {
		if g.places.Len() >= g.maxWaiting {
			g.mu.Unlock()
			return errQueueFull
		}
		t.place = g.places.PushBack(time.Now())
	}
	element := g.queue.PushBack(t)
	g.mu.Unlock()
	return g.await(ctx, t, element, p == nil)
}

// await waits in the queue, at most timeout. own says that the place was taken for this wait only.
func (g *gate) await(ctx context.Context, t *ticket, element *list.Element, own bool) error {
	timer := time.NewTimer(g.timeout)
	defer timer.Stop()
	err := errNoneFree
	select {
	case <-t.ready:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-t.ready: // admitted in the meantime
		return nil
	default:
	}
	g.queue.Remove(element)
	if own {
		g.places.Remove(t.place)
	}
	return err
}

// leave gives the admission back.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inUse--
	g.admit()
}

// admit lets waiting queries in up to the limit. mu is held.
func (g *gate) admit() {
	for g.inUse < g.limit && g.queue.Len() > 0 {
		t := g.queue.Remove(g.queue.Front()).(*ticket)
		g.inUse++
		g.places.Remove(t.place)
		close(t.ready)
	}
}

// park takes a place outside the queue, or fails with ErrSaturated. again says that the caller had one before: a query
// that waited its turn and then lost its connection is not turned away, and there are never more of those than
// connections.
func (g *gate) park(again bool) (place, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.places.Len() >= g.maxWaiting && !again {
		return nil, errQueueFull
	}
	return g.places.PushBack(time.Now()), nil
}

// unpark gives a place back.
func (g *gate) unpark(p place) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.places.Remove(p)
}

// rampUp starts over at 4 admissions and doubles them every 50 ms, so that a database that has just come back is not
// met by everybody who waited for it.
func (g *gate) rampUp() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = min(rampStart, g.full)
	if g.ramp != nil {
		g.ramp.Stop()
	}
	g.ramp = time.AfterFunc(rampStep, g.widen)
}

func (g *gate) widen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = min(g.limit*2, g.full)
	if g.limit < g.full {
		g.ramp.Reset(rampStep)
	}
	g.admit()
}

// waitingQueue returns the number of places taken.
func (g *gate) waitingQueue() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.places.Len()
}

// oldestWait returns how long the query that waits longest has waited, 0 when none does.
func (g *gate) oldestWait() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if oldest := g.places.Front(); oldest != nil {
		return time.Since(oldest.Value.(time.Time))
	}
	return 0
}

// admissionLimit returns how many queries may be in service now.
func (g *gate) admissionLimit() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.limit
}
