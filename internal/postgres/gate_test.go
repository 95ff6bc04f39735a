package postgres

import (
	"context"
	"errors"
	"runtime"
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

func queued(g *gate) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.queued
}

// bubbles returns a function that runs a subtest in a bubble of its own.
func bubbles(t *testing.T) func(name string, f func(t *testing.T)) {
	t.Helper()
	return func(name string, f func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, f)
		})
	}
}

func TestGate(t *testing.T) {
	t.Parallel()
	bubble := bubbles(t)

	bubble("FirstComeFirstServed", func(t *testing.T) {
		g := newGate(1, 100, time.Minute)
		if err := g.enter(t.Context(), reading, nil); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []int
		for i := range 20 {
			go func() {
				if err := g.enter(t.Context(), reading, nil); err != nil {
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
		_ = g.enter(t.Context(), reading, nil)
		if _, err := g.park(reading, false); err != nil { // parked and queued share the places
			t.Fatal(err)
		}
		go func() { _ = g.enter(t.Context(), reading, nil) }()
		synctest.Wait()
		begin := time.Now()
		if err := g.enter(t.Context(), reading, nil); !errors.Is(err, ErrSaturated) || time.Since(begin) != 0 {
			t.Errorf("got %v after %v, want ErrSaturated at once", err, time.Since(begin))
		}
		if _, err := g.park(reading, false); !errors.Is(err, ErrSaturated) {
			t.Errorf("park: got %v, want ErrSaturated", err)
		}
		if _, err := g.park(reading, true); err != nil {
			t.Errorf("park of a query that waited before: %v", err)
		}
		g.leave()
	})

	bubble("GivesUpAfterTheTimeout", func(t *testing.T) {
		g := newGate(1, 5, 10*time.Second)
		_ = g.enter(t.Context(), reading, nil)
		begin := time.Now()
		err := g.enter(t.Context(), reading, nil)
		if !errors.Is(err, ErrSaturated) || time.Since(begin) != 10*time.Second {
			t.Errorf("got %v after %v, want ErrSaturated after 10s", err, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.enter(ctx, reading, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the caller's deadline", err)
		}
		if g.waitingQueue() != 0 || queued(g) != 0 {
			t.Errorf("left over: %d waiting, %d queued", g.waitingQueue(), queued(g))
		}
	})

	bubble("KeepsThePlaceOfAParkedQuery", func(t *testing.T) {
		g := newGate(1, 1, time.Minute)
		_ = g.enter(t.Context(), reading, nil)
		p, err := g.park(reading, false)
		if err != nil {
			t.Fatal(err)
		}
		admitted := false
		go func() { admitted = g.enter(t.Context(), reading, p) == nil }()
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
			go func() { _ = g.enter(t.Context(), reading, nil) }()
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

// BenchmarkGate measures a query that finds a connection free, and one that is handed the connection of the one before.
func BenchmarkGate(b *testing.B) {
	b.Run("Free", func(b *testing.B) {
		g := newGate(20, 1000, 10*time.Second)
		ctx := b.Context()
		b.ReportAllocs()
		for b.Loop() {
			if err := g.enter(ctx, reading, nil); err != nil {
				b.Fatal(err)
			}
			g.leave()
		}
	})
	b.Run("Queued", func(b *testing.B) {
		g := newGate(2, 1000, 10*time.Second)
		b.ReportAllocs()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := g.enter(b.Context(), reading, nil); err != nil {
					b.Error(err)
					return
				}
				runtime.Gosched() // somebody else comes meanwhile
				g.leave()
			}
		})
	})
}
