package app_test

import (
	"testing"
	"time"

	"speedybites/internal/pgtest"
)

// TestFailover kills the primary under 100 requests a second, four reads to an order, and promotes the standby 2 s
// later. Then the old primary comes back as it was, is rebuilt, and is promoted in its turn.
func TestFailover(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	url := p.url()
	s := start(t, url).withDemo()
	failOver := func() {
		t.Helper()
		var promoted time.Time
		ledger := underLoad(t, s, 100, func() {
			if err := p.primary.Kill(t.Context()); err != nil {
				t.Error(err)
			}
			time.Sleep(2 * time.Second)
			promoted = p.promote()
		})
		settle(t, p.standby, ledger)
		moved(t, s, ledger, promoted, time.Second)
	}
	failOver()
	if testing.Short() {
		return
	}

	// It waits for no standby any more, so that nothing but the service's own judgement keeps a write from it.
	p.waitFor("")
	back := time.Now()
	returned := underLoad(t, s, 100, func() {
		if err := p.primary.StartAgain(t.Context()); err != nil {
			t.Error(err)
		}
	})
	settle(t, p.standby, returned)
	untouched(t, p.primary, back, returned)
	// Nor does a process that has seen nothing of it all.
	fresh := start(t, url)
	ledger := underLoad(t, fresh, 100, func() {})
	settle(t, p.standby, ledger)
	untouched(t, p.primary, back, ledger)
	if err := fresh.stop(); err != nil {
		t.Error(err)
	}

	p.rebuild()
	failOver()
}

// TestFailoverInsideCommit loses a primary that has made 16 orders durable and has told nobody.
func TestFailoverInsideCommit(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	t.Run("Replicated", func(t *testing.T) {
		t.Parallel()
		p := newPair(t)
		s := start(t, p.url()).withDemo()
		answers := holdOrders(t, s, s.customer(), p.primary, 16)
		eventually(t, "the orders to be on the standby", func() bool { return heldOn(t, p.standby) == 16 })
		if err := p.primary.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.promote()
		wantHeld(t, p.standby, <-answers)
	})
	t.Run("NotReplicated", func(t *testing.T) {
		t.Parallel()
		p := newPair(t)
		s := start(t, p.url()).withDemo()
		token := s.customer()
		if err := p.standby.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		answers := holdOrders(t, s, token, p.primary, 16)
		if err := p.primary.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.standby.StartAgain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := heldOn(t, p.standby); n != 0 {
			t.Fatalf("%d orders are on the standby, want none", n)
		}
		p.promote()
		wantHeld(t, p.standby, <-answers)
	}) // Nothing was killed here: after SIGCONT the old primary completes what it had begun, on its own.
	t.Run("NotReplicatedHung", func(t *testing.T) {
		t.Parallel()
		p := newPair(t)
		s := start(t, p.url()).withDemo()
		token := s.customer()
		if err := p.standby.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		answers := holdOrders(t, s, token, p.primary, 16)
		if err := p.primary.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.standby.StartAgain(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.promote()
		wantHeld(t, p.standby, <-answers)
		resumed := time.Now()
		if err := p.primary.Resume(); err != nil {
			t.Fatal(err)
		}
		p.waitFor("")
		eventually(t, "the orders to become visible on the old primary", func() bool { return heldOn(t, p.primary) == 16 })
		if a := s.call("POST", "/api/orders", demoOrder("afterwards"), "Authorization", "Bearer "+token); a.status != 201 {
			t.Errorf("an order after the failover: %d %s", a.status, a.body)
		}
		untouched(t, p.primary, resumed)
	})
}
