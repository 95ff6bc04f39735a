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

// readShare is the share of the turns that waiting reads get at least: one in so many. The others are the writes', so an
// order waits for little more than the orders before it, and reads are never starved: without menus there are no orders.
const readShare = 10

// class is what the gate tells apart. A write is worth more: behind it is somebody's order.
type class uint8

const (
	reading class = iota
	writing
	classes // their number
)

// gate admits as many queries as the pool has connections, and bounds those that wait: for a connection here, or parked
// until the end of an outage. pgxpool has neither a bound nor a count of its waiters.
//
// Each class has a queue in the order of arrival. When the places are used up, a write takes that of the newest read. A
// query that would not get its turn in time is refused when it arrives, for which see pace.
type gate struct {
	maxWaiting int
	timeout    time.Duration // longest wait for a connection

	mu        sync.Mutex
	full      int // the limit outside a ramp
	limit     int
	inUse     int
	places    [classes]list.List // of *place: those that wait, in the queue or parked; the oldest first
	queues    [classes]list.List // of *place
	queued    int                // in both
	paces     [classes]pace
	sinceRead int // admissions of writes that waiting reads have let pass
	ramp      *time.Timer
}

// place is one query's place among the waiting, from its arrival until it is admitted or gives up.
type place struct {
	class class
	kept  bool // not given up to a write
	since time.Time

	element *list.Element // among the places; nil when the wait is over
	queued  *list.Element // in the queue; nil while parked
	// over is closed when the gate ends the wait: with the admission or, displaced, for the sake of a write.
	over      chan struct{}
	displaced bool // never changes once over is closed
}

// outcome is the result of a wait that the gate has ended.
func (p *place) outcome() error {
	if p.displaced {
		return errDisplaced
	}
	return nil
}

func newGate(limit, maxWaiting int, timeout time.Duration) *gate {
	g := &gate{full: limit, limit: limit, maxWaiting: maxWaiting, timeout: timeout}
	for c := range g.paces {
		g.paces[c] = newPace(limit, timeout)
	}
	return g
}

// enter waits for admission; leave must follow. p is the place of a caller that was parked: it ends with the admission.
// The error is one of ErrSaturated, or ctx's; a caller with a place still has it then, unless it was displaced.
func (g *gate) enter(ctx context.Context, c class, p *place) error {
	g.mu.Lock()
	own := p == nil
	if !own && p.displaced {
		g.mu.Unlock()
		return errDisplaced
	}
	if g.inUse < g.limit && g.queued == 0 {
		g.inUse++
		if !own {
			g.vacate(p)
		}
		g.mu.Unlock()
		return nil
	}
	if own {
		var err error
		if p, err = g.line(ctx, c); err != nil {
			g.mu.Unlock()
			return err
		}
	}
	p.queued = g.queues[p.class].PushBack(p)
	g.queued++
	g.mu.Unlock()
	return g.await(ctx, p, own)
}

// line takes a place for the queue, unless the wait would be too long for ctx. mu is held.
func (g *gate) line(ctx context.Context, c class) (*place, error) {
	if !g.room(c) {
		return nil, errQueueFull
	}
	now := time.Now()
	allowed := g.timeout
	if deadline, ok := ctx.Deadline(); ok {
		allowed = min(allowed, deadline.Sub(now))
	}
	if !g.paces[c].takes(g.queues[c].Len(), allowed, now) {
		return nil, errTooSlow
	}
	return g.take(c, now), nil
}

// room reports whether there is a place for one more, or one that it may have. mu is held.
func (g *gate) room(c class) bool {
	return g.waiting() < g.maxWaiting || c == writing && g.newestRead() != nil
}

// take takes a place, a read's if there is no other. There must be room. mu is held.
func (g *gate) take(c class, now time.Time) *place {
	if g.waiting() >= g.maxWaiting {
		g.displace(g.newestRead())
	}
	return g.place(c, now)
}

func (g *gate) place(c class, now time.Time) *place {
	p := &place{class: c, since: now, over: make(chan struct{})}
	p.element = g.places[c].PushBack(p)
	return p
}

// newestRead returns the read that has waited the least, and would wait the longest, wherever it waits; nil when there
// is none that may be displaced. mu is held.
func (g *gate) newestRead() *place {
	for e := g.places[reading].Back(); e != nil; e = e.Prev() {
		if p := e.Value.(*place); !p.kept {
			return p
		}
	}
	return nil
}

// displace ends the wait of p for the sake of a write. mu is held.
func (g *gate) displace(p *place) {
	p.displaced = true
	g.vacate(p)
	close(p.over)
}

// vacate takes p out of wherever it is. mu is held.
func (g *gate) vacate(p *place) {
	if p.element == nil {
		return
	}
	g.places[p.class].Remove(p.element)
	p.element = nil
	g.unqueue(p)
}

// unqueue takes p out of the queue. mu is held.
func (g *gate) unqueue(p *place) {
	if p.queued == nil {
		return
	}
	queue := &g.queues[p.class]
	queue.Remove(p.queued)
	p.queued = nil
	g.queued--
	if queue.Len() == 0 {
		g.paces[p.class].forget() // what comes next is not bound to be as slow
	}
}

// await waits in the queue, at most timeout. own says that the place was taken for this wait only.
func (g *gate) await(ctx context.Context, p *place, own bool) error {
	timer := time.NewTimer(g.timeout)
	defer timer.Stop()
	err := errNoneFree
	select {
	case <-p.over:
		return p.outcome()
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-p.over: // in the meantime
		return p.outcome()
	default:
	}
	g.unqueue(p)
	if own {
		g.vacate(p)
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
	for g.inUse < g.limit && g.queued > 0 {
		p := g.next()
		g.inUse++
		g.paces[p.class].moved(time.Now())
		g.vacate(p)
		close(p.over)
	}
}

// next returns the query whose turn it is; one must wait. mu is held.
func (g *gate) next() *place {
	c := writing
	switch {
	case g.queues[reading].Len() == 0:
		g.sinceRead = 0
	case g.queues[writing].Len() == 0 || g.sinceRead == readShare-1:
		c, g.sinceRead = reading, 0
	default:
		g.sinceRead++
	}
	return g.queues[c].Front().Value.(*place)
}

// park takes a place outside the queue, or fails with ErrSaturated. again says that the caller had one before: a query
// that waited its turn and then lost its connection is not turned away, and there are never more of those than
// connections.
func (g *gate) park(c class, again bool) (*place, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case again:
		p := g.place(c, time.Now())
		p.kept = true
		return p, nil
	case !g.room(c):
		return nil, errQueueFull
	}
	return g.take(c, time.Now()), nil
}

// unpark gives a place back; one that the caller has no more is given back already.
func (g *gate) unpark(p *place) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.vacate(p)
}

// troubled begins the paces anew: a connection was lost, and how slowly the queue moves says something about that, not about
// what the database gets done.
func (g *gate) troubled() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.paces {
		g.paces[c].forget()
	}
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
	for c := range g.paces {
		g.paces[c].forget()
	}
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

// waiting returns the number of places taken. mu is held.
func (g *gate) waiting() int { return g.places[reading].Len() + g.places[writing].Len() }

// waitingQueue returns the number of places taken.
func (g *gate) waitingQueue() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting()
}

// oldestWait returns how long the query that waits longest has waited, 0 when none does.
func (g *gate) oldestWait() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	longest := time.Duration(0)
	for c := range g.places {
		if oldest := g.places[c].Front(); oldest != nil {
			longest = max(longest, time.Since(oldest.Value.(*place).since))
		}
	}
	return longest
}

// admissionLimit returns how many queries may be in service now.
func (g *gate) admissionLimit() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.limit
}
