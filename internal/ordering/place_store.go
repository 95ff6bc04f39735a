package ordering

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// claim is what the key's row says after it was inserted or touched.
type claim struct {
	orderID     uuid.UUID
	requestHash [sha256.Size]byte
	again       bool // the key stood for an order before
	now         time.Time
}

// An expired row is taken over, unless it is this request's own: a lost COMMIT can be older than a short lifetime. uses
// makes the update a change even where nothing else changes, and tells a row that was there from a new one.
const claimKey = `
INSERT INTO idempotency_keys AS k (user_id, key, request_hash, order_id, expires_at)
VALUES ($1, $2, $3, $4, now() + $5)
ON CONFLICT (user_id, key) DO UPDATE SET
    request_hash = CASE WHEN k.expires_at > now() OR k.order_id = $4 THEN k.request_hash ELSE excluded.request_hash END,
    order_id     = CASE WHEN k.expires_at > now() OR k.order_id = $4 THEN k.order_id     ELSE excluded.order_id     END,
    uses         = CASE WHEN k.expires_at > now() OR k.order_id = $4 THEN k.uses + 1     ELSE 0                     END,
    created_at   = CASE WHEN k.expires_at > now() OR k.order_id = $4 THEN k.created_at   ELSE excluded.created_at   END,
    expires_at   = CASE WHEN k.expires_at > now() OR k.order_id = $4 THEN k.expires_at   ELSE excluded.expires_at   END
RETURNING order_id, request_hash, uses > 0, now()`

func queueClaim(b *pgx.Batch, p *placement, c *claim) {
	b.Queue(claimKey, p.by.ID, p.key, p.requestHash[:], p.orderID, p.ttl).QueryRow(func(row pgx.Row) error {
		var hash []byte
		if err := row.Scan(&c.orderID, &hash, &c.again, &c.now); err != nil {
			return err
		}
		if copy(c.requestHash[:], hash) != len(c.requestHash) {
			return fmt.Errorf("request hash of idempotency key has %d bytes", len(hash))
		}
		c.now = c.now.UTC()
		return nil
	})
}

// menu is the part of a restaurant's menu that a request asks for.
type menu struct {
	known, open bool
	items       map[uuid.UUID]menuItem
}

type menuItem struct {
	name       string
	priceCents int64
	currency   string
	available  bool
}

// One statement, so that the restaurant and all prices are of the same moment, and that moment is inside the order's
// transaction. No FOR SHARE: a price that changes between this and COMMIT, a round trip later, is the same to everyone
// as one that changes just after it. The lock would write to the rows of popular items in every order, and make their
// owner wait for every COMMIT that waits for a standby.
const selectWanted = `
SELECT r.open, m.id, m.name, m.price_cents, m.currency, m.available
FROM restaurants r LEFT JOIN menu_items m ON m.restaurant_id = r.id AND m.id = ANY($2)
WHERE r.id = $1 AND r.deleted_at IS NULL`

func queueMenu(b *pgx.Batch, n NewOrder, m *menu) {
	ids := make([]uuid.UUID, len(n.Items))
	for i, item := range n.Items {
		ids[i] = item.MenuItemID
	}
	b.Queue(selectWanted, n.RestaurantID, ids).Query(func(rows pgx.Rows) error {
		m.items = make(map[uuid.UUID]menuItem, len(ids))
		for rows.Next() {
			m.known = true
			var (
				id              uuid.NullUUID
				name, currency  *string
				price           *int64
				open, available *bool
			)
			if err := rows.Scan(&open, &id, &name, &price, &currency, &available); err != nil {
				return err
			}
			m.open = *open
			if id.Valid {
				m.items[id.UUID] = menuItem{name: *name, priceCents: *price, currency: *currency, available: *available}
			}
		}
		return rows.Err()
	})
}

// An order of one's own that is there already would have been found by its key, so a conflict here is an error.
const insertOrder = `
INSERT INTO orders (id, restaurant_id, customer_id, status, total_cents, currency, delivery_address, note)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`

const insertItems = `
INSERT INTO order_items (order_id, position, menu_item_id, name, quantity, unit_price_cents, currency)
SELECT $1, i.position, i.menu_item_id, i.name, i.quantity, i.unit_price_cents, i.currency
FROM unnest($2::uuid[], $3::text[], $4::integer[], $5::bigint[], $6::text[]) WITH ORDINALITY
    AS i (menu_item_id, name, quantity, unit_price_cents, currency, position)`

// queueOrder appends the inserts of the order and its items. created_at and updated_at are now() by default, which is
// the same moment in the whole transaction, and what the claim returned.
func queueOrder(b *pgx.Batch, o Order, currencies []string) {
	b.Queue(insertOrder, o.ID, o.RestaurantID, o.CustomerID, o.Status, o.TotalCents, o.Currency, o.DeliveryAddress, o.Note)
	var (
		ids        = make([]uuid.UUID, len(o.Items))
		names      = make([]string, len(o.Items))
		quantities = make([]int, len(o.Items))
		prices     = make([]int64, len(o.Items))
	)
	for i, item := range o.Items {
		ids[i], names[i], quantities[i], prices[i] = item.MenuItemID, item.Name, item.Quantity, item.UnitPriceCents
	}
	b.Queue(insertItems, o.ID, ids, names, quantities, prices, currencies)
}
