package app_test

import (
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
	var promoted time.Time
	ledger := underLoad(t, s, 100, func() {
		for _, sql := range []string{"alter system set default_transaction_read_only = on", "select pg_reload_conf()"} {
			if _, err := admin.Exec(t.Context(), sql); err != nil {
				t.Error(err)
			}
		}
		promoted = p.promote()
		time.Sleep(2 * time.Second)
	})
	settle(t, p.standby, ledger)
	moved(t, s, ledger, promoted, time.Second)
	untouched(t, p.primary, promoted.Add(time.Second))
	abandoned(t, p)
}

// abandoned demands that the service has no session with the former primary but its prober's. A COMMIT that waits for
// the standby does not notice that its client has gone.
func abandoned(t *testing.T, p *pair) {
	t.Helper()
	conn := connect(t, p.primary.AdminURL("postgres"))
	eventually(t, "the end of the sessions with the former primary", func() bool {
		var n int
		err := conn.QueryRow(t.Context(), `select count(*) from pg_stat_activity
			where usename = 'speedybites' and application_name <> 'speedy-bites prober' and wait_event is distinct from 'SyncRep'`).Scan(&n)
		return err == nil && n == 0
	})
}

// TestFormerPrimaryWritable promotes the standby beside a primary that nobody has told: there are two that take writes.
// COMMIT on the old one waits for its standby, in vain.
func TestFormerPrimaryWritable(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	p := newPair(t)
	s := start(t, p.url()).withDemo()
	var promoted time.Time
	ledger := underLoad(t, s, 100, func() {
		promoted = p.promote()
		time.Sleep(2 * time.Second)
	})
	settle(t, p.standby, ledger)
	// Nothing fails on the old one, so that only a regular look can tell.
	moved(t, s, ledger, promoted, 2*time.Second)
	untouched(t, p.primary, promoted.Add(2*time.Second))
	abandoned(t, p)
}

// TestSwitchover stops the primary in good order, promotes the standby, and makes a standby of the former primary, all
// under load; and back again.
func TestSwitchover(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	p := newPair(t)
	s := start(t, p.url()).withDemo()
	for range 2 {
		var promoted, back time.Time
		ledger := underLoad(t, s, 100, func() {
			if err := p.primary.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			promoted = p.promote()
			back = time.Now()
			rejoin(t, p.primary, p.standby)
			p.primary, p.standby = p.standby, p.primary
			p.waitFor("standby")
		})
		settle(t, p.primary, ledger)
		moved(t, s, ledger, promoted, time.Second)
		untouched(t, p.standby, back)
	}
}

// hang is how long the primary stands still.
const hang = 20 * time.Second

// TestHungPrimary stops every process of the primary for 20 s. Nobody promotes the standby, so there is nothing to move
// to.
func TestHungPrimary(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	p := newPair(t)
	s := start(t, p.url()).withDemo()
	var resumed time.Time
	ledger := underLoad(t, s, 50, func() {
		begin := pause(t, p)
		eventually(t, "the hung server to be found", func() bool { h, _ := s.health(); return !h.Database.Connected })
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("found after %v, want at most 5s", took)
		}
		time.Sleep(time.Until(begin.Add(hang)))
		resumed = time.Now()
		if err := p.primary.Resume(); err != nil {
			t.Error(err)
		}
		eventually(t, "the recovery", func() bool { h, _ := s.health(); return h.Status == "operational" })
		t.Logf("operational %v after the primary went on", time.Since(resumed))
	})
	r := compare(t, p.primary, ledger)
	if limit := 16 * time.Second; r.Longest.Took() > limit {
		t.Errorf("a request took %v, want at most %v", r.Longest.Took(), limit)
	}
	for _, e := range ledger.Entries() {
		if e.Failed() && (e.Status != 503 || e.Start.After(resumed.Add(2*time.Second))) {
			t.Errorf("request %d, %v after the primary went on, got %d %v %s",
				e.Number, e.Start.Sub(resumed), e.Status, e.Err, e.Body)
		}
	}
}

func pause(t *testing.T, p *pair) time.Time {
	t.Helper()
	begin := time.Now()
	if err := p.primary.Pause(t.Context()); err != nil {
		t.Error(err)
	}
	return begin
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
			var promoted, resumed time.Time
			ledger := underLoad(t, s, 100, func() {
				begin := pause(t, p)
				time.Sleep(time.Until(begin.Add(c.after)))
				promoted = p.promote()
				time.Sleep(time.Until(begin.Add(10 * time.Second)))
				resumed = time.Now()
				if err := p.primary.Resume(); err != nil {
					t.Error(err)
				}
				p.waitFor("") // what still waits for the standby becomes visible, and writes would succeed
				time.Sleep(2 * time.Second)
			})
			settle(t, p.standby, ledger)
			moved(t, s, ledger, promoted, c.limit)
			untouched(t, p.primary, resumed.Add(time.Second))
			abandoned(t, p)
		})
	}
}
