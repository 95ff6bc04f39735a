package instances_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/audit"
	"speedybites/internal/config"
	"speedybites/internal/load"
	"speedybites/internal/localpg"
	"speedybites/internal/migrate"
	"speedybites/internal/pgtest"
)

// TestPgbouncer restarts PostgreSQL behind pgbouncer, and then kills pgbouncer itself, under load. Nobody notices more than a
// wait. The whole API works meanwhile, on another instance.
func TestPgbouncer(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	prepare(t, server.URL())
	p := newPooler(t, server)
	for range 3 { // what one of them prepared, the next would find on the connection that it is given
		if _, _, err := migrate.Version(t.Context(), p.url(t)); err != nil {
			t.Fatal(err)
		}
		if _, err := audit.Chains(t.Context(), p.url(t)); err != nil {
			t.Fatal(err)
		}
	}
	busy, other := newMember(t, p.url(t)), newMember(t, p.url(t))
	ledger := underLoad(t, busy.base, 100, func(*load.Ledger) {
		busy.untilServed(t, 200)
		useAPI(t, other.base)
		if err := server.Kill(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		if err := server.StartAgain(t.Context()); err != nil {
			t.Error(err)
		}
		busy.untilServed(t, busy.served(t)+200)

		p.Stop(t, syscall.SIGKILL)
		time.Sleep(time.Second)
		p.start(t)
		busy.untilServed(t, busy.served(t)+200)
		useAPI(t, other.base)
	})
	settle(t, server, ledger)
	noFailures(t, ledger.Entries())
	for _, m := range []*member{busy, other} {
		if h, err := m.health(); err != nil || len(h.CircuitBreaker.Transitions) > 0 {
			t.Errorf("the breaker did not stay closed: %+v (%v)", h, err)
		}
	}
}

// useAPI makes every request that the API knows, as an owner and a customer would.
func useAPI(t *testing.T, base string) {
	t.Helper()
	step := func(method, path, token string, body any, want int) (answer struct {
		ID, Token  string
		TotalCents int
		Data       []struct{ ID string }
	},
	) {
		t.Helper()
		text, status := send(t, method, base+path, token, body)
		if err := json.Unmarshal(text, &answer); err != nil || status != want {
			t.Errorf("%s %s: %d %s (%v), want %d", method, path, status, text, err, want)
		}
		return answer
	}
	email := func(role string) map[string]any {
		return map[string]any{"email": uuid.NewString() + "@example.com", "password": "correct horse", "name": "N", "role": role}
	}
	chef, guest := email("owner"), email("customer")
	owner := step(http.MethodPost, "/api/auth/register", "", chef, http.StatusCreated).Token
	customer := step(http.MethodPost, "/api/auth/register", "", guest, http.StatusCreated).Token
	login := map[string]any{"email": guest["email"], "password": guest["password"]}
	step(http.MethodPost, "/api/auth/login", "", login, http.StatusOK)
	step(http.MethodPost, "/api/auth/register", "", guest, http.StatusConflict)

	name := "Pooled " + uuid.NewString()
	restaurant := step(http.MethodPost, "/api/restaurants", owner, map[string]any{
		"name": name, "cuisine": "thai", "address": "1 Pool Street",
	}, http.StatusCreated).ID
	item := step(http.MethodPost, "/api/restaurants/"+restaurant+"/menu", owner, map[string]any{
		"name": "Soup", "priceCents": 700,
	}, http.StatusCreated).ID
	step(http.MethodGet, "/api/restaurants/"+restaurant, "", nil, http.StatusOK)
	if menu := step(http.MethodGet, "/api/restaurants/"+restaurant+"/menu", "", nil, http.StatusOK); len(menu.Data) != 1 {
		t.Errorf("the menu has %d items, want 1", len(menu.Data))
	}
	search := "/api/restaurants?cuisine=thai&limit=1&search=" + url.QueryEscape(name)
	if found := step(http.MethodGet, search, "", nil, http.StatusOK); len(found.Data) != 1 || found.Data[0].ID != restaurant {
		t.Errorf("found %v, want %s", found.Data, restaurant)
	}
	order := map[string]any{
		"restaurantId": restaurant, "items": []any{map[string]any{"menuItemId": item, "quantity": 3}}, "deliveryAddress": "2 Pool Street",
	}
	placed := step(http.MethodPost, "/api/orders", customer, order, http.StatusCreated)
	if placed.TotalCents != 2100 {
		t.Errorf("the order costs %d, want 2100", placed.TotalCents)
	}
	for _, token := range []string{customer, owner} {
		if list := step(http.MethodGet, "/api/orders", token, nil, http.StatusOK); len(list.Data) != 1 || list.Data[0].ID != placed.ID {
			t.Errorf("orders are %v, want %s", list.Data, placed.ID)
		}
	}
	step(http.MethodGet, "/api/orders/"+placed.ID, customer, nil, http.StatusOK)
	step(http.MethodGet, "/api/orders/"+uuid.NewString(), customer, nil, http.StatusNotFound)
}

// TestPgbouncerOutage: what is promised of long outages and of hung servers holds behind pgbouncer.
func TestPgbouncerOutage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		away, back func(*testing.T, *localpg.Server) error
		noticed    time.Duration // from the begin of the outage to the open breaker, at most
	}{
		{"Away", stop, startAgain, 10 * time.Second},
		{"Hung", pause, resume, 8 * time.Second}, // 5 s to find out, the grace, 1 s, and the load that makes it count
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Server(t)
			prepare(t, server.URL())
			m := newMember(t, newPooler(t, server).url(t), shortGrace)
			ledger := underLoad(t, m.base, 50, func(*load.Ledger) {
				m.untilServed(t, 50)
				began := time.Now()
				if err := c.away(t, server); err != nil {
					t.Error(err)
				}
				m.untilState(t, "OPEN")
				noticed := time.Since(began)
				unavailable(t, m.base+"/api/restaurants")
				if err := c.back(t, server); err != nil {
					t.Error(err)
				}
				back := time.Now()
				m.untilState(t, "CLOSED")
				restored := time.Since(back)
				t.Logf("open %v after the begin of the outage, closed %v after its end", noticed, restored)
				if noticed > c.noticed || restored > 2*time.Second {
					t.Errorf("open after %v and closed after %v, want %v and 2s at most", noticed, restored, c.noticed)
				}
				m.untilServed(t, m.served(t)+50)
			})
			settle(t, server, ledger)
			for _, e := range ledger.Entries() {
				if e.Failed() && (e.Status != http.StatusServiceUnavailable || !strings.Contains(e.Body, "Database reconnecting...")) {
					t.Fatalf("a request failed otherwise than with the 503: %+v", e)
				}
			}
		})
	}
}

func stop(t *testing.T, s *localpg.Server) error       { t.Helper(); return s.Stop(t.Context()) }
func startAgain(t *testing.T, s *localpg.Server) error { t.Helper(); return s.StartAgain(t.Context()) }
func pause(t *testing.T, s *localpg.Server) error      { t.Helper(); return s.Pause(t.Context()) }
func resume(t *testing.T, s *localpg.Server) error     { t.Helper(); return s.Resume() }

// TestPgbouncerFailover: with a pgbouncer in front of each server, the one whose server can be written to is found.
func TestPgbouncerFailover(t *testing.T) {
	t.Parallel()
	primary := pgtest.Server(t)
	prepare(t, primary.URL())
	standby := pgtest.Standby(t, primary)
	first, second := newPooler(t, standby), newPooler(t, primary)
	m := newMember(t, strings.Replace(first.url(t), first.addr, first.addr+","+second.addr, 1))
	ledger := underLoad(t, m.base, 50, func(*load.Ledger) {
		m.untilServed(t, 50)
		if err := primary.Stop(t.Context()); err != nil { // The standby has everything then.
			t.Error(err)
		}
		if err := standby.Promote(t.Context()); err != nil {
			t.Error(err)
		}
		m.untilServed(t, m.served(t)+100)
	})
	settle(t, standby, ledger)
	noFailures(t, ledger.Entries())
}

// TestPgbouncerFile holds the numbers of the documented file against those of the service.
func TestPgbouncerFile(t *testing.T) {
	t.Parallel()
	defaults, err := config.Load([]string{"APP_ENV=test"}, func(string) ([]byte, error) { return nil, os.ErrNotExist })
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), newPooler(t, pgtest.Server(t)).url(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	var limit string
	if err := conn.QueryRow(t.Context(), "SELECT setting FROM pg_settings WHERE name = 'statement_timeout'").Scan(&limit); err != nil {
		t.Fatal(err)
	}
	if want := strconv.FormatInt(defaults.Database.StatementTimeout.Milliseconds(), 10); limit != want {
		t.Errorf("statements are limited to %s ms, want %s", limit, want)
	}
	number := func(name string) int {
		t.Helper()
		m := regexp.MustCompile(`(?m)^` + name + ` = (\d+)$`).FindStringSubmatch(documented(t))
		if m == nil {
			t.Fatalf("docs/pgbouncer.ini sets no %s", name)
		}
		n, _ := strconv.Atoi(m[1]) // It is digits.
		return n
	}
	if got, want := number("default_pool_size"), 2*(defaults.Database.PoolMax+1); got != want {
		t.Errorf("the pool has %d connections, want %d", got, want)
	}
	if got, least := number("max_client_conn"), 2*number("default_pool_size"); got < least {
		t.Errorf("%d clients are let in, want %d or more: cancel requests and connections in the making are some, too", got, least)
	}
}
