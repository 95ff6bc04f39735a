package postgres

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// waiter is a query of a test. Its wait is over once ended is set.
type waiter struct {
	class   class
	number  int
	arrived time.Time
	ended   atomic.Pointer[wait]
}

// wait is how a wait ended, and after how long.
type wait struct {
	err  error
	took time.Duration
}

func (w *waiter) waits() bool { return w.ended.Load() == nil }

// err returns why w was turned away, nil when it was admitted or waits.
func (w *waiter) err() error {
	if end := w.ended.Load(); end != nil {
		return end.err
	}
	return nil
}

// took returns how long w waited, at least an hour when it still does.
func (w *waiter) took() time.Duration {
	if end := w.ended.Load(); end != nil {
		return end.took
	}
	return time.Hour
}

// crowd is the queries of a test at one gate.
type crowd struct {
	t   *testing.T
	g   *gate
	all []*waiter

	mu       sync.Mutex
	admitted []*waiter
}

// enter has a query enter in a goroutine, and returns when it is admitted, refused, or waits. One that is admitted stays
// for the service time, until leave when that is 0.
func (c *crowd) enter(ctx context.Context, class class, service time.Duration) *waiter {
	c.t.Helper()
	return c.run(ctx, class, nil, service)
}

// run is enter for a query that may have been parked before.
func (c *crowd) run(ctx context.Context, class class, p *place, service time.Duration) *waiter {
	c.t.Helper()
	w := c.arrive(class)
	go func() {
		err := c.g.enter(ctx, class, p)
		w.ended.Store(&wait{err, time.Since(w.arrived)})
		if err != nil {
			return
		}
		c.mu.Lock()
		c.admitted = append(c.admitted, w)
		c.mu.Unlock()
		if service > 0 {
			time.Sleep(service)
			c.g.leave()
		}
	}()
	synctest.Wait()
	return w
}

func (c *crowd) arrive(class class) *waiter {
	w := &waiter{class: class, number: len(c.all), arrived: time.Now()}
	c.all = append(c.all, w)
	return w
}

// leave ends the service of n queries, one after the other.
func (c *crowd) leave(n int) {
	for range n {
		c.g.leave()
		synctest.Wait()
	}
}

// check tells how the wait of w should have ended by now, nil for an admission.
func (c *crowd) check(what string, w *waiter, want error) {
	c.t.Helper()
	switch err := w.err(); {
	case w.waits():
		c.t.Errorf("%s: still waits, want %v", what, want)
	case !errors.Is(err, want):
		c.t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

// refused returns how many queries have been refused.
func (c *crowd) refused() (n int) {
	for _, w := range c.all {
		if errors.Is(w.err(), ErrSaturated) {
			n++
		}
	}
	return n
}

// checkEmpty reports what has been left behind at the end.
func (c *crowd) checkEmpty() {
	c.t.Helper()
	if used(c.g) != 0 || c.g.waitingQueue() != 0 || queued(c.g) != 0 {
		c.t.Errorf("left over: %d in use, %d waiting, %d queued", used(c.g), c.g.waitingQueue(), queued(c.g))
	}
}
