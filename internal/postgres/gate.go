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

	mu      sync.Mutex
	full    int // the limit outside a ramp
	limit   int
	inUse   int
	waiting int       // places taken: in queue, or parked
	queue   list.List // of *ticket
	ramp    *time.Timer
}

// ticket is one query's place in the queue. ready is closed when it is admitted.
type ticket struct {
	ready chan struct{}
}

func newGate(limit, maxWaiting int, timeout time.Duration) *gate {
	return &gate{full: limit, limit: limit, maxWaiting: maxWaiting, timeout: timeout}
}

// enter waits for admission; leave must follow. placed says that the caller holds a waiting place already (it was
// parked), which ends with the admission. The error is ErrSaturated, or ctx's; a caller with a place still has it then.
func (g *gate) enter(ctx context.Context, placed bool) error {
	g.mu.Lock()
	if g.inUse < g.limit && g.queue.Len() == 0 {
		g.inUse++
		if placed {
			g.waiting--
		}
		g.mu.Unlock()
		return nil
	}
	if !placed {
		if g.waiting >= g.maxWaiting {
			g.mu.Unlock()
			return ErrSaturated
		}
		g.waiting++
	}
	t := &ticket{ready: make(chan struct{})}
	element := g.queue.PushBack(t)
	g.mu.Unlock()
	return g.await(ctx, t, element, placed)
}

// await waits in the queue, at most timeout.
func (g *gate) await(ctx context.Context, t *ticket, element *list.Element, placed bool) error {
	timer := time.NewTimer(g.timeout)
	defer timer.Stop()
	err := ErrSaturated
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
	if !placed {
		g.waiting--
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
		g.waiting--
		close(t.ready)
	}
}

// park takes a waiting place outside the queue, or fails with ErrSaturated. again says that the caller had a place
// before: a query that waited its turn and then lost its connection is not turned away, and there are never more of
// those than connections.
func (g *gate) park(again bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.waiting >= g.maxWaiting && !again {
		return ErrSaturated
	}
	g.waiting++
	return nil
}

// unpark gives a waiting place back.
func (g *gate) unpark() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting--
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

// waitingQueue returns the number of waiting places taken.
func (g *gate) waitingQueue() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting
}
