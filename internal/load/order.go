package load

import (
	"fmt"
	"reflect"

	"github.com/google/uuid"
)

// Order is an order as the API tells it, without its times.
type Order struct {
	ID              uuid.UUID `json:"id"`
	RestaurantID    uuid.UUID `json:"restaurantId"`
	CustomerID      uuid.UUID `json:"customerId"`
	Status          string    `json:"status"`
	Items           []Item    `json:"items"`
	TotalCents      int64     `json:"totalCents"`
	Currency        string    `json:"currency"`
	DeliveryAddress string    `json:"deliveryAddress"`
	Note            string    `json:"note"`
}

// Item is one line of an order.
type Item struct {
	MenuItemID     uuid.UUID `json:"menuItemId"`
	Name           string    `json:"name"`
	Quantity       int       `json:"quantity"`
	UnitPriceCents int64     `json:"unitPriceCents"`
}

// newOrder is the body of a request that places an order.
type newOrder struct {
	RestaurantID    uuid.UUID `json:"restaurantId"`
	Items           []newItem `json:"items"`
	DeliveryAddress string    `json:"deliveryAddress"`
	Note            string    `json:"note"`
}

type newItem struct {
	MenuItemID uuid.UUID `json:"menuItemId"`
	Quantity   int       `json:"quantity"`
}

// order is what the n-th request orders. Quantities and addresses differ, so that one order answered with another shows.
func (g *Generator) order(n int) newOrder {
	return newOrder{
		RestaurantID:    g.cfg.RestaurantID,
		Items:           []newItem{{g.cfg.MenuItemID, 1 + n%7}},
		DeliveryAddress: fmt.Sprint(n, " Load Street"),
		Note:            Entry{Number: n}.Note(g.ledger.Run),
	}
}

// differs says how an order that was placed differs from what was asked for; "" where it does not.
func (n newOrder) differs(placed Order) string {
	switch {
	case placed.ID == uuid.Nil:
		return "has no id"
	case placed.Note != n.Note || placed.DeliveryAddress != n.DeliveryAddress || placed.RestaurantID != n.RestaurantID:
		return fmt.Sprintf("is another order: %+v", placed)
	case len(placed.Items) != len(n.Items):
		return fmt.Sprintf("has %d items, not %d", len(placed.Items), len(n.Items))
	}
	var total int64
	for i, item := range placed.Items {
		if item.MenuItemID != n.Items[i].MenuItemID || item.Quantity != n.Items[i].Quantity {
			return fmt.Sprintf("has the item %+v, not %+v", item, n.Items[i])
		}
		total += int64(item.Quantity) * item.UnitPriceCents
	}
	if total != placed.TotalCents {
		return fmt.Sprintf("has a total of %d, and items of %d", placed.TotalCents, total)
	}
	return ""
}

// same reports whether two reports are of the same order with the same content.
func (o Order) same(other Order) bool { return reflect.DeepEqual(o, other) }
