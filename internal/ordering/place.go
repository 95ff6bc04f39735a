package ordering

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/audit"
	"speedybites/internal/postgres"
	"speedybites/internal/validation"
)

// placement is the transaction of one Place. Its identity is drawn once; run may run several times, see the package
// comment.
type placement struct {
	by          audit.Actor
	request     NewOrder
	requestHash [sha256.Size]byte
	key         string // as stored, with its prefix
	ttl         time.Duration
	orderID     uuid.UUID
	operationID uuid.UUID

	placed Placed // the result of the last run
}

// The prefixes of stored keys. A request without a key gets its operation id for one; the prefixes keep a client from
// meeting it.
const (
	clientKey  = "client:"
	requestKey = "request:"
)

func newPlacement(by audit.Actor, key string, n NewOrder, ttl time.Duration) (*placement, error) {
	order, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("draw order id: %w", err)
	}
	operation, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("draw operation id: %w", err)
	}
	stored := clientKey + key
	if key == "" {
		stored = requestKey + operation.String()
	}
	return &placement{
		by: by, request: n, requestHash: n.hash(), key: stored, ttl: ttl, orderID: order, operationID: operation,
	}, nil
}

func (p *placement) run(ctx context.Context, tx *postgres.Tx) error {
	p.placed = Placed{}
	c, m, err := p.claimAndRead(ctx, tx)
	if err != nil {
		return err
	}
	if c.again {
		return p.resolve(ctx, tx, c)
	}
	order, currencies, err := p.price(m)
	if err != nil {
		return err
	}
	order.CreatedAt, order.UpdatedAt = c.now, c.now

	b := &pgx.Batch{}
	queueOrder(b, order, currencies)
	err = audit.Queue(b, audit.Entry{
		OperationID: p.operationID, Actor: p.by, Action: "place", Entity: "order", EntityID: order.ID,
		After: newOrderAfter(order),
	})
	if err != nil {
		return err
	}
	if err := tx.CommitWith(ctx, b); err != nil {
		return err
	}
	p.placed = Placed{Order: order}
	return nil
}

// claimAndRead is the first round trip.
func (p *placement) claimAndRead(ctx context.Context, tx *postgres.Tx) (claim, menu, error) {
	var (
		c claim
		m menu
		b pgx.Batch
	)
	queueClaim(&b, p, &c)
	queueMenu(&b, p.request, &m)
	err := tx.SendBatch(ctx, &b).Close()
	return c, m, err
}

// resolve answers with the order that the key already stands for.
func (p *placement) resolve(ctx context.Context, tx *postgres.Tx, c claim) error {
	mine := c.orderID == p.orderID
	if !mine && c.requestHash != p.requestHash {
		return ErrKeyReused
	}
	order, err := selectOrder(ctx, tx, Viewer{ID: p.by.ID, Role: roleCustomer}, c.orderID)
	if errors.Is(err, ErrNotFound) {
		// Not the request's fault, so not a 404: the key's foreign key promises the order.
		return fmt.Errorf("order %s of an idempotency key is missing", c.orderID)
	}
	if err != nil {
		return err
	}
	p.placed = Placed{Order: order, Replayed: !mine}
	return nil
}

// price makes the order out of the request and the menu, at the menu's prices. currencies are those of its items, which
// the database compares with the order's.
func (p *placement) price(m menu) (order Order, currencies []string, err error) {
	if !m.known {
		return Order{}, nil, unknownRestaurant()
	}
	var errs validation.Errors
	if !m.open {
		errs.Add("restaurantId", "is a restaurant that is closed")
	}
	order = Order{
		ID: p.orderID, RestaurantID: p.request.RestaurantID, CustomerID: p.by.ID, Status: StatusPlaced,
		DeliveryAddress: p.request.DeliveryAddress, Note: p.request.Note,
	}
	for i, wanted := range p.request.Items {
		item, ok := m.items[wanted.MenuItemID]
		switch {
		case !ok:
			errs.Add(itemField(i, "menuItemId"), "is not on this restaurant's menu")
			continue
		case !item.available:
			errs.Add(itemField(i, "menuItemId"), "is not available")
			continue
		case order.Currency == "":
			order.Currency = item.currency
		case item.currency != order.Currency:
			errs.Add(itemField(i, "menuItemId"), "has another currency than the items before it")
			continue
		}
		order.Items = append(order.Items, Item{
			MenuItemID: wanted.MenuItemID, Name: item.name, Quantity: wanted.Quantity, UnitPriceCents: item.priceCents,
		})
		currencies = append(currencies, item.currency)
		// No overflow: 50 items × 99 × 10,000,000 is far below the limit.
		order.TotalCents += int64(wanted.Quantity) * item.priceCents
	}
	return order, currencies, errs.Err()
}
