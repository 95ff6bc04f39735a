package app_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"speedybites/internal/load"
	"speedybites/internal/localpg"
	"speedybites/internal/pgtest"
)

// TestBadHost has a host in DATABASE_URL, before the primary, that is of no use. Through an outage of a second, nobody
// may notice.
func TestBadHost(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	for name, makeHost := range map[string]func(t *testing.T, primary *localpg.Server) string{
		"StandbyForEver": func(t *testing.T, primary *localpg.Server) string { return pgtest.Standby(t, primary).Addr() },
		"NoSuchName":     func(*testing.T, *localpg.Server) string { return "no-such-host.invalid:5432" },
		"NeverAnswers":   func(t *testing.T, primary *localpg.Server) string { return silent(t, primary) },
		"WrongPassword":  func(t *testing.T, _ *localpg.Server) string { return pgtest.Server(t).Addr() },
		"MissingDatabase": func(t *testing.T, primary *localpg.Server) string {
			other := pgtest.Server(t, func(c *localpg.Config) { c.Database = "other" })
			samePassword(t, other, primary)
			return other.Addr()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary := pgtest.Server(t)
			s := start(t, hosts(primary, makeHost(t, primary), primary.Addr())).withDemo()
			begin := time.Now()
			ledger := underLoad(t, s, 100, func() { bounce(t, primary) })
			settle(t, primary, ledger)
			recovered(t, s, primary, ledger)
			for _, e := range ledger.Entries() {
				if limit := time.Second; e.Start.Before(begin.Add(time.Second)) && e.Took() > limit {
					t.Errorf("before the outage a request took %v, want at most %v", e.Took(), limit)
					break
				}
			}
		})
	}
}

// silent returns the address of a host that accepts connections and never answers.
func silent(t *testing.T, target *localpg.Server) string {
	t.Helper()
	proxy := pgtest.Proxy(t, target.Addr())
	proxy.Stall()
	return proxy.Addr()
}

// samePassword gives the ordinary role of a server the password that it has on another.
func samePassword(t *testing.T, server, as *localpg.Server) {
	t.Helper()
	u, err := url.Parse(as.URL())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	conn := connect(t, server.AdminURL("postgres"))
	sql := "alter role " + localpg.User + " password '" + strings.ReplaceAll(password, "'", "''") + "'"
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// bounce kills a server and brings it back after a second.
func bounce(t *testing.T, server *localpg.Server) {
	t.Helper()
	if err := server.Kill(t.Context()); err != nil {
		t.Error(err)
	}
	time.Sleep(time.Second)
	if err := server.StartAgain(t.Context()); err != nil {
		t.Error(err)
	}
}

// recovered demands the first success in time after the server came back, and that the breaker took no notice.
func recovered(t *testing.T, s *service, server *localpg.Server, ledger *load.Ledger) {
	t.Helper()
	ready := accepting(t, server)
	took := firstSuccess(ledger, ready).Sub(ready)
	t.Logf("first success %v after the server accepted connections", took)
	if took < 0 || took >= time.Second {
		t.Errorf("the first success came %v after the server accepted connections, want under 1s", took)
	}
	if h, _ := s.health(); h.CircuitBreaker.State != "CLOSED" || len(h.CircuitBreaker.Transitions) > 0 {
		t.Errorf("the breaker did not stay closed: %+v", h.CircuitBreaker)
	}
}

// TestOtherCluster names two primaries that have nothing to do with each other. Every process must choose the same one,
// the first, and must not take the other for its successor.
func TestOtherCluster(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	mine := pgtest.Server(t)
	other := pgtest.Server(t, func(c *localpg.Config) { c.Settings = map[string]string{"log_statement": "all", "autovacuum": "off"} })
	samePassword(t, other, mine)
	begin := time.Now()
	url := hosts(mine, mine.Addr(), other.Addr())
	for range 3 { // which of them answers first is a matter of luck
		s := start(t, url).withDemo()
		ledger := underLoad(t, s, 50, func() { bounce(t, mine) })
		settle(t, mine, ledger)
		recovered(t, s, mine, ledger)
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}
	if found := statements(t, other, begin); len(found) > 0 {
		t.Errorf("%d statements on the other cluster, the first:\n%s", len(found), found[0])
	}
}

// TestFailoverBesideASilentHost: a third host accepts connections and never answers. That the search hears nothing from
// it must not hold up the move.
func TestFailoverBesideASilentHost(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	p := newPair(t)
	s := start(t, hosts(p.primary, silent(t, p.primary), p.primary.Addr(), p.standby.Addr())).withDemo()
	var promoted time.Time
	ledger := underLoad(t, s, 100, func() {
		if err := p.primary.Kill(t.Context()); err != nil {
			t.Error(err)
		}
		promoted = p.promote()
	})
	settle(t, p.standby, ledger)
	moved(t, s, ledger, promoted, time.Second)
}
