package ordering

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"speedybites/internal/audit"
	"speedybites/internal/postgres"
	"speedybites/internal/validation"
)

// Status is how far an order has come.
type Status string

// The steps of an order: placed → accepted → preparing → ready → delivering → delivered; rejected follows placed only,
// cancelled follows placed or accepted.
const (
	StatusPlaced     Status = "placed"
	StatusAccepted   Status = "accepted"
	StatusPreparing  Status = "preparing"
	StatusReady      Status = "ready"
	StatusDelivering Status = "delivering"
	StatusDelivered  Status = "delivered"
	StatusRejected   Status = "rejected"
	StatusCancelled  Status = "cancelled"
)

// statuses lists every status, in the order of an order's life.
func statuses() []Status {
	return []Status{
		StatusPlaced, StatusAccepted, StatusPreparing, StatusReady, StatusDelivering, StatusDelivered, StatusRejected,
		StatusCancelled,
	}
}

// Item is one line of an order.
type Item struct {
	MenuItemID     uuid.UUID
	Name           string
	Quantity       int
	UnitPriceCents int64
}

// Order is what a customer ordered from one restaurant.
type Order struct {
	ID, RestaurantID, CustomerID    uuid.UUID
	Status                          Status
	Items                           []Item
	TotalCents                      int64
	Currency, DeliveryAddress, Note string
	CreatedAt, UpdatedAt            time.Time
}

// NewOrder is what a customer asks for.
type NewOrder struct {
	RestaurantID          uuid.UUID
	Items                 []NewItem
	DeliveryAddress, Note string
}

// NewItem is one line of a NewOrder.
type NewItem struct {
	MenuItemID uuid.UUID
	Quantity   int
}

// Placed is the outcome of Place. Replayed means that an earlier request with the same key placed the order.
type Placed struct {
	Order    Order
	Replayed bool
}

// Viewer is who asks for orders; Role is "customer", "owner" or "admin".
type Viewer struct {
	ID   uuid.UUID
	Role string
}

// Page is a piece of a list.
type Page struct {
	// Limit is the most entries wanted, 1 to 100; 0 means 20.
	Limit int
	// Cursor is the mark that the page before ended with; "" means the first page.
	Cursor string
}

// Errors that a caller tells apart.
var (
	// ErrNotFound means that there is no such order, or none that the viewer may see.
	ErrNotFound = errors.New("order not found")
	// ErrKeyReused means that the idempotency key was used for another request.
	ErrKeyReused = errors.New("idempotency key already used for another request")
	// ErrKeyInFlight means that a request with the same idempotency key has not been answered yet.
	ErrKeyInFlight = errors.New("a request with this idempotency key is still in flight")
	// ErrUnknownCustomer means that the actor is no user, although it has a valid token: the database was replaced.
	ErrUnknownCustomer = errors.New("the customer is not registered")
)

// Config is the settings of the orders.
type Config struct {
	// IdempotencyTTL is how long an idempotency key is remembered; more than 0.
	IdempotencyTTL time.Duration
	// Registerer shows the metrics of the orders; nil shows none.
	Registerer prometheus.Registerer
}

// Validate reports what is wrong with c.
func (c Config) Validate() error {
	if c.IdempotencyTTL <= 0 {
		return fmt.Errorf("idempotency key lifetime %v must be more than 0", c.IdempotencyTTL)
	}
	return nil
}

// Service is the orders. It is safe for concurrent use.
type Service struct {
	db      *postgres.DB
	cfg     Config
	metrics *metrics
	flight  flight

	watchers watchers
}

// New returns the orders kept in db; it fails when cfg is not usable. Close ends it.
func New(db *postgres.DB, cfg Config) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("ordering: %w", err)
	}
	s := &Service{db: db, cfg: cfg, watchers: watchers{listen: db.Listen, looks: make(chan struct{}, maxLooks)}}
	var err error
	if s.metrics, err = newMetrics(cfg.Registerer, s.Watchers); err != nil {
		return nil, fmt.Errorf("ordering: metrics: %w", err)
	}
	return s, nil
}

// Place places an order for the actor, exactly once however often the transaction has to be repeated. The key is the
// client's Idempotency-Key: a second request with the same key and content gets the first one's order, Replayed.
// A request with the key "" is a request of its own. Prices are the menu's, read in the order's transaction.
//
// It fails with validation.Errors (the request is wrong, or asks for what is not to be had), ErrKeyReused,
// ErrKeyInFlight or ErrUnknownCustomer; then nothing is stored and the key stays free.
func (s *Service) Place(ctx context.Context, by audit.Actor, key string, n NewOrder) (Placed, error) {
	p, err := s.place(ctx, by, key, n)
	s.metrics.count(p, err)
	return p, err
}

func (s *Service) place(ctx context.Context, by audit.Actor, key string, n NewOrder) (Placed, error) {
	if err := n.validate(key); err != nil {
		return Placed{}, err
	}
	if key != "" {
		if !s.flight.begin(by.ID, key) {
			return Placed{}, ErrKeyInFlight
		}
		defer s.flight.end(by.ID, key)
	}
	p, err := newPlacement(by, key, n, s.cfg.IdempotencyTTL)
	if err != nil {
		return Placed{}, err
	}
	err = s.db.Write(ctx, "orders.place", p.run)
	switch postgres.Violation(err) {
	case "orders_customer_id_fkey":
		return Placed{}, ErrUnknownCustomer
	case "orders_restaurant_id_fkey":
		return Placed{}, unknownRestaurant()
	}
	if err != nil {
		return Placed{}, fmt.Errorf("place order %s: %w", p.orderID, err)
	}
	return p.placed, nil
}

// Order returns one order. It fails with ErrNotFound, also when the viewer may not see it.
func (s *Service) Order(ctx context.Context, v Viewer, id uuid.UUID) (Order, error) {
	var o Order
	err := s.db.Read(ctx, "orders.order", func(ctx context.Context, q postgres.Querier) (err error) {
		o, err = selectOrder(ctx, q, v, id)
		return err
	})
	if err != nil {
		return Order{}, fmt.Errorf("order %s: %w", id, err)
	}
	return o, nil
}

// Orders lists the orders that the viewer may see, newest first: a customer's own, those of an owner's restaurants, all
// for an admin. next is the cursor of the following page, "" after the last. It fails with validation.Errors.
func (s *Service) Orders(ctx context.Context, v Viewer, p Page) (list []Order, next string, err error) {
	var errs validation.Errors
	limit, before := errs.Limit(p.Limit), errs.Cursor(p.Cursor, uuid.Max)
	if err := errs.Err(); err != nil {
		return nil, "", err
	}
	err = s.db.Read(ctx, "orders.list", func(ctx context.Context, q postgres.Querier) (err error) {
		list, err = selectOrders(ctx, q, v, before, limit+1)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("list orders: %w", err)
	}
	if len(list) > limit {
		list = list[:limit]
		next = validation.EncodeCursor(list[limit-1].ID)
	}
	return list, next, nil
}
