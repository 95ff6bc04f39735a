package ordering

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/postgres"
)

const (
	roleCustomer = "customer"
	roleOwner    = "owner"
	roleAdmin    = "admin"
)

// The items come as arrays in the order's own row: one statement and one round trip for a page, whatever it holds.
const (
	orderColumns = `
SELECT o.id, o.restaurant_id, o.customer_id, o.status, o.total_cents, o.currency, o.delivery_address, o.note,
       o.created_at, o.updated_at, i.menu_item_ids, i.names, i.quantities, i.unit_prices_cents
FROM orders o CROSS JOIN LATERAL (
    SELECT array_agg(menu_item_id ORDER BY position) AS menu_item_ids, array_agg(name ORDER BY position) AS names,
           array_agg(quantity ORDER BY position) AS quantities,
           array_agg(unit_price_cents ORDER BY position) AS unit_prices_cents
    FROM order_items WHERE order_id = o.id
) i`
	byCustomer = ` WHERE o.customer_id = $1`
	byOwner    = ` WHERE o.restaurant_id IN (SELECT id FROM restaurants WHERE owner_id = $1)`
	byAdmin    = ` WHERE $1::uuid IS NOT NULL`
	oneOrder   = ` AND o.id = $2`
	olderOnes  = ` AND o.id < $2 ORDER BY o.id DESC LIMIT $3`
)

// visible returns the condition of the orders that v may see, or "" when there can be none.
func (v Viewer) visible() string {
	switch v.Role {
	case roleCustomer:
		return byCustomer
	case roleOwner:
		return byOwner
	case roleAdmin:
		return byAdmin
	default:
		return ""
	}
}

func selectOrder(ctx context.Context, q postgres.Querier, v Viewer, id uuid.UUID) (Order, error) {
	visible := v.visible()
	if visible == "" {
		return Order{}, ErrNotFound
	}
	rows, err := q.Query(ctx, orderColumns+visible+oneOrder, v.ID, id)
	if err != nil {
		return Order{}, err
	}
	o, err := pgx.CollectExactlyOneRow(rows, scanOrder)
	if errors.Is(err, pgx.ErrNoRows) {
		return Order{}, ErrNotFound
	}
	return o, err
}

// selectOrders returns up to limit orders that are older than the one with the id before.
func selectOrders(ctx context.Context, q postgres.Querier, v Viewer, before uuid.UUID, limit int) ([]Order, error) {
	visible := v.visible()
	if visible == "" {
		return []Order{}, nil
	}
	rows, err := q.Query(ctx, orderColumns+visible+olderOnes, v.ID, before, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanOrder)
}

func scanOrder(row pgx.CollectableRow) (Order, error) {
	var (
		o          Order
		ids        []uuid.UUID
		names      []string
		quantities []int
		prices     []int64
	)
	err := row.Scan(&o.ID, &o.RestaurantID, &o.CustomerID, &o.Status, &o.TotalCents, &o.Currency, &o.DeliveryAddress,
		&o.Note, &o.CreatedAt, &o.UpdatedAt, &ids, &names, &quantities, &prices)
	if err != nil {
		return Order{}, fmt.Errorf("scan order: %w", err)
	}
	o.CreatedAt, o.UpdatedAt = o.CreatedAt.UTC(), o.UpdatedAt.UTC()
	o.Items = make([]Item, len(ids))
	for i := range ids {
		o.Items[i] = Item{MenuItemID: ids[i], Name: names[i], Quantity: quantities[i], UnitPriceCents: prices[i]}
	}
	return o, nil
}
