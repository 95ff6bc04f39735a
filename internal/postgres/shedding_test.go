package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestShedding is what the gate does when there are too many.
func TestShedding(t *testing.T) {
	t.Parallel()
	bubble := bubbles(t)

	bubble("WriteTakesThePlaceOfTheNewestRead", func(t *testing.T) {
		c := &crowd{t: t, g: newGate(1, 3, time.Minute)}
		c.enter(t.Context(), reading, 0)
		first := c.enter(t.Context(), reading, 0)
		parked, err := c.g.park(reading, false)
		if err != nil {
			t.Fatal(err)
		}
		last := c.enter(t.Context(), reading, 0)
		if w := c.enter(t.Context(), reading, 0); !errors.Is(w.err(), errQueueFull) {
			t.Errorf("a read too many: got %v", w.err())
		}
		time.Sleep(time.Second)

		writes := []*waiter{c.enter(t.Context(), writing, 0)}
		c.check("the newest read", last, errDisplaced)
		if !first.waits() || parked.displaced {
			t.Error("an older read had to go")
		}
		writes = append(writes, c.enter(t.Context(), writing, 0))
		select {
		case <-parked.over:
		default:
			t.Error("the parked read was not woken")
		}
		if err := parked.outcome(); !errors.Is(err, errDisplaced) || !errors.Is(err, ErrSaturated) {
			t.Errorf("the parked read got %v", err)
		}
		if err := c.g.enter(t.Context(), reading, parked); !errors.Is(err, errDisplaced) {
			t.Errorf("it entered with %v", err)
		}
		c.g.unpark(parked) // as every query does in the end
		if _, err := c.g.park(writing, false); err != nil {
			t.Errorf("a write that parks: %v", err)
		}
		synctest.Wait()
		c.check("the first read", first, errDisplaced)

		if w := c.enter(t.Context(), writing, 0); !errors.Is(w.err(), errQueueFull) || w.took() != 0 {
			t.Errorf("a write among writes: got %v after %v", w.err(), w.took())
		}
		if got := c.g.waitingQueue(); got != 3 {
			t.Errorf("waiting: got %d, want 3", got)
		}
		c.leave(2)
		for _, w := range writes {
			c.check("a write", w, nil)
		}
	})

	bubble("KeepsWhoWaitedBefore", func(t *testing.T) {
		c := &crowd{t: t, g: newGate(1, 1, time.Minute)}
		c.enter(t.Context(), reading, 0)
		old := c.enter(t.Context(), reading, 0)
		again, err := c.g.park(reading, true)
		if err != nil {
			t.Fatal(err)
		}
		write := c.enter(t.Context(), writing, 0)
		c.check("the other read", old, errDisplaced)
		if again.displaced || !write.waits() {
			t.Errorf("the read that waited before: displaced %v; the write waits %v", again.displaced, write.waits())
		}
		if w := c.enter(t.Context(), writing, 0); !errors.Is(w.err(), errQueueFull) {
			t.Errorf("a write that finds no read to displace: got %v", w.err())
		}
	})

	bubble("ReadsGetEveryTenthTurn", func(t *testing.T) {
		c := &crowd{t: t, g: newGate(1, 100, time.Minute)}
		c.enter(t.Context(), reading, 0)
		for range 4 {
			c.enter(t.Context(), reading, 0)
		}
		for range 20 {
			c.enter(t.Context(), writing, 0)
		}
		c.leave(24)
		var order []byte
		for _, w := range c.admitted[1:] {
			order = append(order, "rw"[w.class])
		}
		if got, want := string(order), "wwwwwwwwwrwwwwwwwwwrwwrr"; got != want {
			t.Errorf("turns: got %s, want %s", got, want)
		}
		for _, class := range []class{reading, writing} {
			var numbers []int
			for _, w := range c.admitted {
				if w.class == class {
					numbers = append(numbers, w.number)
				}
			}
			if !slices.IsSorted(numbers) {
				t.Errorf("within a class they overtook each other: %v", numbers)
			}
		}
	})
}

// TestGateModel lets queries come, park, go and give up at random. With each step as many are refused as are too many, a
// write never before a read, and nobody waits while a connection is free.
func TestGateModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			g := newGate(1+random.IntN(3), random.IntN(6), time.Hour)
			c := &crowd{t: t, g: g}
			var parked []*place
			giveUp := make([]context.CancelFunc, 0, 1000)
			for range 300 {
				before, reads := g.waitingQueue(), g.places[reading].Len()
				busy, refused := used(g) == g.full, c.refused()+displaced(parked)
				come := class(random.IntN(int(classes)))
				step := random.IntN(6)
				switch {
				case step < 2:
					ctx, cancel := context.WithCancel(t.Context())
					giveUp = append(giveUp, cancel)
					c.enter(ctx, come, 0)
				case step == 2:
					busy = true // who parks needs a place at any rate
					p, err := g.park(come, false)
					if err == nil {
						parked = append(parked, p)
					} else {
						c.arrive(come).ended.Store(&wait{err: err})
					}
					synctest.Wait()
				case step == 3 && used(g) > 0:
					c.leave(1)
				case step == 4 && len(giveUp) > 0:
					giveUp[random.IntN(len(giveUp))]()
					synctest.Wait()
				case step == 5 && len(parked) > 0:
					p := parked[0]
					parked = parked[1:]
					c.run(t.Context(), p.class, p, 0) // a place is at stake no more
					refused = c.refused() + displaced(parked)
				}
				more := c.refused() + displaced(parked) - refused
				want := 0
				if step <= 2 && busy && before == g.maxWaiting {
					want = 1
				}
				if more != want {
					t.Fatalf("seed %d: step %d with %d of %d places taken: %d refused, want %d", seed, step, before, g.maxWaiting, more, want)
				}
				if want == 1 && come == writing && reads > 0 && g.places[reading].Len() != reads-1 {
					t.Fatalf("seed %d: a write was refused while %d reads waited", seed, reads)
				}
				if queued(g) > 0 && used(g) < g.limit || used(g) > g.limit || g.waitingQueue() > g.maxWaiting {
					t.Fatalf("seed %d: %d queued, %d of %d in use, %d waiting", seed, queued(g), used(g), g.limit, g.waitingQueue())
				}
			}
			for _, p := range parked {
				g.unpark(p)
			}
			for used(g) > 0 {
				c.leave(1)
			}
			c.checkEmpty()
			for _, cancel := range giveUp {
				cancel()
			}
		})
	}
}

// displaced returns how many places have been lost to writes.
func displaced(places []*place) (n int) {
	for _, p := range places {
		if p.displaced {
			n++
		}
	}
	return n
}
