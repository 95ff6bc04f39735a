package app_test

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"speedybites/internal/localpg"
	"speedybites/internal/pgtest"
)

// TestBadHost has a host in DATABASE_URL, before the primary, that is of no use. Through an outage of two seconds, nobody
// may notice.
func TestBadHost(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	limits := map[string]time.Duration{"NeverAnswers": 1200 * time.Millisecond} // a login waits 200 ms for a silent host
	for name, makeHost := range map[string]func(t *testing.T, primary *localpg.Server) string{
		"StandbyForEver": func(t *testing.T, primary *localpg.Server) string { return pgtest.Standby(t, primary).Addr() },
		"NoSuchName":     func(*testing.T, *localpg.Server) string { return "no-such-host.invalid:5432" },
		"NeverAnswers":   silent,
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
			begin, pulse := time.Now(), s.pulse()
			var (
				back      *opening
				allowance time.Duration
			)
			ledger := underLoad(t, s, 25, func() {
				allowance = pulse.Longest(time.Now())
				back = bounce(t, primary)
			})
			settle(t, primary, ledger)
			moved(t, s, ledger, back, cmp.Or(limits[name], time.Second))
			for _, e := range ledger.Entries() {
				if limit := time.Second + allowance; e.Start.Before(begin.Add(time.Second)) && e.Took() > limit {
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

// bounce kills a server and brings it back after two seconds.
func bounce(t *testing.T, server *localpg.Server) *opening {
	t.Helper()
	must(t, server.Kill)
	time.Sleep(2 * time.Second)
	must(t, server.StartAgain)
	return &opening{at: accepting(t, server), hand: pgtest.ByHand(t, server.AdminURL(""))}
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
	for range 5 { // which of them answers first is a matter of luck
		s := start(t, url).withDemo()
		a := s.call("POST", "/api/orders", demoOrder("mine"), "Authorization", "Bearer "+s.customer())
		if a.status != http.StatusCreated {
			t.Errorf("an order: %d %s", a.status, a.body)
		}
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}
	s := start(t, url)
	var back *opening
	ledger := underLoad(t, s, 25, func() { back = bounce(t, mine) })
	settle(t, mine, ledger)
	moved(t, s, ledger, back, time.Second)
	wantRole(t, s, other, "other cluster")
	if found := statements(t, other, begin); len(found) > 0 {
		t.Errorf("%d statements on the other cluster, the first:\n%s", len(found), found[0])
	}
}

// TestFailoverBesideASilentHost: a third host accepts connections and never answers. That the search hears nothing from
// it must not hold up the move, whether the promotion comes at once or while the service searches already.
func TestFailoverBesideASilentHost(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	for _, after := range []time.Duration{0, 2 * time.Second} {
		t.Run(after.String(), func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			s := start(t, hosts(p.primary, silent(t, p.primary), p.primary.Addr(), p.standby.Addr())).withDemo()
			var promoted *opening
			ledger := underLoad(t, s, 25, func() {
				must(t, p.primary.Kill)
				time.Sleep(after)
				promoted = p.promote()
			})
			settle(t, p.standby, ledger)
			moved(t, s, ledger, promoted, time.Second)
		})
	}
}
