package app_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"speedybites/internal/dbtest"
	"speedybites/internal/demo"
	"speedybites/internal/localpg"
	"speedybites/internal/pgtest"
	"speedybites/internal/postgres"
)

// TestThousandsHeld has 5,000 requests arrive while the database is away for 8 s, every fifth an order. All are answered
// as if nothing had been, the database is not met by all of them at once, and then the service is as small as before. It
// does not run beside other tests, which would feel it.
func TestThousandsHeld(t *testing.T) {
	pgtest.Slow(t)
	const (
		requests = 5000
		outage   = 8 * time.Second
		most     = 400 // MB
	)
	server := pgtest.Server(t, func(c *localpg.Config) { c.Settings = map[string]string{"log_connections": "on"} })
	// The grace is 10 s by default, but a busy machine may take longer to bring the database back.
	c := startChild(t, server.URL(), "DB_MAX_WAITING=6000", "DB_POOL_MIN=0", "DB_POOL_MAX=20", "DB_OUTAGE_GRACE_MS=60000")
	loadDemo(t, c, server.URL())
	token := c.customer()
	c.crowd(token, "before", 200)
	before := c.rest(func(use) bool { return true })
	t.Logf("before: %v", before)

	if err := server.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	eventually(t, "the loss to be noticed", func() bool { h, _ := c.health(); return h.Database.Status == "Reconnecting" })
	answers := make(chan []answer)
	go func() { answers <- c.crowd(token, "held", requests) }()
	eventually(t, "all to wait", func() bool { h, _ := c.health(); return h.Database.WaitingQueue == requests })
	t.Logf("all wait %v after the kill: %v", time.Since(killed), c.use())
	time.Sleep(time.Until(killed.Add(outage)))
	back := time.Now()
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkHeld(t, server, <-answers)
	peak := c.resident("VmHWM")
	t.Logf("down for %v; all answered %v after that; at most %.0f MB", back.Sub(killed), time.Since(back), peak)
	if peak >= most {
		t.Errorf("the service took %.0f MB, want less than %d", peak, most)
	}
	checkRamp(t, server, back)
	if h, _ := c.health(); len(h.CircuitBreaker.Transitions) > 0 {
		t.Errorf("the breaker did not stay closed: %v", h.transitions())
	}

	// What the runtime keeps of 10,000 goroutines is a few MB; what nobody gives back would be many.
	after := c.rest(func(u use) bool {
		return u.goroutines <= before.goroutines+20 && u.heap <= before.heap+15 && u.resident <= before.resident+40
	})
	t.Logf("after: %v", after)
}

// loadDemo waits for the service to have made its tables, and loads the demo restaurants.
func loadDemo(t *testing.T, c *child, url string) {
	t.Helper()
	eventually(t, "the schema", func() bool { return c.call("GET", "/api/restaurants", nil).status == http.StatusOK })
	db, err := postgres.Open(dbtest.Config(url), postgres.Deps{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.WithoutCancel(t.Context())) // it is not to come back with the database
	if _, err := demo.Load(t.Context(), db); err != nil {
		t.Fatal(err)
	}
}

// use is what a process needs.
type use struct {
	goroutines, heap, resident float64 // the last two in MB
}

func (u use) String() string {
	return fmt.Sprintf("%.0f goroutines, %.0f MB heap, %.0f MB resident", u.goroutines, u.heap, u.resident)
}

func (c *child) use() use {
	c.t.Helper()
	s := (&observed{service: &service{t: c.t, base: c.ops}}).scrape()
	return use{
		goroutines: s.sum(c.t, "go_goroutines"), heap: s.sum(c.t, "go_memstats_heap_inuse_bytes") / 1e6, resident: c.resident("VmRSS"),
	}
}

// rest waits until the process needs as little as enough says. The runtime collects garbage by itself after two minutes at
// the latest; here it is asked to. What it then hands back to the system is its own affair.
func (c *child) rest(enough func(use) bool) use {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		c.collect()
		u := c.use()
		if enough(u) {
			return u
		}
		if time.Now().After(deadline) {
			c.t.Errorf("after a minute still %v", u)
			return u
		}
	}
}

// crowd makes requests all at once, every fifth an order with a key, and returns when all are answered.
func (c *child) crowd(token, name string, n int) []answer {
	answers := make([]answer, n)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			if i%5 > 0 {
				answers[i] = c.call("GET", "/api/restaurants/"+demo.RestaurantID().String(), nil)
				return
			}
			note := fmt.Sprint(name, "-", i)
			answers[i] = c.call("POST", "/api/orders", demoOrder(note), "Authorization", "Bearer "+token, "Idempotency-Key", note)
		})
	}
	wg.Wait()
	http.DefaultClient.CloseIdleConnections()
	return answers
}

// checkHeld holds the answers to a crowd against the orders in the database.
func checkHeld(t *testing.T, server *localpg.Server, answers []answer) {
	t.Helper()
	failed, orders := 0, map[string]string{}
	for i, a := range answers {
		want := http.StatusOK
		if i%5 == 0 {
			want = http.StatusCreated
		}
		if a.status != want {
			if failed++; failed <= 3 {
				t.Errorf("request %d: %d %s", i, a.status, a.body)
			}
			continue
		}
		if i%5 == 0 {
			var order struct{ ID, Note string }
			a.decode(t, &order)
			if order.Note != fmt.Sprint("held-", i) {
				t.Errorf("order %d was answered with %q", i, order.Note)
			}
			orders[order.Note] = order.ID
		}
	}
	if failed > 0 {
		t.Errorf("%d of %d requests failed", failed, len(answers))
	}
	conn := connect(t, server.AdminURL(""))
	//nolint:rowserrcheck // ForEachRow does
	rows, err := conn.Query(t.Context(), "select note, id::text from orders where note like 'held-%'")
	if err != nil {
		t.Fatal(err)
	}
	stored := 0
	var note, id string
	_, err = pgx.ForEachRow(rows, []any{&note, &id}, func() error {
		if stored++; orders[note] != id {
			t.Errorf("order %s is stored as %s, and was answered with %q", note, id, orders[note])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if stored != len(answers)/5 || len(orders) != stored {
		t.Errorf("%d orders were answered and %d stored, want %d", len(orders), stored, len(answers)/5)
	}
}

var authorized = regexp.MustCompile(`(?m)^(\S+ \S+ \S+) .*connection authorized: .*application_name=(speedy-bites.*)$`)

// checkRamp reads in the server's log when sessions began. No session survives an outage, so each query that is let in
// while all others are busy begins one: there can be no more of them than the limit was.
func checkRamp(t *testing.T, server *localpg.Server, back time.Time) {
	t.Helper()
	log, err := os.ReadFile(server.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	var found time.Time // by the prober: the ramp begins then
	var begun []time.Duration
	for _, m := range authorized.FindAllStringSubmatch(string(log), -1) {
		at, err := time.Parse("2006-01-02 15:04:05.000 MST", m[1])
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case at.Before(back):
		case strings.HasPrefix(m[2], "speedy-bites prober"):
			if found.IsZero() {
				found = at
			}
		case found.IsZero():
			t.Errorf("a session began at %v, before the prober had found the database", at)
		default:
			begun = append(begun, at.Sub(found))
		}
	}
	var counts []string
	for _, step := range []struct {
		until time.Duration
		most  int
	}{{50 * time.Millisecond, 4}, {100 * time.Millisecond, 8}, {150 * time.Millisecond, 16}, {time.Minute, 20}} {
		n := 0
		for _, d := range begun {
			if d < step.until {
				n++
			}
		}
		counts = append(counts, fmt.Sprintf("%d within %v", n, step.until))
		if n > step.most {
			t.Errorf("%d sessions began within %v of finding the database, want at most %d", n, step.until, step.most)
		}
	}
	t.Logf("sessions: %s", strings.Join(counts, ", "))
	if len(begun) < 5 {
		t.Errorf("%d sessions began: that is no ramp", len(begun))
	}
}
