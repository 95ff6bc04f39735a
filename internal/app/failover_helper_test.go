package app_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"speedybites/internal/load"
	"speedybites/internal/localpg"
	"speedybites/internal/pgtest"
)

// must does something to a server.
func must(t *testing.T, do func(context.Context) error) {
	t.Helper()
	if err := do(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func resume(t *testing.T, server *localpg.Server) {
	t.Helper()
	must(t, func(context.Context) error { return server.Resume() })
}

// pair is a primary with a standby that streams from it.
type pair struct {
	t                *testing.T
	primary, standby *localpg.Server
}

// newPair starts a pair in which COMMIT waits for the standby. Both log every statement, for later questions.
func newPair(t *testing.T) *pair {
	t.Helper()
	primary := pgtest.Server(t, func(c *localpg.Config) {
		// autovacuum off: nobody but the service changes anything.
		c.Settings = map[string]string{"log_statement": "all", "autovacuum": "off"}
	})
	p := &pair{t: t, primary: primary, standby: pgtest.Standby(t, primary)}
	p.waitFor("standby")
	return p
}

// waitFor says which standbys a COMMIT on the primary waits for.
func (p *pair) waitFor(standbys string) {
	p.t.Helper()
	set(p.t, p.primary, "synchronous_standby_names", standbys)
}

func set(t *testing.T, server *localpg.Server, name, value string) {
	t.Helper()
	must(t, func(ctx context.Context) error { return server.SetSettings(ctx, map[string]string{name: value}) })
}

// url names both servers, the first primary first: it is what a search by name alone would find.
func (p *pair) url() string { return hosts(p.primary, p.primary.Addr(), p.standby.Addr()) }

// hosts returns the URL of a server's database with these hosts in place of its own.
func hosts(server *localpg.Server, addrs ...string) string {
	return strings.Replace(server.URL(), server.Addr(), strings.Join(addrs, ","), 1)
}

// opening is when a server began to accept writes, and what the machine was worth then.
type opening struct {
	at   time.Time
	hand *pgtest.Yardstick
}

// promote makes the standby the primary. The opening is the last moment when it was known not to accept writes: a session
// on it asks every few milliseconds.
func (p *pair) promote() *opening {
	p.t.Helper()
	conn := connect(p.t, p.standby.AdminURL("postgres"))
	defer func() { _ = conn.Close(p.t.Context()) }()
	if _, err := conn.Exec(p.t.Context(), "select pg_promote(wait => false)"); err != nil {
		p.t.Fatal(err)
	}
	last := time.Now()
	for deadline := last.Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		asked := time.Now()
		var standby bool
		if err := conn.QueryRow(p.t.Context(), "select pg_is_in_recovery()").Scan(&standby); err != nil {
			p.t.Fatal(err)
		}
		if !standby {
			return &opening{at: last, hand: pgtest.ByHand(p.t, p.standby.AdminURL(""))}
		}
		if last = asked; asked.After(deadline) {
			p.t.Fatal("the standby is not promoted after a minute")
		}
	}
}

// moved demands that the first order after an opening was acknowledged in time, and that the breaker took no notice. It
// returns the end of the time that was allowed.
func moved(t *testing.T, s *service, ledger *load.Ledger, o *opening, limit time.Duration) time.Time {
	t.Helper()
	first := firstOrder(ledger, o.at)
	if first.IsZero() {
		t.Error("no order was acknowledged after the server accepted writes")
		return o.at.Add(limit)
	}
	took, hand := first.Sub(o.at), o.hand.Longest(first)
	allowance := 2 * hand // the order is one of a crowd that has waited
	t.Logf("first order acknowledged %v after the server accepted writes; by hand it takes up to %v", took, hand)
	if took >= limit+allowance {
		t.Errorf("the first order was acknowledged %v after the server accepted writes, want under %v + %v, twice what it takes by hand\n%s",
			took, limit, allowance, s.said(o.at, first))
	}
	if h, _ := s.health(); h.CircuitBreaker.State != "CLOSED" || len(h.CircuitBreaker.Transitions) > 0 {
		t.Errorf("the breaker did not stay closed: %+v", h.CircuitBreaker)
	}
	return o.at.Add(limit + allowance)
}

// firstOrder returns when the first order was acknowledged after a moment.
func firstOrder(l *load.Ledger, after time.Time) (first time.Time) {
	for _, e := range l.Entries() {
		if e.Order && !e.Failed() && e.End.After(after) && (first.IsZero() || e.End.Before(first)) {
			first = e.End
		}
	}
	return first
}

// abandoned waits until the service has no session with a server but its prober's. A COMMIT that waits for the standby does
// not notice that its client has gone.
func abandoned(t *testing.T, server *localpg.Server) {
	t.Helper()
	conn := connect(t, server.AdminURL("postgres"))
	eventually(t, "the end of the sessions with the former primary", func() bool {
		var n int
		err := conn.QueryRow(t.Context(), `select count(*) from pg_stat_activity where usename = $1
			and application_name <> 'speedy-bites prober' and wait_event is distinct from 'SyncRep'`, localpg.User).Scan(&n)
		return err == nil && n == 0
	})
}

// wantRole waits until the health tells a host's role.
func wantRole(t *testing.T, s *service, server *localpg.Server, want string) {
	t.Helper()
	eventually(t, "the health to tell of the "+want, func() bool {
		h, _ := s.health()
		return slices.Contains(h.Database.Hosts, struct{ Server, Role string }{server.Addr(), want})
	})
}

// untouched demands that the service has run no statement on a server since a moment, the prober's look aside, and that
// none of a run's orders is there.
func untouched(t *testing.T, server *localpg.Server, since time.Time, ledgers ...*load.Ledger) {
	t.Helper()
	if found := statements(t, server, since); len(found) > 0 {
		t.Errorf("%d statements on a server that is not the primary since %s, the first and the last:\n%s\n%s",
			len(found), since.UTC().Format("15:04:05.000"), found[0], found[len(found)-1])
	}
	conn := connect(t, server.AdminURL(""))
	for _, ledger := range ledgers {
		r, err := ledger.Compare(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		if r.Stored > 0 {
			t.Errorf("%d orders were written to a server that is not the primary", r.Stored)
		}
	}
}

// statements returns the lines of a server's log about statements of the service since a moment. All its connections
// have the ordinary role; those of the tests are the superuser's.
func statements(t *testing.T, server *localpg.Server, since time.Time) (found []string) {
	t.Helper()
	text, err := os.ReadFile(server.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^(\S+ \S+ \S+) \[\d+\] ` + localpg.User + `@\S+ (.*?) LOG:  (?:statement|execute|fastpath).*$`)
	for _, m := range line.FindAllStringSubmatch(string(text), -1) {
		at, err := time.Parse("2006-01-02 15:04:05.000 MST", m[1])
		if err != nil {
			t.Fatal(err)
		}
		if at.After(since) && m[2] != "speedy-bites prober" {
			found = append(found, m[0])
		}
	}
	return found
}

// rejoin makes a server that was shut down in good order a standby of another one, with the data it has.
func rejoin(t *testing.T, server, primary *localpg.Server) {
	t.Helper()
	u, err := url.Parse(primary.AdminURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	u.Path, u.RawQuery = "", url.Values{"application_name": {"standby"}, "sslmode": {"disable"}}.Encode()
	signal := filepath.Join(server.Dir(), "data", "standby.signal")
	err = errors.Join(os.WriteFile(signal, nil, 0o600),
		server.SetSettings(t.Context(), map[string]string{"primary_conninfo": u.String()}), server.StartAgain(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
}

// rebuild throws a former primary away and makes a standby of the new one with the same address: the roles are changed.
func (p *pair) rebuild() {
	p.t.Helper()
	port := p.primary.Port()
	must(p.t, p.primary.Remove)
	p.primary, p.standby = p.standby, nil
	p.standby = pgtest.Standby(p.t, p.primary, func(c *localpg.Config) { c.Port = port })
	p.waitFor("standby")
}

// holdOrders sends n orders, every other one with a key, and returns when all of them wait in COMMIT on the server. The
// channel has their answers, in order of their notes.
func holdOrders(t *testing.T, s *service, token string, server *localpg.Server, n int) <-chan []answer {
	t.Helper()
	set(t, server, "synchronous_standby_names", "FIRST 2 (standby, nobody)")
	answers := make([]answer, n)
	done := make(chan []answer, 1)
	go func() {
		ended := make(chan struct{})
		for i := range answers {
			header := []string{"Authorization", "Bearer " + token}
			if i%2 == 0 {
				header = append(header, "Idempotency-Key", uuid.NewString())
			}
			go func() {
				answers[i] = s.call("POST", "/api/orders", demoOrder(heldNote(i)), header...)
				ended <- struct{}{}
			}()
		}
		for range answers {
			<-ended
		}
		done <- answers
	}()
	admin := connect(t, server.AdminURL(""))
	eventually(t, strconv.Itoa(n)+" orders waiting in COMMIT", func() bool {
		var waiting int
		err := admin.QueryRow(t.Context(), "select count(*) from pg_stat_activity where wait_event = 'SyncRep'").Scan(&waiting)
		return err == nil && waiting >= n
	})
	return done
}

// heldOn returns how many of the held orders can be seen on a server.
func heldOn(t *testing.T, server *localpg.Server) (n int) {
	t.Helper()
	err := connect(t, server.AdminURL("")).QueryRow(t.Context(), "select count(*) from orders where note like 'held-%'").Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func heldNote(i int) string { return fmt.Sprint("held-", i) }

// wantHeld demands that every order that was held is acknowledged as the first of its kind, and is there once.
func wantHeld(t *testing.T, server *localpg.Server, answers []answer) {
	t.Helper()
	conn := connect(t, server.AdminURL(""))
	for i, a := range answers {
		if a.status != http.StatusCreated || a.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("order %d: %d, replayed %q, %s", i, a.status, a.header.Get("Idempotency-Replayed"), a.body)
			continue
		}
		var order struct{ ID, Note string }
		a.decode(t, &order)
		var stored int
		var id string
		err := conn.QueryRow(t.Context(), "select count(*), min(id::text) from orders where note = $1", heldNote(i)).Scan(&stored, &id)
		if err != nil || stored != 1 || id != order.ID || order.Note != heldNote(i) {
			t.Errorf("order %d: %d stored, %v; the first is %s, acknowledged was %s (%s)", i, stored, err, id, order.ID, order.Note)
		}
	}
}
