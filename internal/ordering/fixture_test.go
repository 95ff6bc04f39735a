package ordering_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"speedybites/internal/audit"
	"speedybites/internal/dbtest"
	"speedybites/internal/ordering"
	"speedybites/internal/pgtest"
	"speedybites/internal/postgres"
)

// fixture is a database with two restaurants of two owners, and a customer.
type fixture struct {
	db      *postgres.DB
	raw     *pgxpool.Pool
	service *ordering.Service

	customer, owner, otherOwner uuid.UUID
	restaurant, otherRestaurant uuid.UUID
	// pizza costs 1050, soup 495, both in USD; sushi is the other restaurant's, wine costs 700 EUR, cake is sold out.
	pizza, soup, sushi, wine, cake uuid.UUID
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	url := pgtest.DB(t)
	f := &fixture{db: dbtest.OpenDefault(t, url), raw: dbtest.Raw(t, url)}
	service, err := ordering.New(f.db, ordering.Config{IdempotencyTTL: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	f.service = service
	f.customer, f.owner, f.otherOwner = f.user(t, "customer"), f.user(t, "owner"), f.user(t, "owner")
	f.restaurant, f.otherRestaurant = f.newRestaurant(t, f.owner), f.newRestaurant(t, f.otherOwner)
	f.pizza = f.item(t, f.restaurant, "Pizza", 1050, "USD", true)
	f.soup = f.item(t, f.restaurant, "Soup", 495, "USD", true)
	f.wine = f.item(t, f.restaurant, "Wine", 700, "EUR", true)
	f.cake = f.item(t, f.restaurant, "Cake", 600, "USD", false)
	f.sushi = f.item(t, f.otherRestaurant, "Sushi", 1900, "USD", true)
	return f
}

func (f *fixture) user(t *testing.T, role string) uuid.UUID {
	t.Helper()
	id := newID(t)
	f.exec(t, `INSERT INTO users (id, email, name, role, password_hash) VALUES ($1, $2, 'Somebody', $3, '!')`,
		id, id.String()+"@example.com", role)
	return id
}

func (f *fixture) newRestaurant(t *testing.T, owner uuid.UUID) uuid.UUID {
	t.Helper()
	id := newID(t)
	f.exec(t, `INSERT INTO restaurants (id, owner_id, name, cuisine, address) VALUES ($1, $2, 'Place', 'Any', 'Here')`,
		id, owner)
	return id
}

func (f *fixture) item(t *testing.T, restaurant uuid.UUID, name string, cents int, currency string, available bool) uuid.UUID {
	t.Helper()
	id := newID(t)
	f.exec(t, `INSERT INTO menu_items (id, restaurant_id, name, price_cents, currency, available)
		VALUES ($1, $2, $3, $4, $5, $6)`, id, restaurant, name, cents, currency, available)
	return id
}

func (f *fixture) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := f.raw.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (f *fixture) count(t *testing.T, from string) (n int) {
	t.Helper()
	if err := f.raw.QueryRow(t.Context(), "SELECT count(*) FROM "+from).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (f *fixture) actor() audit.Actor {
	return audit.Actor{ID: f.customer, Role: "customer", RequestID: "request-1"}
}

// request asks for two pizzas and a soup: 2595 cents.
func (f *fixture) request() ordering.NewOrder {
	return ordering.NewOrder{
		RestaurantID:    f.restaurant,
		Items:           []ordering.NewItem{{MenuItemID: f.pizza, Quantity: 2}, {MenuItemID: f.soup, Quantity: 1}},
		DeliveryAddress: "1 Long Road\nback door",
		Note:            "no onions",
	}
}

func (f *fixture) place(t *testing.T, key string, n ordering.NewOrder) ordering.Placed {
	t.Helper()
	p, err := f.service.Place(t.Context(), f.actor(), key, n)
	if err != nil {
		t.Fatalf("Place: %v", err)
	}
	return p
}

// stored checks that there are as many orders, and as many audit entries and keys with them.
func (f *fixture) stored(t *testing.T, want int) {
	t.Helper()
	got := [3]int{f.count(t, "orders"), f.count(t, "audit_log"), f.count(t, "idempotency_keys")}
	if got != [3]int{want, want, want} {
		t.Errorf("got %v orders, audit entries and keys, want %d of each", got, want)
	}
}

func newID(t *testing.T) uuid.UUID {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return id
}
