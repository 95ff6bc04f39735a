package load

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Result is what a ledger and the database say together.
type Result struct {
	Requests     int
	Failed       int
	Acknowledged int // orders answered with 201
	Stored       int // orders of the run in the database
	// Lost are acknowledged orders that are not there; Doubled are requests with more than one order, or with another
	// one than the client was told.
	Lost, Doubled []int
	// Wrong are acknowledged orders that are there with other content than the client was told, and Strange is the number
	// of orders that no request of the ledger placed.
	Wrong   []int
	Strange int
	// Unknown are orders of which the client never learned whether they were placed, and Placed is how many of them were.
	Unknown, Placed int
	// Longest is the request that waited longest.
	Longest Entry
}

// String is one line for a log.
func (r Result) String() string {
	return fmt.Sprintf("%d requests, %d failed, %d orders acknowledged, %d stored, %d lost, %d doubled, longest wait %v",
		r.Requests, r.Failed, r.Acknowledged, r.Stored, len(r.Lost), len(r.Doubled), r.Longest.Took())
}

// Compare holds the ledger against the orders in the database that db is connected to.
func (l *Ledger) Compare(ctx context.Context, db *pgx.Conn) (Result, error) {
	stored, err := l.stored(ctx, db)
	if err != nil {
		return Result{}, fmt.Errorf("read orders of %s: %w", l.Run, err)
	}
	var r Result
	for _, there := range stored {
		r.Stored += len(there)
	}
	for _, e := range l.Entries() {
		r.Requests++
		if e.Failed() {
			r.Failed++
		}
		if e.Took() > r.Longest.Took() {
			r.Longest = e
		}
		if e.Order {
			r.compare(e, stored[e.Note(l.Run)])
			delete(stored, e.Note(l.Run))
		}
	}
	for _, there := range stored {
		r.Strange += len(there)
	}
	return r, nil
}

// compare holds one order of the ledger against those with its note.
func (r *Result) compare(e Entry, there []Order) {
	if len(there) > 1 {
		r.Doubled = append(r.Doubled, e.Number)
	}
	if e.Failed() {
		r.Unknown++
		r.Placed += len(there)
		return
	}
	r.Acknowledged++
	switch {
	case len(there) == 0:
		r.Lost = append(r.Lost, e.Number)
	case len(there) == 1 && there[0].ID != e.OrderID:
		r.Doubled = append(r.Doubled, e.Number)
	case len(there) == 1 && !there[0].same(e.Placed):
		r.Wrong = append(r.Wrong, e.Number)
	}
}

// stored returns the orders of the run by their note.
func (l *Ledger) stored(ctx context.Context, db *pgx.Conn) (map[string][]Order, error) {
	rows, err := db.Query(ctx, //nolint:rowserrcheck // ForEachRow does
		`SELECT note, jsonb_build_object('id', id, 'restaurantId', restaurant_id, 'customerId', customer_id,
			'status', status, 'totalCents', total_cents, 'currency', currency, 'deliveryAddress', delivery_address,
			'note', note, 'items', (
				SELECT jsonb_agg(jsonb_build_object('menuItemId', menu_item_id, 'name', name, 'quantity', quantity,
					'unitPriceCents', unit_price_cents) ORDER BY position)
				FROM order_items WHERE order_id = orders.id))
		FROM orders WHERE starts_with(note, $1)`, l.Run+"/")
	if err != nil {
		return nil, err
	}
	stored := map[string][]Order{}
	var note string
	var order Order
	_, err = pgx.ForEachRow(rows, []any{&note, &order}, func() error {
		stored[note] = append(stored[note], order)
		order = Order{} // or the next one would be read into the same items
		return nil
	})
	return stored, err
}
