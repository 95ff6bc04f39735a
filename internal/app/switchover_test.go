package app_test

import (
	"net/http"
	"testing"
	"time"

	"speedybites/internal/pgtest"
)

// TestFormerPrimaryReadOnly makes the primary read-only while all its connections live on, and promotes the standby at
// the same moment: the first step of a switchover by hand.
func TestFormerPrimaryReadOnly(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	p := newPair(t)
	s := start(t, p.url()).withDemo()
	admin := connect(t, p.primary.AdminURL("postgres"))
	var promoted *opening
	ledger := underLoad(t, s, 25, func() {
		for _, sql := range []string{"alter system set default_transaction_read_only = on", "select pg_reload_conf()"} {
			if _, err := admin.Exec(t.Context(), sql); err != nil {
				t.Error(err)
			}
		}
		promoted = p.promote()
	})
	settle(t, p.standby, ledger)
	untouched(t, p.primary, moved(t, s, ledger, promoted, time.Second))
	abandoned(t, p.primary)
	wantRole(t, s, p.primary, "read-only")
}

// TestFormerPrimaryWritable promotes the standby beside a primary that nobody has told: there are two that take writes.
// COMMIT on the old one waits for its standby, in vain.
func TestFormerPrimaryWritable(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	p := newPair(t)
	s := start(t, p.url()).withDemo()
	var promoted *opening
	ledger := underLoad(t, s, 25, func() {
		promoted = p.promote()
		time.Sleep(2 * time.Second)
	})
	settle(t, p.standby, ledger)
	// Nothing fails on the old one, so that only a regular look can tell.
	untouched(t, p.primary, moved(t, s, ledger, promoted, 2*time.Second))
	abandoned(t, p.primary)
	wantRole(t, s, p.primary, "former primary")
}

// TestSwitchover stops the primary in good order, promotes the standby, and makes a standby of the former primary, all
// under load; and back again.
func TestSwitchover(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	p := newPair(t)
	s := start(t, p.url()).withDemo()
	for range 2 {
		var (
			promoted *opening
			back     time.Time
		)
		ledger := underLoad(t, s, 25, func() {
			must(t, p.primary.Stop)
			promoted = p.promote()
			back = time.Now()
			rejoin(t, p.primary, p.standby)
			p.primary, p.standby = p.standby, p.primary
			p.waitFor("standby")
		})
		settle(t, p.primary, ledger)
		moved(t, s, ledger, promoted, time.Second)
		untouched(t, p.standby, back)
		wantRole(t, s, p.standby, "standby")
	}
}

// TestHungPrimary stops every process of the primary for 20 s. Nobody promotes the standby, so there is nothing to move
// to.
func TestHungPrimary(t *testing.T) {
	const (
		hang     = 20 * time.Second
		found    = 5 * time.Second
		answered = found + 11*time.Second // the grace, and one
	)
	pgtest.Slow(t)
	t.Parallel()
	p := newPair(t)
	s := start(t, p.url()).withDemo()
	var operational time.Time
	pulse := s.pulse()
	ledger := underLoad(t, s, 25, func() {
		must(t, p.primary.Pause)
		paused := time.Now()
		eventually(t, "the hung server to be found", func() bool { h, _ := s.health(); return !h.Database.Connected })
		took, allowance := time.Since(paused), pulse.Longest(time.Now())
		t.Logf("found after %v; a request without a query takes up to %v", took, allowance)
		if took > found+allowance {
			t.Errorf("found after %v, want at most %v + %v", took, found, allowance)
		}
		pulse = s.pulse()
		time.Sleep(time.Until(paused.Add(hang)))
		resume(t, p.primary)
		resumed, hand := time.Now(), pgtest.ByHand(t, p.primary.AdminURL(""))
		eventually(t, "the recovery", func() bool { h, _ := s.health(); return h.Status == "operational" })
		operational = time.Now()
		took, allowance = operational.Sub(resumed), hand.Longest(operational)
		t.Logf("operational %v after the primary went on; by hand it takes up to %v", took, allowance)
		if took >= 2*time.Second+allowance {
			t.Errorf("operational %v after the primary went on, want under 2s + %v", took, allowance)
		}
	})
	r := compare(t, p.primary, ledger)
	if allowance := pulse.Longest(time.Now()); r.Longest.Took() > answered+allowance {
		t.Errorf("a request took %v, want at most %v + %v", r.Longest.Took(), answered, allowance)
	}
	for _, e := range ledger.Entries() {
		if e.Failed() && (e.Status != http.StatusServiceUnavailable || e.Start.After(operational)) {
			t.Errorf("request %d, %v after the recovery, got %d %v %s", e.Number, e.Start.Sub(operational), e.Status, e.Err, e.Body)
			break
		}
	}
}

// TestHungPrimaryReplaced promotes the standby while the primary stands still, early and late. Then the old one goes on
// as if nothing had been: it takes writes, its sessions thaw, and a COMMIT that was under way in it becomes durable.
func TestHungPrimaryReplaced(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	for name, c := range map[string]struct{ after, limit time.Duration }{
		"BeforeItIsFound": {500 * time.Millisecond, 5 * time.Second},
		"AfterItIsFound":  {6 * time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			s := start(t, p.url()).withDemo()
			var (
				promoted *opening
				thawed   time.Time
			)
			ledger := underLoad(t, s, 25, func() {
				must(t, p.primary.Pause)
				time.Sleep(c.after)
				promoted = p.promote()
				time.Sleep(c.limit + time.Second)
				resume(t, p.primary)
				p.waitFor("") // what still waits for the standby becomes visible, and writes would succeed
				abandoned(t, p.primary)
				thawed = time.Now() // with what had been sent to it before
			})
			settle(t, p.standby, ledger)
			moved(t, s, ledger, promoted, c.limit)
			untouched(t, p.primary, thawed)
		})
	}
}
