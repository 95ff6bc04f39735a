package load

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/dbtest"
	"speedybites/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }

// script is an instance that answers its requests in turn: with a status, or, for 0, by hanging up.
type script struct {
	mu      sync.Mutex
	answers []int
	keys    []string
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // It is ours.
	s.mu.Lock()
	status := http.StatusTeapot // of a request too many
	if len(s.answers) > 0 {
		status, s.answers = s.answers[0], s.answers[1:]
	}
	s.keys = append(s.keys, r.Header.Get("Idempotency-Key"))
	s.mu.Unlock()
	if status == 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(status)
	fmt.Fprint(w, "{}")
}

// TestRetries shows which requests are sent again.
func TestRetries(t *testing.T) {
	t.Parallel()
	// With the defaults, 4 is an order with a key, 9 one without, and 0 a read.
	const withKey, without, read = 4, 9, 0
	for _, c := range []struct {
		name    string
		retry   bool
		request int
		answers []int
		want    []int
	}{
		{"NoneUnlessAsked", false, withKey, []int{0}, []int{0}},
		{"OrderWithKeyCut", true, withKey, []int{0, 0, 201}, []int{0, 0, 201}},
		{"OrderWithKeyUnavailable", true, withKey, []int{503, 409, 504, 201}, []int{503, 409, 504, 201}},
		{"OrderWithKeyFailed", true, withKey, []int{500}, []int{500}},
		{"OrderWithoutKeyCut", true, without, []int{0}, []int{0}},
		{"OrderWithoutKeyUnavailable", true, without, []int{503}, []int{503}},
		{"ReadCut", true, read, []int{0, 200}, []int{0, 200}},
		{"ReadUnavailable", true, read, []int{503}, []int{503}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			instance := &script{answers: c.answers}
			server := httptest.NewServer(instance)
			defer server.Close()
			g := New(Config{BaseURL: server.URL, Rate: 1, Retry: c.retry})
			e := g.request(t.Context(), c.request)
			server.Close()
			var got []int
			for _, try := range e.Tries {
				got = append(got, try.Status)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("attempts (-want +got):\n%s", diff)
			}
			if e.Status != c.want[len(c.want)-1] || e.Attempts != len(c.want) {
				t.Errorf("%d attempts, the last with status %d", e.Attempts, e.Status)
			}
			key := ""
			if c.request == withKey {
				key = e.Note(g.Ledger().Run)
			}
			if slices.ContainsFunc(instance.keys, func(k string) bool { return k != key }) {
				t.Errorf("sent with the keys %q, want %q", instance.keys, key)
			}
		})
	}
}

// TestRefused sends an order without a key again when it cannot have arrived.
func TestRefused(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	open := httptest.NewServer(&script{answers: []int{201}})
	defer open.Close()
	g := New(Config{
		Instances: []string{closed.URL, open.URL}, Pick: func(_, attempt int) int { return attempt }, Rate: 1, Retry: true,
	})
	e := g.request(t.Context(), 9)
	if len(e.Tries) != 2 || !e.Tries[0].Refused || e.Tries[1].Instance != 1 || e.Status != 201 {
		t.Errorf("got %+v", e)
	}
}

// TestCompare has one of everything that can be wrong.
func TestCompare(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), pgtest.DB(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	owner, restaurant := uuid.New(), uuid.New()
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec("INSERT INTO users (id, email, name, role, password_hash) VALUES ($1, 'a@example.com', 'A', 'customer', '')", owner)
	exec("INSERT INTO restaurants (id, owner_id, name, cuisine, address) VALUES ($1, $2, 'R', 'C', 'A')", restaurant, owner)
	g := New(Config{Rate: 1, RestaurantID: restaurant, MenuItemID: uuid.New()})
	// place stores what request n asks for, and returns it as it would be answered.
	place := func(n int) Order {
		wanted := g.order(n)
		o := Order{
			ID: uuid.New(), RestaurantID: restaurant, CustomerID: owner, Status: "placed", Currency: "USD",
			TotalCents: int64(100 * wanted.Items[0].Quantity), DeliveryAddress: wanted.DeliveryAddress, Note: wanted.Note,
			Items: []Item{{wanted.Items[0].MenuItemID, "Pizza", wanted.Items[0].Quantity, 100}},
		}
		if wrong := wanted.differs(o); wrong != "" {
			t.Fatalf("order %d %s", n, wrong)
		}
		exec("BEGIN")
		exec(`INSERT INTO orders (id, restaurant_id, customer_id, total_cents, currency, delivery_address, note)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`, o.ID, restaurant, owner, o.TotalCents, o.Currency, o.DeliveryAddress, o.Note)
		exec(`INSERT INTO order_items (order_id, menu_item_id, position, name, quantity, unit_price_cents, currency)
			VALUES ($1, $2, 1, $3, $4, $5, 'USD')`, o.ID, o.Items[0].MenuItemID, o.Items[0].Name, o.Items[0].Quantity, o.Items[0].UnitPriceCents)
		exec("COMMIT")
		return o
	}
	acknowledge := func(n int, o Order) {
		g.ledger.add(Entry{Number: n, Order: true, Status: 201, OrderID: o.ID, Placed: o})
	}
	acknowledge(1, place(1))
	acknowledge(2, Order{ID: uuid.New()}) // is lost
	acknowledge(3, place(3))
	place(3)
	acknowledge(4, func() Order { o := place(4); o.ID = uuid.New(); return o }())
	acknowledge(5, func() Order { o := place(5); o.Items[0].Quantity++; return o }())
	g.ledger.add(Entry{Number: 6, Order: true, Status: 503}) // is not there
	g.ledger.add(Entry{Number: 7, Order: true})
	place(7)
	place(8) // of no request
	g.ledger.add(Entry{Number: 9, Status: 200, Start: time.Now(), End: time.Now().Add(time.Second)})

	got, err := g.Ledger().Compare(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	if got.Longest.Number != 9 {
		t.Errorf("the longest is %+v", got.Longest)
	}
	got.Longest = Entry{}
	want := Result{
		Requests: 8, Failed: 2, Acknowledged: 5, Stored: 7, Lost: []int{2}, Doubled: []int{3, 4}, Wrong: []int{5},
		Strange: 1, Unknown: 2, Placed: 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestWrongAnswers shows what in an answer is held against the service.
func TestWrongAnswers(t *testing.T) {
	t.Parallel()
	wanted := newOrder{RestaurantID: uuid.New(), Items: []newItem{{uuid.New(), 2}}, DeliveryAddress: "A", Note: "N"}
	right := func() Order {
		return Order{
			ID: uuid.New(), RestaurantID: wanted.RestaurantID, DeliveryAddress: "A", Note: "N", TotalCents: 200,
			Items: []Item{{wanted.Items[0].MenuItemID, "Pizza", 2, 100}},
		}
	}
	for name, change := range map[string]func(*Order){
		"NoID":       func(o *Order) { o.ID = uuid.Nil },
		"Note":       func(o *Order) { o.Note = "of another" },
		"Address":    func(o *Order) { o.DeliveryAddress = "B" },
		"Restaurant": func(o *Order) { o.RestaurantID = uuid.New() },
		"NoItems":    func(o *Order) { o.Items = nil },
		"Item":       func(o *Order) { o.Items[0].MenuItemID = uuid.New() },
		"Quantity":   func(o *Order) { o.Items[0].Quantity = 3 },
		"Total":      func(o *Order) { o.TotalCents = 100 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := right()
			if got := wanted.differs(o); got != "" {
				t.Errorf("the right order %s", got)
			}
			change(&o)
			if wanted.differs(o) == "" {
				t.Errorf("%+v was taken for what was asked for", o)
			}
		})
	}
}
