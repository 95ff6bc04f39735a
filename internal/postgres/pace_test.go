package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// TestPace measures a queue in front of 4 connections, with a timeout of 10 s.
func TestPace(t *testing.T) {
	t.Parallel()
	var (
		p   pace
		now time.Time
	)
	start := func() { p, now = newPace(4, 10*time.Second), time.Unix(1000, 0) }
	move := func(n int, each time.Duration) {
		for range n {
			now = now.Add(each)
			p.moved(now)
		}
	}
	check := func(what string, ahead int, want bool) {
		t.Helper()
		if got := p.takes(ahead, 10*time.Second, now); got != want {
			t.Errorf("%s: behind %d others: got %v, want %v", what, ahead, got, want)
		}
	}

	start()
	move(4, 10*time.Second) // the first ones are no measure
	move(3, time.Second)
	check("after three turns", 10_000, true)
	start()
	move(4+100, 20*time.Millisecond)
	check("after two seconds", 10_000, true)

	start()
	move(4+10, 300*time.Millisecond) // 33 turns in the time allowed
	check("half known, twice the time allowed", 65, true)
	check("half known, more", 66, false)

	start()
	move(4+30, 100*time.Millisecond)
	check("three quarters of the time allowed", 74, true)
	check("more, the first", 75, true)
	check("more, the second", 75, true)
	check("more, without turns meanwhile", 75, false)
	for range 16 { // seven for eight
		move(1, 100*time.Millisecond)
		check("near the time allowed, after a turn", 90, p.credit >= eighths)
	}
	if p.credit >= eighths {
		t.Errorf("after 16 turns and as many queries %d eighths are left", p.credit)
	}
	move(16, 100*time.Millisecond)
	check("more than the time allowed", 100, false)
	if p.takes(10, time.Second, now) || !p.takes(6, time.Second, now) {
		t.Error("the time allowed is not the caller's")
	}
	check("a queue of one", 1, true)
	now = now.Add(10_000 * time.Hour)
	check("a queue that has been stuck for a year", 1, false)

	start()
	move(4+100, 100*time.Millisecond)
	now = now.Add(5 * time.Second)
	move(400, 5*time.Millisecond)
	check("the pace has changed", 650, true)
}

// steady fills a gate of one connection with queries that take 100 ms each, which is its pace after two seconds; 24
// still wait then.
func steady(t *testing.T, g *gate, class class) *crowd {
	t.Helper()
	c := &crowd{t: t, g: g}
	for range 45 {
		if w := c.enter(t.Context(), class, 100*time.Millisecond); w.err() != nil && !w.waits() {
			t.Errorf("refused at the start: %v", w.err())
		}
	}
	time.Sleep(2*time.Second + 50*time.Millisecond)
	synctest.Wait()
	return c
}

// TestTooSlow is about who is refused on arrival, because the queue is too long for its pace.
func TestTooSlow(t *testing.T) {
	t.Parallel()
	bubble := bubbles(t)

	bubble("WhatWouldMissItsTimeout", func(t *testing.T) {
		g := newGate(1, 1000, 5*time.Second)
		c := steady(t, g, reading)
		w := c.enter(t.Context(), reading, 100*time.Millisecond)
		for w.waits() {
			w = c.enter(t.Context(), reading, 100*time.Millisecond)
		}
		// The queue stops growing when it is worth three quarters of five seconds.
		if n := queued(g); !errors.Is(w.err(), errTooSlow) || n < 35 || n > 39 || w.took() != 0 {
			t.Errorf("got %v after %v with %d ahead, want errTooSlow at once with 35 to 39", w.err(), w.took(), n)
		}
		for range 16 { // seven for eight
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			c.enter(t.Context(), reading, 100*time.Millisecond)
		}
		if n := queued(g); n < 33 || n > 37 {
			t.Errorf("after 16 turns %d wait", n)
		}
		if w := c.enter(t.Context(), writing, 100*time.Millisecond); !w.waits() {
			t.Errorf("a write, which would be next: got %v", w.err())
		}
		time.Sleep(10 * time.Second)
		for _, w := range c.all {
			if w.err() != nil && !errors.Is(w.err(), errTooSlow) {
				t.Errorf("query %d waited in vain: %v after %v", w.number, w.err(), w.took())
			}
		}
		c.checkEmpty()
	})

	bubble("WhatWouldMissItsDeadline", func(t *testing.T) {
		c := steady(t, newGate(1, 1000, 7*time.Second), reading)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if w := c.enter(short, reading, 0); !errors.Is(w.err(), errTooSlow) {
			t.Errorf("a caller with a second, behind 24: got %v", w.err())
		}
		long, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if w := c.enter(long, reading, 100*time.Millisecond); !w.waits() {
			t.Errorf("a caller with five seconds: got %v", w.err())
		}
		time.Sleep(time.Minute)
	})

	bubble("WritesForWritesOnly", func(t *testing.T) {
		c := steady(t, newGate(1, 1000, 5*time.Second), writing)
		for range 30 {
			c.enter(t.Context(), writing, 100*time.Millisecond)
		}
		if w := c.enter(t.Context(), writing, 0); !errors.Is(w.err(), errTooSlow) {
			t.Errorf("a write behind some 40 writes: got %v", w.err())
		}
		if w := c.enter(t.Context(), reading, 100*time.Millisecond); !w.waits() {
			t.Errorf("a read with no read before it: got %v", w.err())
		}
		time.Sleep(time.Minute)
	})

	bubble("NobodyWithoutAPace", func(t *testing.T) {
		g := newGate(2, 1000, time.Second)
		c := &crowd{t: t, g: g}
		const slow = 900 * time.Millisecond
		for range 15 { // for all that is known, the others may be fast
			if w := c.enter(t.Context(), reading, slow); !w.waits() && w.err() != nil {
				t.Errorf("at the start: got %v", w.err())
			}
		}
		time.Sleep(time.Minute)

		c = steady(t, newGate(1, 1000, 5*time.Second), reading)
		c.g.rampUp()
		for range 100 {
			if w := c.enter(t.Context(), reading, 100*time.Millisecond); !w.waits() {
				t.Errorf("after an outage: got %v", w.err())
			}
		}
		time.Sleep(time.Minute)

		c = steady(t, newGate(1, 1000, 5*time.Second), reading)
		time.Sleep(10 * time.Second) // it runs empty
		for range 100 {
			if w := c.enter(t.Context(), reading, 10*time.Millisecond); w.err() != nil {
				t.Errorf("after a pause: got %v", w.err())
			}
		}
		time.Sleep(time.Minute)
	})

	bubble("NobodyForTheRamp", func(t *testing.T) {
		g := newGate(64, 10_000, time.Second)
		g.rampUp()
		c := &crowd{t: t, g: g}
		for range 1000 {
			c.enter(t.Context(), reading, 50*time.Millisecond)
		}
		time.Sleep(190 * time.Millisecond) // at this pace, the rest would take 3 s; at the one to come it takes 0.7 s
		if w := c.enter(t.Context(), reading, 50*time.Millisecond); w.err() != nil {
			t.Errorf("during the ramp: got %v", w.err())
		}
		time.Sleep(time.Minute)
		if n := c.refused(); n > 0 {
			t.Errorf("%d queries were refused", n)
		}
	})

	// A server that has just come back is slow with the first query of each session, and 800 have waited for it.
	bubble("NobodyAfterAnOutage", func(t *testing.T) {
		g := newGate(20, 1000, 10*time.Second)
		c := &crowd{t: t, g: g}
		for range 800 {
			p, err := g.park(reading, false)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				time.Sleep(time.Second)
				if err := g.enter(t.Context(), reading, p); err != nil {
					t.Errorf("one that was parked: %v", err)
					return
				}
				time.Sleep(10 * time.Millisecond)
				g.leave()
			}()
		}
		time.Sleep(time.Second - time.Nanosecond)
		g.rampUp()
		for range 20 {
			c.enter(t.Context(), writing, 1500*time.Millisecond)
		}
		for range 500 { // a hundred a second
			time.Sleep(10 * time.Millisecond)
			c.enter(t.Context(), reading, 10*time.Millisecond)
		}
		time.Sleep(time.Minute)
		if n := c.refused(); n > 0 {
			t.Errorf("%d queries were refused", n)
		}
		c.checkEmpty()
	})

	// The queue stands still for two seconds, and then is faster than before.
	bubble("SoonForgetsAStall", func(t *testing.T) {
		g := newGate(4, 1000, 10*time.Second)
		c := &crowd{t: t, g: g}
		for range 400 {
			c.enter(t.Context(), reading, 20*time.Millisecond)
		}
		time.Sleep(time.Second) // half of them
		synctest.Wait()
		for range 4 {
			if err := g.enter(t.Context(), writing, nil); err != nil { // they hold every connection
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		for range 4 {
			g.leave()
		}
		begin, refused := time.Now(), 0
		for queued(g) > 0 {
			if w := c.enter(t.Context(), reading, 5*time.Millisecond); errors.Is(w.err(), errTooSlow) {
				refused++
			}
			time.Sleep(10 * time.Millisecond)
		}
		if refused > 0 {
			t.Errorf("%d refused in the %v after a stall", refused, time.Since(begin))
		}
		time.Sleep(time.Minute)
	})
}

// The gate of TestEvenUnderOverload: 4 connections and 20 ms a query, so 200 queries a second.
const (
	testConnections = 4
	testService     = 20 * time.Millisecond
	testCapacity    = 200
)

// tally is what became of the queries of one second.
type tally struct{ reads, served, shed, inVain int }

// offer sends a gate so many queries a second, of which every tenth is a write. Neither arrivals nor services are regular.
// It returns a tally for each second but the first five, in which the queue grows to its length, and the number of
// writes that were shed, and of all.
func offer(t *testing.T, places, rate int, length time.Duration) (seconds []tally, shed, writes int) {
	t.Helper()
	const growing = 5 * time.Second
	g := newGate(testConnections, places, 2*time.Second)
	c := &crowd{t: t, g: g}
	random := rand.New(rand.NewPCG(1, 2))
	about := func(d time.Duration) time.Duration { return time.Duration(random.ExpFloat64() * float64(d)) }
	begin := time.Now()
	for n := 0; time.Since(begin) < growing+length; n++ {
		time.Sleep(about(time.Second / time.Duration(rate)))
		class := reading
		if n%10 == 9 {
			class = writing
		}
		c.enter(t.Context(), class, about(testService))
	}
	time.Sleep(time.Minute)
	c.checkEmpty()
	seconds = make([]tally, length/time.Second)
	for _, w := range c.all {
		second := int((w.arrived.Sub(begin) - growing) / time.Second)
		if w.arrived.Sub(begin) < growing || second >= len(seconds) {
			continue
		}
		s := &seconds[second]
		if w.err() == nil {
			s.served++
		}
		if errors.Is(w.err(), errNoneFree) {
			s.inVain++
		}
		switch {
		case w.class == writing:
			writes++
			if w.err() != nil {
				shed++
			}
		case w.err() != nil:
			s.reads++
			s.shed++
		default:
			s.reads++
		}
	}
	return seconds, shed, writes
}

// TestEvenUnderOverload offers a gate up to ten times what it can take. Its queue is bounded by its places, or by how long
// a query may wait. In no second may it refuse all reads, or none.
func TestEvenUnderOverload(t *testing.T) {
	t.Parallel()
	bubble := bubbles(t)
	const length = 30
	for _, bound := range []struct {
		name   string
		places int
	}{{"ByPlaces", 100}, {"ByTime", 100_000}} {
		for _, times := range []int{1, 2, 5, 10} {
			bubble(fmt.Sprint(bound.name, "/", times, "x"), func(t *testing.T) {
				seconds, writesShed, writes := offer(t, bound.places, times*testCapacity, length*time.Second)
				var sum tally
				fewest, most := 1.0, 0.0 // reads that are shed, of those of one second
				for _, s := range seconds {
					sum.served, sum.inVain = sum.served+s.served, sum.inVain+s.inVain
					share := float64(s.shed) / float64(s.reads)
					fewest, most = min(fewest, share), max(most, share)
				}
				good := float64(sum.served) / testCapacity / length
				t.Logf("served %.2f of the capacity; reads shed from %.2f to %.2f in a second; %d waited in vain; %d of %d writes shed",
					good, fewest, most, sum.inVain, writesShed, writes)
				if good < 0.93 {
					t.Errorf("served %.2f of the capacity", good)
				}
				if times > 1 && (fewest < 0.1 || most == 1 && writesShed == 0) {
					t.Errorf("the reads of a second were shed from %.2f to %.2f", fewest, most)
				}
				if sum.inVain*50 > sum.served {
					t.Errorf("%d waited in vain, %d were served", sum.inVain, sum.served)
				}
				if times < 10 && writesShed > 0 { // at ten times, the writes alone are all that can be served
					t.Errorf("%d of %d writes were shed", writesShed, writes)
				}
				if writesShed*5 > writes {
					t.Errorf("%d of %d writes were shed, a tenth of the turns is for reads", writesShed, writes)
				}
			})
		}
	}
}
