package postgres

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func used(g *gate) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inUse
}

func TestGate(t *testing.T) {
	t.Parallel()
	bubble := func(name string, f func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, f)
		})
	}

	bubble("FirstComeFirstServed", func(t *testing.T) {
		g := newGate(1, 100, time.Minute)
		if err := g.enter(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []int
		for i := range 20 {
			go func() {
				if err := g.enter(t.Context(), nil); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				g.leave()
			}()
			synctest.Wait()
		}
		time.Sleep(time.Second)
		if got := g.waitingQueue(); got != 20 || g.oldestWait() != time.Second {
			t.Errorf("waiting: got %d for %v, want 20 for 1s", got, g.oldestWait())
		}
		g.leave()
		synctest.Wait()
		if !slices.IsSorted(order) || len(order) != 20 {
			t.Errorf("admitted in the order %v", order)
		}
		if used(g) != 0 || g.waitingQueue() != 0 {
			t.Errorf("left over: %d in use, %d waiting", used(g), g.waitingQueue())
		}
	})

	bubble("RefusesOneTooManyAtOnce", func(t *testing.T) {
		g := newGate(1, 2, time.Minute)
		_ = g.enter(t.Context(), nil)
		if _, err := g.park(false); err != nil { // parked and queued share the places
			t.Fatal(err)
		}
		go func() { _ = g.enter(t.Context(), nil) }()
		synctest.Wait()
		begin := time.Now()
		if err := g.enter(t.Context(), nil); !errors.Is(err, ErrSaturated) || time.Since(begin) != 0 {
			t.Errorf("got %v after %v, want ErrSaturated at once", err, time.Since(begin))
		}
		if _, err := g.park(false); !errors.Is(err, ErrSaturated) {
			t.Errorf("park: got %v, want ErrSaturated", err)
		}
		if _, err := g.park(true); err != nil {
			t.Errorf("park of a query that waited before: %v", err)
		}
		g.leave()
	})

	bubble("GivesUpAfterTheTimeout", func(t *testing.T) {
		g := newGate(1, 5, 10*time.Second)
		_ = g.enter(t.Context(), nil)
		begin := time.Now()
		err := g.enter(t.Context(), nil)
		if !errors.Is(err, ErrSaturated) || time.Since(begin) != 10*time.Second {
			t.Errorf("got %v after %v, want ErrSaturated after 10s", err, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.enter(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the caller's deadline", err)
		}
		if g.waitingQueue() != 0 || g.queue.Len() != 0 {
			t.Errorf("left over: %d waiting, %d queued", g.waitingQueue(), g.queue.Len())
		}
	})

	bubble("KeepsThePlaceOfAParkedQuery", func(t *testing.T) {
		g := newGate(1, 1, time.Minute)
		_ = g.enter(t.Context(), nil)
		p, err := g.park(false)
		if err != nil {
			t.Fatal(err)
		}
		admitted := false
		go func() { admitted = g.enter(t.Context(), p) == nil }()
		synctest.Wait()
		if got := g.waitingQueue(); got != 1 {
			t.Errorf("waiting: got %d, want the parked one only", got)
		}
		g.leave()
		synctest.Wait()
		if !admitted || g.waitingQueue() != 0 {
			t.Errorf("admitted %v, %d waiting", admitted, g.waitingQueue())
		}
	})

	bubble("RampsUp", func(t *testing.T) {
		g := newGate(20, 100, time.Minute)
		g.rampUp()
		for range 40 {
			go func() { _ = g.enter(t.Context(), nil) }()
		}
		for _, want := range []int{4, 8, 16, 20, 20} {
			synctest.Wait()
			if got := used(g); got != want {
				t.Errorf("in use: got %d, want %d", got, want)
			}
			time.Sleep(rampStep)
		}
		for range 40 {
			g.leave()
			synctest.Wait()
		}
		if used(g) != 0 || g.waitingQueue() != 0 {
			t.Errorf("left over: %d in use, %d waiting", used(g), g.waitingQueue())
		}
	})
}
