package ordering_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"speedybites/internal/ordering"
)

// TestPlaceRepeated runs the transaction of one request again with the ids that were drawn for it, as happens when
// COMMIT's answer is lost.
func TestPlaceRepeated(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", "key"} {
		name := "WithoutKey"
		if key != "" {
			name = "WithKey"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Run("AfterCommit", func(t *testing.T) { testRepeatedAfterCommit(t, key, 24*time.Hour) })
			// Its own key has expired meanwhile: still its own.
			t.Run("AfterCommitAndExpiry", func(t *testing.T) { testRepeatedAfterCommit(t, key, time.Microsecond) })
			t.Run("WhileTheFirstCommits", func(t *testing.T) { testRepeatedMeanwhile(t, key, true) })
			t.Run("WhileTheFirstRollsBack", func(t *testing.T) { testRepeatedMeanwhile(t, key, false) })
		})
	}
}

func testRepeatedAfterCommit(t *testing.T, key string, ttl time.Duration) {
	t.Helper()
	f := newFixture(t)
	p := newPlacement(t, f, key, ttl)
	if err := f.db.Write(t.Context(), "test", p.Run); err != nil {
		t.Fatal(err)
	}
	want := p.Placed()
	f.exec(t, `UPDATE menu_items SET price_cents = 1, available = false`)
	for range 3 {
		if err := f.db.Write(t.Context(), "test", p.Run); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, p.Placed()); diff != "" {
			t.Errorf("repeated (-want +got):\n%s", diff)
		}
	}
	f.stored(t, 1)
	// Each time something was written, so that COMMIT waits for the standbys.
	if got := f.count(t, `idempotency_keys WHERE uses = 3`); got != 1 {
		t.Errorf("the key was not touched by every repetition")
	}
}

// testRepeatedMeanwhile repeats a request while the server still works on the first attempt.
func testRepeatedMeanwhile(t *testing.T, key string, commit bool) {
	t.Helper()
	f := newFixture(t)
	p := newPlacement(t, f, key, 24*time.Hour)
	n := f.request()
	first, err := f.raw.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Rollback(t.Context()) }()
	for _, q := range []struct {
		sql  string
		args []any
	}{
		{
			`INSERT INTO idempotency_keys (user_id, key, request_hash, order_id, expires_at)
			 VALUES ($1, $2, $3, $4, now() + interval '1 day')`,
			[]any{f.customer, p.StoredKey(), p.RequestHash(), p.OrderID()},
		},
		{
			`INSERT INTO orders (id, restaurant_id, customer_id, total_cents, currency, delivery_address, note)
			 VALUES ($1, $2, $3, 2595, 'USD', $4, $5)`,
			[]any{p.OrderID(), f.restaurant, f.customer, n.DeliveryAddress, n.Note},
		},
		{
			`INSERT INTO order_items (order_id, menu_item_id, position, name, quantity, unit_price_cents, currency)
			 VALUES ($1, $2, 1, 'Pizza', 2, 1050, 'USD'), ($1, $3, 2, 'Soup', 1, 495, 'USD')`,
			[]any{p.OrderID(), f.pizza, f.soup},
		},
	} {
		if _, err := first.Exec(t.Context(), q.sql, q.args...); err != nil {
			t.Fatal(err)
		}
	}
	repeated := make(chan error, 1)
	go func() { repeated <- f.db.Write(t.Context(), "test", p.Run) }()
	waitForLockWaiters(t, f, 1)
	end := first.Rollback
	if commit {
		end = first.Commit
	}
	if err := end(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-repeated; err != nil {
		t.Fatal(err)
	}
	got := p.Placed()
	if got.Replayed || got.Order.ID != p.OrderID() || got.Order.TotalCents != 2595 {
		t.Errorf("got %+v, want the order as placed by this request", got)
	}
	if got := f.count(t, "orders"); got != 1 {
		t.Errorf("got %d orders, want 1", got)
	}
}

func newPlacement(t *testing.T, f *fixture, key string, ttl time.Duration) ordering.Placement {
	t.Helper()
	p, err := ordering.NewPlacement(f.actor(), key, f.request(), ttl)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
