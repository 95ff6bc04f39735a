package ordering_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/postgres"
)

// TestSchema goes around the program: what must not be in the tables cannot be put there.
func TestSchema(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const newOrder = `INSERT INTO orders (id, restaurant_id, customer_id, total_cents, currency, delivery_address) VALUES `
	const newItems = `INSERT INTO order_items (order_id, menu_item_id, position, name, quantity, unit_price_cents, currency)
		VALUES `
	order := func(total int) string {
		return fmt.Sprintf(newOrder+`('%%[1]s', '%s', '%s', %d, 'USD', 'Here')`, f.restaurant, f.customer, total)
	}
	items := func(list ...string) string { return newItems + strings.Join(list, ", ") }
	pizza := fmt.Sprintf(`('%%[1]s', '%s', 1, 'Pizza', 2, 1050, 'USD')`, f.pizza)
	soup := fmt.Sprintf(`('%%[1]s', '%s', 2, 'Soup', 1, 495, 'USD')`, f.soup)
	gift := fmt.Sprintf(`('%%[1]s', '%s', 3, 'Gift', 1, 0, 'USD')`, f.cake)
	wine := fmt.Sprintf(`('%%[1]s', '%s', 3, 'Wine', 1, 700, 'EUR')`, f.wine)
	good := []string{order(2595), items(pizza, soup)}
	many := make([]string, 51)
	for i := range many {
		many[i] = fmt.Sprintf(`('%%[1]s', '%s', %d, 'Gift', 1, 0, 'USD')`, uuid.New(), i%50+1)
	}
	// Each list is one transaction on an order of its own.
	tests := map[string]struct {
		statements []string
		want       string
	}{
		"Good":                  {good, ""},
		"GoodThenDeleted":       {append(good, `DELETE FROM orders WHERE id = '%[1]s'`), ""},
		"FreeItems":             {[]string{order(0), items(gift)}, ""},
		"TotalTooHigh":          {[]string{order(2596), items(pizza, soup)}, "orders_total_is_sum"},
		"NoItems":               {[]string{order(0)}, "orders_total_is_sum"},
		"NegativeTotal":         {[]string{order(-1)}, "orders_total_cents_range"},
		"TotalChanged":          {append(good, `UPDATE orders SET total_cents = 1 WHERE id = '%[1]s'`), "orders_total_is_sum"},
		"CurrencyChanged":       {append(good, `UPDATE orders SET currency = 'EUR' WHERE id = '%[1]s'`), "orders_total_is_sum"},
		"ItemAdded":             {append(good, items(strings.Replace(gift, ", 0,", ", 5,", 1))), "orders_total_is_sum"},
		"ItemsDeleted":          {append(good, `DELETE FROM order_items WHERE order_id = '%[1]s'`), "orders_total_is_sum"},
		"ItemChanged":           {append(good, `UPDATE order_items SET quantity = 3 WHERE order_id = '%[1]s'`), "order_items_immutable"},
		"OtherCurrency":         {[]string{order(3295), items(pizza, soup, wine)}, "orders_total_is_sum"},
		"FiftyOneItems":         {[]string{order(0), items(many...)}, "orders_total_is_sum"},
		"ItemTwice":             {[]string{order(4200), items(pizza, pizza)}, "order_items_pkey"},
		"ItemWithoutOrder":      {[]string{items(pizza)}, "order_items_order_id_fkey"},
		"NoQuantity":            {[]string{order(0), items(strings.Replace(pizza, ", 2,", ", 0,", 1))}, "order_items_quantity_range"},
		"UnknownStatus":         {append(good, `UPDATE orders SET status = 'eaten' WHERE id = '%[1]s'`), "orders_status_step"},
		"NotPlacedFirst":        {[]string{strings.NewReplacer("total_cents,", "total_cents, status,", ", 2595,", ", 2595, 'accepted',").Replace(order(2595))}, "orders_status_step"},
		"LongAddress":           {append(good, `UPDATE orders SET delivery_address = repeat('x', 501) WHERE id = '%[1]s'`), "orders_delivery_address_length"},
		"KeyOfNoOrder":          {[]string{fmt.Sprintf(`INSERT INTO idempotency_keys (user_id, key, request_hash, order_id, expires_at) VALUES ('%s', 'client:a', sha256(''), '%%[1]s', now())`, f.customer)}, "idempotency_keys_order_id_fkey"},
		"KeyOfNeitherKind":      {[]string{fmt.Sprintf(`INSERT INTO idempotency_keys (user_id, key, request_hash, order_id, expires_at) VALUES ('%s', 'a', sha256(''), '%%[1]s', now())`, f.customer)}, "idempotency_keys_key_form"},
		"TotalAndItemsTogether": {append(good, `UPDATE orders SET total_cents = 2600 WHERE id = '%[1]s'`, items(strings.Replace(gift, ", 0,", ", 5,", 1))), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id := newID(t)
			err := pgx.BeginFunc(t.Context(), f.raw, func(tx pgx.Tx) error {
				for _, statement := range test.statements {
					if _, err := tx.Exec(t.Context(), strings.ReplaceAll(statement, "%[1]s", id.String())); err != nil {
						return err
					}
				}
				return nil
			})
			if got := postgres.Violation(err); got != test.want || (err != nil) != (test.want != "") {
				t.Errorf("got violation %q (%v), want %q", got, err, test.want)
			}
		})
	}
}

// TestStatusSteps tries every step from every status against the database.
func TestStatusSteps(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	legal := map[string][]string{
		"placed":     {"accepted", "rejected", "cancelled"},
		"accepted":   {"preparing", "cancelled"},
		"preparing":  {"ready"},
		"ready":      {"delivering"},
		"delivering": {"delivered"},
		"delivered":  nil,
		"rejected":   nil,
		"cancelled":  nil,
	}
	routes := map[string][]string{
		"placed": {}, "accepted": {"accepted"}, "preparing": {"accepted", "preparing"},
		"ready": {"accepted", "preparing", "ready"}, "delivering": {"accepted", "preparing", "ready", "delivering"},
		"delivered": {"accepted", "preparing", "ready", "delivering", "delivered"},
		"rejected":  {"rejected"}, "cancelled": {"accepted", "cancelled"},
	}
	step := func(ctx context.Context, id uuid.UUID, to string) error {
		_, err := f.raw.Exec(ctx, `UPDATE orders SET status = $2, updated_at = now() WHERE id = $1`, id, to)
		return err
	}
	for from, route := range routes {
		for to := range routes {
			id := f.place(t, "", f.request()).Order.ID
			for _, status := range route {
				if err := step(t.Context(), id, status); err != nil {
					t.Fatalf("on the way to %s: %v", from, err)
				}
			}
			err := step(t.Context(), id, to)
			allowed := from == to // no step at all
			for _, next := range legal[from] {
				allowed = allowed || next == to
			}
			if allowed && err != nil || !allowed && postgres.Violation(err) != "orders_status_step" {
				t.Errorf("%s → %s: got %v, allowed: %v", from, to, err, allowed)
			}
		}
	}
}
