package ordering_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"speedybites/internal/audit"
	"speedybites/internal/ordering"
	"speedybites/internal/validation/validationtest"
)

func TestPlace(t *testing.T) {
	f := newFixture(t)

	t.Run("StoresOrderItemsKeyAndAuditEntry", func(t *testing.T) {
		got := f.place(t, "", f.request())
		want := ordering.Placed{Order: ordering.Order{
			ID: got.Order.ID, RestaurantID: f.restaurant, CustomerID: f.customer, Status: ordering.StatusPlaced,
			Items: []ordering.Item{
				{MenuItemID: f.pizza, Name: "Pizza", Quantity: 2, UnitPriceCents: 1050},
				{MenuItemID: f.soup, Name: "Soup", Quantity: 1, UnitPriceCents: 495},
			},
			TotalCents: 2595, Currency: "USD", DeliveryAddress: "1 Long Road\nback door", Note: "no onions",
			CreatedAt: got.Order.CreatedAt, UpdatedAt: got.Order.CreatedAt,
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("placed (-want +got):\n%s", diff)
		}
		if got.Order.ID.Version() != 7 || got.Order.CreatedAt.Location() != time.UTC {
			t.Errorf("got id %v, created at %v, want UUIDv7 and UTC", got.Order.ID, got.Order.CreatedAt)
		}
		read, err := f.service.Order(t.Context(), ordering.Viewer{ID: f.customer, Role: "customer"}, got.Order.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got.Order, read); diff != "" {
			t.Errorf("read back (-placed +read):\n%s", diff)
		}
		f.stored(t, 1)
		var after map[string]any
		var actor uuid.UUID
		var requestID string
		err = f.raw.QueryRow(t.Context(), `SELECT actor_id, request_id, after FROM audit_log WHERE entity_id = $1 AND
			entity = 'order' AND action = 'place' AND before IS NULL`, got.Order.ID).Scan(&actor, &requestID, &after)
		if err != nil {
			t.Fatal(err)
		}
		if actor != f.customer || requestID != "request-1" || after["totalCents"] != 2595.0 {
			t.Errorf("got audit entry %v %q %v", actor, requestID, after)
		}
	})

	t.Run("SameRequestWithoutKeyTwiceIsTwoOrders", func(t *testing.T) {
		before := f.count(t, "orders")
		if a, b := f.place(t, "", f.request()), f.place(t, "", f.request()); a.Order.ID == b.Order.ID {
			t.Errorf("got order %v twice", a.Order.ID)
		}
		if got := f.count(t, "orders") - before; got != 2 {
			t.Errorf("got %d orders more, want 2", got)
		}
	})

	t.Run("UnknownCustomer", func(t *testing.T) {
		_, err := f.service.Place(t.Context(), audit.Actor{ID: newID(t), Role: "customer"}, "k", f.request())
		if !errors.Is(err, ordering.ErrUnknownCustomer) {
			t.Errorf("got %v, want %v", err, ordering.ErrUnknownCustomer)
		}
	})

	t.Run("FiftyItems", func(t *testing.T) {
		n := ordering.NewOrder{RestaurantID: f.restaurant, DeliveryAddress: "Here"}
		for range 50 {
			n.Items = append(n.Items, ordering.NewItem{
				MenuItemID: f.item(t, f.restaurant, "Feast", 10_000_000, "USD", true), Quantity: 99,
			})
		}
		if got := f.place(t, "", n); got.Order.TotalCents != 50*99*10_000_000 || len(got.Order.Items) != 50 {
			t.Errorf("got %d items for %d cents", len(got.Order.Items), got.Order.TotalCents)
		}
	})
}

func TestPlaceRefuses(t *testing.T) {
	f := newFixture(t)
	closed := f.newRestaurant(t, f.owner)
	f.exec(t, `UPDATE restaurants SET open = false WHERE id = $1`, closed)
	stew := f.item(t, closed, "Stew", 500, "USD", true)
	item := func(id uuid.UUID, quantity int) ordering.NewItem {
		return ordering.NewItem{MenuItemID: id, Quantity: quantity}
	}
	tests := map[string]struct {
		key    string
		change func(*ordering.NewOrder)
		fields []string
	}{
		"Nothing": {
			change: func(n *ordering.NewOrder) { *n = ordering.NewOrder{} },
			fields: []string{"restaurantId", "items", "deliveryAddress"},
		},
		"TooManyItems": {
			change: func(n *ordering.NewOrder) { n.Items = make([]ordering.NewItem, 51) }, fields: []string{"items"},
		},
		"Quantities": {
			change: func(n *ordering.NewOrder) { n.Items[0].Quantity, n.Items[1].Quantity = 0, 100 },
			fields: []string{"items[0].quantity", "items[1].quantity"},
		},
		"SameItemTwice": {
			change: func(n *ordering.NewOrder) { n.Items = append(n.Items, item(f.pizza, 1)) },
			fields: []string{"items[2].menuItemId"},
		},
		"ItemWithoutID": {
			change: func(n *ordering.NewOrder) { n.Items = append(n.Items, item(uuid.Nil, 1)) },
			fields: []string{"items[2].menuItemId"},
		},
		"LongTexts": {
			change: func(n *ordering.NewOrder) {
				n.DeliveryAddress, n.Note = strings.Repeat("é", 501), strings.Repeat("n", 501)
			},
			fields: []string{"deliveryAddress", "note"},
		},
		"NUL":            {change: func(n *ordering.NewOrder) { n.Note = "a\x00b" }, fields: []string{"note"}},
		"InvalidUTF8":    {change: func(n *ordering.NewOrder) { n.Note = "a\xffb" }, fields: []string{"note"}},
		"LongKey":        {key: strings.Repeat("k", 256), fields: []string{"Idempotency-Key"}},
		"UnprintableKey": {key: "a\tb", fields: []string{"Idempotency-Key"}},
		"UnknownRestaurant": {
			change: func(n *ordering.NewOrder) { n.RestaurantID = newID(t) }, fields: []string{"restaurantId"},
		},
		"ClosedRestaurant": {
			change: func(n *ordering.NewOrder) { n.RestaurantID, n.Items = closed, []ordering.NewItem{item(stew, 1)} },
			fields: []string{"restaurantId"},
		},
		"UnknownItemAndSoldOutItem": {
			change: func(n *ordering.NewOrder) {
				n.Items = []ordering.NewItem{item(newID(t), 1), item(f.pizza, 1), item(f.cake, 1)}
			},
			fields: []string{"items[0].menuItemId", "items[2].menuItemId"},
		},
		"OtherRestaurantsItem": {
			change: func(n *ordering.NewOrder) { n.Items[1].MenuItemID = f.sushi },
			fields: []string{"items[1].menuItemId"},
		},
		"MixedCurrencies": {
			change: func(n *ordering.NewOrder) { n.Items[1].MenuItemID = f.wine },
			fields: []string{"items[1].menuItemId"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			n := f.request()
			if test.change != nil {
				test.change(&n)
			}
			_, err := f.service.Place(t.Context(), f.actor(), test.key, n)
			validationtest.WantFields(t, err, test.fields...)
		})
	}
	f.stored(t, 0)

	t.Run("KeyStaysFree", func(t *testing.T) {
		n := f.request()
		n.Items[0].MenuItemID = f.cake
		_, err := f.service.Place(t.Context(), f.actor(), "later", n)
		validationtest.WantFields(t, err, "items[0].menuItemId")
		f.exec(t, `UPDATE menu_items SET available = true WHERE id = $1`, f.cake)
		if got := f.place(t, "later", n); got.Replayed {
			t.Error("got a replay of a refused request")
		}
	})
}

func TestPlaceKey(t *testing.T) {
	f := newFixture(t)
	first := f.place(t, "key", f.request())

	t.Run("SameRequestReplays", func(t *testing.T) {
		// What the order was placed at stays, whatever the menu says now.
		f.exec(t, `UPDATE menu_items SET price_cents = 9999, available = false WHERE id = $1`, f.pizza)
		f.exec(t, `UPDATE restaurants SET open = false WHERE id = $1`, f.restaurant)
		got := f.place(t, "key", f.request())
		f.exec(t, `UPDATE menu_items SET price_cents = 1050, available = true WHERE id = $1`, f.pizza)
		f.exec(t, `UPDATE restaurants SET open = true WHERE id = $1`, f.restaurant)
		if diff := cmp.Diff(ordering.Placed{Order: first.Order, Replayed: true}, got); diff != "" {
			t.Errorf("replay (-want +got):\n%s", diff)
		}
		f.stored(t, 1)
	})

	t.Run("OtherRequestIsRefused", func(t *testing.T) {
		changes := map[string]func(*ordering.NewOrder){
			"Quantity": func(n *ordering.NewOrder) { n.Items[0].Quantity++ },
			"Order":    func(n *ordering.NewOrder) { n.Items[0], n.Items[1] = n.Items[1], n.Items[0] },
			"Address":  func(n *ordering.NewOrder) { n.DeliveryAddress += "!" },
			"Note":     func(n *ordering.NewOrder) { n.Note = "" },
			"TextMoved": func(n *ordering.NewOrder) {
				n.DeliveryAddress, n.Note = n.DeliveryAddress+n.Note[:1], n.Note[1:]
			},
		}
		for name, change := range changes {
			n := f.request()
			change(&n)
			if _, err := f.service.Place(t.Context(), f.actor(), "key", n); !errors.Is(err, ordering.ErrKeyReused) {
				t.Errorf("%s: got %v, want %v", name, err, ordering.ErrKeyReused)
			}
		}
		f.stored(t, 1)
	})

	t.Run("BelongsToItsUser", func(t *testing.T) {
		by := audit.Actor{ID: f.user(t, "customer"), Role: "customer"}
		got, err := f.service.Place(t.Context(), by, "key", f.request())
		if err != nil || got.Replayed || got.Order.ID == first.Order.ID {
			t.Errorf("got %+v, %v, want an order of the other user's own", got, err)
		}
	})

	t.Run("CannotMeetAKeylessRequest", func(t *testing.T) {
		keyless := f.place(t, "", f.request())
		var stored string
		err := f.raw.QueryRow(t.Context(), `SELECT key FROM idempotency_keys WHERE order_id = $1`, keyless.Order.ID).
			Scan(&stored)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{stored, strings.TrimPrefix(stored, "request:")} {
			if got := f.place(t, key, f.request()); got.Replayed {
				t.Errorf("key %q met a request without one", key)
			}
		}
	})

	t.Run("ExpiredIsFreeAgain", func(t *testing.T) {
		f.exec(t, `UPDATE idempotency_keys SET expires_at = now() - interval '1 minute' WHERE order_id = $1`,
			first.Order.ID)
		n := f.request()
		n.Note = "another one"
		again := f.place(t, "key", n)
		if again.Replayed || again.Order.ID == first.Order.ID {
			t.Errorf("got %+v, want a new order", again)
		}
		if got := f.place(t, "key", n); !got.Replayed || got.Order.ID != again.Order.ID {
			t.Errorf("got %+v, want a replay of %v", got, again.Order.ID)
		}
	})

	t.Run("ExpiredAreDeletedAfterAnHour", func(t *testing.T) {
		keys := f.count(t, "idempotency_keys")
		f.exec(t, `UPDATE idempotency_keys SET expires_at = now() - interval '59 minutes'`)
		f.exec(t, `UPDATE idempotency_keys SET expires_at = now() - interval '61 minutes' WHERE key = 'client:key'`)
		deleted, err := f.service.DeleteExpiredKeys(t.Context())
		if err != nil || deleted != 2 {
			t.Errorf("got %d deleted, %v, want 2", deleted, err)
		}
		if got := f.count(t, "idempotency_keys"); got != keys-2 {
			t.Errorf("got %d keys left, want %d", got, keys-2)
		}
	})
}

func TestPlaceKeyConcurrently(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	// Two services are two instances: what one has in flight the other does not know.
	other, err := ordering.New(f.db, ordering.Config{IdempotencyTTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	services := []*ordering.Service{f.service, other}
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		orders  = map[uuid.UUID]int{}
		placed  int
		replays int
	)
	for i := range 20 {
		wg.Go(func() {
			for {
				got, err := services[i%2].Place(t.Context(), f.actor(), "same", f.request())
				if errors.Is(err, ordering.ErrKeyInFlight) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				orders[got.Order.ID]++
				if got.Replayed {
					replays++
				} else {
					placed++
				}
				return
			}
		})
	}
	wg.Wait()
	if len(orders) != 1 || placed != 1 || replays != 19 {
		t.Errorf("got %d orders, %d placed, %d replays, want 1, 1, 19", len(orders), placed, replays)
	}
	f.stored(t, 1)
}

func TestPlaceKeyInFlight(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	// Holds the first request inside its transaction.
	lock, err := f.raw.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec(t.Context(), `LOCK TABLE idempotency_keys IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	first := make(chan error, 1)
	go func() {
		_, err := f.service.Place(t.Context(), f.actor(), "key", f.request())
		first <- err
	}()
	waitForLockWaiters(t, f, 1)
	if _, err := f.service.Place(t.Context(), f.actor(), "key", f.request()); !errors.Is(err, ordering.ErrKeyInFlight) {
		t.Errorf("got %v, want %v", err, ordering.ErrKeyInFlight)
	}
	if err := lock.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if got := f.place(t, "key", f.request()); !got.Replayed {
		t.Error("got a new order, want a replay once the first is answered")
	}
}

// waitForLockWaiters waits until n sessions of the database wait for a lock.
func waitForLockWaiters(t *testing.T, f *fixture, n int) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for f.count(t, `pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) < n {
		if time.Now().After(deadline) {
			t.Fatalf("no %d sessions waited for a lock", n)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
