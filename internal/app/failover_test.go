package app_test

import (
	"net/http"
	"testing"
	"time"

	"speedybites/internal/pgtest"
)

// TestFailover kills the primary under 100 requests a second, four reads to an order, and promotes the standby 2 s
// later. Then the old primary comes back as it was, sees the new one go, is rebuilt, and is promoted in its turn.
func TestFailover(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	url := p.url()
	s := start(t, url).withDemo()
	s = failOver(t, s, p)
	if testing.Short() {
		return
	}

	// It waits for no standby any more, so that nothing but the service's own judgement keeps a write from it.
	p.waitFor("")
	back := time.Now()
	returned := underLoad(t, s, 25, func() {
		must(t, p.primary.StartAgain)
		bounce(t, p.standby) // for two seconds, the old one alone could take writes
	})
	settle(t, p.standby, returned)
	untouched(t, p.primary, back, returned)
	wantRole(t, s, p.primary, "former primary")
	// Nor does a process that has seen nothing of it all.
	fresh := start(t, url)
	ledger := underLoad(t, fresh, 25, func() {})
	settle(t, p.standby, ledger)
	untouched(t, p.primary, back, ledger)
	if err := fresh.stop(); err != nil {
		t.Error(err)
	}

	p.rebuild()
	failOver(t, s, p)
}

// failOver returns the service, which it has started anew where the machine was so slow that there was no primary for
// about the grace.
func failOver(t *testing.T, s *service, p *pair) *service {
	t.Helper()
	for range 3 {
		var (
			killed   time.Time
			promoted *opening
		)
		ledger := underLoad(t, s, 100, func() {
			killed = time.Now()
			must(t, p.primary.Kill)
			time.Sleep(2 * time.Second)
			promoted = p.promote()
		})
		if away := promoted.at.Sub(killed); away < 8*time.Second {
			settle(t, p.standby, ledger)
			moved(t, s, ledger, promoted, time.Second)
			return s
		}
		compare(t, p.standby, ledger)
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		p.rebuild()
		s = start(t, p.url())
	}
	t.Fatal("a promotion takes longer than 6s on this machine")
	return nil
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
		must(t, p.primary.Kill)
		p.promote()
		wantHeld(t, p.standby, <-answers)
	})
	t.Run("NotReplicated", func(t *testing.T) {
		t.Parallel()
		p := newPair(t)
		s := start(t, p.url()).withDemo()
		token := s.customer()
		must(t, p.standby.Stop)
		answers := holdOrders(t, s, token, p.primary, 16)
		must(t, p.primary.Kill)
		must(t, p.standby.StartAgain)
		if n := heldOn(t, p.standby); n != 0 {
			t.Fatalf("%d orders are on the standby, want none", n)
		}
		p.promote()
		wantHeld(t, p.standby, <-answers)
	})
	// Nothing is killed here: after SIGCONT the old primary completes what it had begun, on its own.
	t.Run("NotReplicatedHung", func(t *testing.T) {
		t.Parallel()
		p := newPair(t)
		s := start(t, p.url()).withDemo()
		token := s.customer()
		must(t, p.standby.Stop)
		answers := holdOrders(t, s, token, p.primary, 16)
		must(t, p.primary.Pause)
		must(t, p.standby.StartAgain)
		p.promote()
		wantHeld(t, p.standby, <-answers)
		resume(t, p.primary)
		abandoned(t, p.primary)
		thawed := time.Now() // with what had been sent to it before
		p.waitFor("")
		eventually(t, "the orders to become visible on the old primary", func() bool { return heldOn(t, p.primary) == 16 })
		a := s.call("POST", "/api/orders", demoOrder("afterwards"), "Authorization", "Bearer "+token)
		if a.status != http.StatusCreated {
			t.Errorf("an order after the failover: %d %s", a.status, a.body)
		}
		untouched(t, p.primary, thawed)
	})
}
