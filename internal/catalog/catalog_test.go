package catalog_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"speedybites/internal/audit"
	"speedybites/internal/catalog"
	"speedybites/internal/dbtest"
	"speedybites/internal/pgtest"
	"speedybites/internal/postgres"
	"speedybites/internal/validation/validationtest"
)

type fixture struct {
	db      *postgres.DB
	raw     *pgxpool.Pool
	service *catalog.Service
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	url := pgtest.DB(t)
	f := &fixture{db: dbtest.OpenDefault(t, url), raw: dbtest.Raw(t, url)}
	f.service = catalog.New(f.db)
	return f
}

func (f *fixture) user(t *testing.T, role string) audit.Actor {
	t.Helper()
	id := newID(t)
	_, err := f.raw.Exec(t.Context(), `INSERT INTO users (id, email, name, role, password_hash)
		VALUES ($1, $2, 'Somebody', $3, '!')`, id, id.String()+"@example.com", role)
	if err != nil {
		t.Fatal(err)
	}
	return audit.Actor{ID: id, Role: role, RequestID: "request-1"}
}

func (f *fixture) restaurant(t *testing.T, by audit.Actor, n catalog.NewRestaurant) catalog.Restaurant {
	t.Helper()
	r, err := f.service.CreateRestaurant(t.Context(), by, n)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (f *fixture) count(t *testing.T, from string, args ...any) (n int) {
	t.Helper()
	if err := f.raw.QueryRow(t.Context(), "SELECT count(*) FROM "+from, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func newID(t *testing.T) uuid.UUID {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func trattoria() catalog.NewRestaurant {
	return catalog.NewRestaurant{Name: "Trattoria", Cuisine: "Italian", Description: "Two\nlines", Address: "1 Long Road"}
}

func soup() catalog.NewMenuItem {
	return catalog.NewMenuItem{Name: "Soup", PriceCents: new(int64(495))}
}

func TestCreateRestaurant(t *testing.T) {
	f := newFixture(t)
	owner := f.user(t, "owner")

	t.Run("OwnerAndAdmin", func(t *testing.T) {
		for _, by := range []audit.Actor{owner, f.user(t, "admin")} {
			n := trattoria()
			got := f.restaurant(t, by, n)
			want := catalog.Restaurant{
				ID: got.ID, OwnerID: by.ID, Name: n.Name, Cuisine: n.Cuisine, Description: n.Description, Address: n.Address,
				Open: true, CreatedAt: got.CreatedAt, UpdatedAt: got.CreatedAt,
			}
			if diff := cmp.Diff(want, got); diff != "" || got.ID.Version() != 7 || got.CreatedAt.Location() != time.UTC {
				t.Errorf("created (-want +got):\n%s", diff)
			}
			read, err := f.service.Restaurant(t.Context(), got.ID)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, read); diff != "" {
				t.Errorf("read back (-created +read):\n%s", diff)
			}
			if n := f.count(t, `audit_log WHERE entity = 'restaurant' AND action = 'create' AND entity_id = $1 AND
				actor_id = $2 AND request_id = 'request-1' AND after->>'name' = 'Trattoria'`, got.ID, by.ID); n != 1 {
				t.Errorf("got %d audit entries, want 1", n)
			}
		}
	})

	t.Run("Closed", func(t *testing.T) {
		n := trattoria()
		n.Open = new(false)
		if got := f.restaurant(t, owner, n); got.Open {
			t.Error("got an open restaurant, want it closed")
		}
	})

	t.Run("Forbidden", func(t *testing.T) {
		unknown := audit.Actor{ID: newID(t), Role: "owner"}
		for _, by := range []audit.Actor{f.user(t, "customer"), {ID: owner.ID}, unknown} {
			if _, err := f.service.CreateRestaurant(t.Context(), by, trattoria()); !errors.Is(err, catalog.ErrForbidden) {
				t.Errorf("%+v: got %v, want %v", by, err, catalog.ErrForbidden)
			}
		}
	})

	t.Run("Refused", func(t *testing.T) {
		_, err := f.service.CreateRestaurant(t.Context(), owner, catalog.NewRestaurant{})
		validationtest.WantFields(t, err, "name", "cuisine", "address")
		_, err = f.service.CreateRestaurant(t.Context(), owner, catalog.NewRestaurant{
			Name: strings.Repeat("x", 121), Cuisine: strings.Repeat("x", 61), Description: strings.Repeat("x", 2001),
			Address: strings.Repeat("x", 301),
		})
		validationtest.WantFields(t, err, "name", "cuisine", "description", "address")
	})

	t.Run("LimitsAreTheSchemas", func(t *testing.T) {
		f.restaurant(t, owner, catalog.NewRestaurant{
			Name: strings.Repeat("é", 120), Cuisine: strings.Repeat("é", 60), Description: strings.Repeat("é", 2000),
			Address: strings.Repeat("é", 300),
		})
	})
}

func TestCreateMenuItem(t *testing.T) {
	f := newFixture(t)
	owner, other := f.user(t, "owner"), f.user(t, "owner")
	r := f.restaurant(t, owner, trattoria())

	t.Run("OwnerAndAdmin", func(t *testing.T) {
		var menu []catalog.MenuItem
		for _, by := range []audit.Actor{owner, f.user(t, "admin")} {
			got, err := f.service.CreateMenuItem(t.Context(), by, r.ID, soup())
			if err != nil {
				t.Fatal(err)
			}
			want := catalog.MenuItem{
				ID: got.ID, RestaurantID: r.ID, Name: "Soup", PriceCents: 495, Currency: "USD", Available: true,
				CreatedAt: got.CreatedAt, UpdatedAt: got.CreatedAt,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("created (-want +got):\n%s", diff)
			}
			menu = append(menu, got)
			if n := f.count(t, `audit_log WHERE entity = 'menuItem' AND entity_id = $1 AND actor_id = $2`, got.ID, by.ID); n != 1 {
				t.Errorf("got %d audit entries, want 1", n)
			}
		}
		read, err := f.service.Menu(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(menu, read); diff != "" {
			t.Errorf("menu (-want +got):\n%s", diff)
		}
	})

	t.Run("Everything", func(t *testing.T) {
		n := catalog.NewMenuItem{
			Name: strings.Repeat("é", 120), Description: strings.Repeat("é", 2000), PriceCents: new(int64(10_000_000)),
			Currency: "EUR", Available: new(false),
		}
		got, err := f.service.CreateMenuItem(t.Context(), owner, r.ID, n)
		if err != nil || got.Available || got.Currency != "EUR" || got.PriceCents != 10_000_000 {
			t.Errorf("got %+v, %v", got, err)
		}
	})

	t.Run("Forbidden", func(t *testing.T) {
		for _, by := range []audit.Actor{other, f.user(t, "customer"), {ID: owner.ID, Role: "customer"}} {
			if _, err := f.service.CreateMenuItem(t.Context(), by, r.ID, soup()); !errors.Is(err, catalog.ErrForbidden) {
				t.Errorf("%+v: got %v, want %v", by, err, catalog.ErrForbidden)
			}
		}
	})

	t.Run("UnknownRestaurant", func(t *testing.T) {
		if _, err := f.service.CreateMenuItem(t.Context(), owner, newID(t), soup()); !errors.Is(err, catalog.ErrNotFound) {
			t.Errorf("got %v, want %v", err, catalog.ErrNotFound)
		}
		if _, err := f.service.Menu(t.Context(), newID(t)); !errors.Is(err, catalog.ErrNotFound) {
			t.Errorf("got %v, want %v", err, catalog.ErrNotFound)
		}
		if _, err := f.service.Restaurant(t.Context(), newID(t)); !errors.Is(err, catalog.ErrNotFound) {
			t.Errorf("got %v, want %v", err, catalog.ErrNotFound)
		}
	})

	t.Run("EmptyMenu", func(t *testing.T) {
		menu, err := f.service.Menu(t.Context(), f.restaurant(t, owner, trattoria()).ID)
		if err != nil || menu == nil || len(menu) != 0 {
			t.Errorf("got %v, %v, want an empty menu", menu, err)
		}
	})

	t.Run("Refused", func(t *testing.T) {
		_, err := f.service.CreateMenuItem(t.Context(), owner, r.ID, catalog.NewMenuItem{})
		validationtest.WantFields(t, err, "name", "priceCents")
		for _, currency := range []string{"usd", "XXX", "US", "A U", " US", "USD "} {
			n := soup()
			n.PriceCents, n.Currency = new(int64(10_000_001)), currency
			_, err := f.service.CreateMenuItem(t.Context(), owner, r.ID, n)
			validationtest.WantFields(t, err, "priceCents", "currency")
		}
		n := soup()
		n.PriceCents = new(int64(-1))
		_, err = f.service.CreateMenuItem(t.Context(), owner, r.ID, n)
		validationtest.WantFields(t, err, "priceCents")
	})
}

// TestRepeated runs the transaction of one request again with its ids, as after a COMMIT whose answer is lost.
func TestRepeated(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	owner := f.user(t, "owner")
	restaurant := catalog.NewRestaurantInsert(owner, trattoria())
	if err := f.db.Write(t.Context(), "test", restaurant.Run); err != nil {
		t.Fatal(err)
	}
	item := catalog.NewMenuItemInsert(owner, restaurant.Restaurant().ID, soup())
	if err := f.db.Write(t.Context(), "test", item.Run); err != nil {
		t.Fatal(err)
	}
	firstRestaurant, firstItem := restaurant.Restaurant(), item.MenuItem()
	for range 2 {
		if err := f.db.Write(t.Context(), "test", restaurant.Run); err != nil {
			t.Fatal(err)
		}
		if err := f.db.Write(t.Context(), "test", item.Run); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(firstRestaurant, restaurant.Restaurant()); diff != "" {
		t.Errorf("restaurant (-first +again):\n%s", diff)
	}
	if diff := cmp.Diff(firstItem, item.MenuItem()); diff != "" {
		t.Errorf("menu item (-first +again):\n%s", diff)
	}
	got := [3]int{f.count(t, "restaurants"), f.count(t, "menu_items"), f.count(t, "audit_log")}
	if got != [3]int{1, 1, 2} {
		t.Errorf("got %v restaurants, menu items and audit entries, want 1, 1, 2", got)
	}
}

func TestRestaurants(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	owner := f.user(t, "owner")
	for i, n := range []catalog.NewRestaurant{
		{Name: "Pasta & More", Cuisine: "Italian", Description: "Fresh every day"},
		{Name: "Sushi Bar", Cuisine: "Japanese", Description: "100% fish"},
		{Name: "Pizza_Place", Cuisine: "italian", Description: `A\B`},
		{Name: "Grill", Cuisine: "American", Description: "No pasta at all"},
		{Name: "Italian Grill", Cuisine: "Fusion", Description: ""},
	} {
		n.Address = fmt.Sprintf("%d Road", i)
		f.restaurant(t, owner, n)
	}
	tests := map[string]struct {
		search, cuisine string
		want            []string
	}{
		"All":               {"", "", []string{"Pasta & More", "Sushi Bar", "Pizza_Place", "Grill", "Italian Grill"}},
		"NameOrDescription": {"pasta", "", []string{"Pasta & More", "Grill"}},
		"AlsoCuisine":       {"ITALIAN", "", []string{"Pasta & More", "Pizza_Place", "Italian Grill"}},
		"Cuisine":           {"", "italian", []string{"Pasta & More", "Pizza_Place"}},
		"CuisineIsWhole":    {"", "ital", nil},
		"Both":              {"pizza", "Italian", []string{"Pizza_Place"}},
		"Percent":           {"0%", "", []string{"Sushi Bar"}},
		"Underscore":        {"a_p", "", []string{"Pizza_Place"}},
		"Backslash":         {`A\B`, "", []string{"Pizza_Place"}},
		"Injection":         {"' OR 1=1 --", "", nil},
		"Nothing":           {"zzz", "", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, limit := range []int{0, 1, 2, 5, 100} {
				if diff := cmp.Diff(test.want, walk(t, f, test.search, test.cuisine, limit)); diff != "" {
					t.Errorf("limit %d (-want +got):\n%s", limit, diff)
				}
			}
		})
	}

	t.Run("BadQuery", func(t *testing.T) {
		t.Parallel()
		_, _, err := f.service.Restaurants(t.Context(), "\x00", "\xff", catalog.Page{Limit: 101, Cursor: "!"})
		validationtest.WantFields(t, err, "search", "cuisine", "limit", "cursor")
	})
}

// walk lists page by page and returns the names.
func walk(t *testing.T, f *fixture, search, cuisine string, limit int) (names []string) {
	t.Helper()
	for cursor := ""; ; {
		list, next, err := f.service.Restaurants(t.Context(), search, cuisine, catalog.Page{Limit: limit, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			names = append(names, r.Name)
		}
		if next == "" {
			return names
		}
		cursor = next
	}
}
