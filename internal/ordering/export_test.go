package ordering

import (
	"context"
	"time"

	"github.com/google/uuid"

	"speedybites/internal/audit"
	"speedybites/internal/postgres"
)

// Placement lets tests repeat the transaction of one Place, as the database layer does when a COMMIT's answer is lost.
type Placement struct{ p *placement }

// NewPlacement draws the identity of a request.
func NewPlacement(by audit.Actor, key string, n NewOrder, ttl time.Duration) (Placement, error) {
	p, err := newPlacement(by, key, n, ttl)
	return Placement{p}, err
}

// Run is the function that Place passes to Write.
func (p Placement) Run(ctx context.Context, tx *postgres.Tx) error { return p.p.run(ctx, tx) }

// Placed is the result of the last run.
func (p Placement) Placed() Placed { return p.p.placed }

// StoredKey is the key as the table has it, OrderID the id that was drawn.
func (p Placement) StoredKey() string { return p.p.key }

// OrderID is the id that was drawn for the order.
func (p Placement) OrderID() uuid.UUID { return p.p.orderID }

// RequestHash is the hash of the request.
func (p Placement) RequestHash() []byte { return p.p.requestHash[:] }

// StepChange lets tests repeat the transaction of one Step.
type StepChange struct{ c *stepChange }

// NewStepChange draws the identity of a step.
func NewStepChange(by audit.Actor, id uuid.UUID, to Status) StepChange {
	return StepChange{&stepChange{by: by, operationID: uuid.Must(uuid.NewV7()), orderID: id, to: to}}
}

// Run is the function that Step passes to Write.
func (c StepChange) Run(ctx context.Context, tx *postgres.Tx) error { return c.c.run(ctx, tx) }

// Order is the result of the last run.
func (c StepChange) Order() Order { return c.c.order }

// TakeKey makes the service believe that a request of the user with the key is in flight, until release.
func TakeKey(s *Service, user uuid.UUID, key string) (release func()) {
	s.flight.begin(user, key)
	return func() { s.flight.end(user, key) }
}

// MenuItem is what a menu says about an item.
type MenuItem struct {
	Name, Currency string
	PriceCents     int64
	Available      bool
}

// Price decides about a request without a database.
func Price(n NewOrder, open bool, items map[uuid.UUID]MenuItem) (Order, error) {
	if err := n.validate(""); err != nil {
		return Order{}, err
	}
	m := menu{known: true, open: open, items: make(map[uuid.UUID]menuItem)}
	for id, item := range items {
		m.items[id] = menuItem{item.Name, item.PriceCents, item.Currency, item.Available}
	}
	o, _, err := (&placement{request: n}).price(m)
	return o, err
}
