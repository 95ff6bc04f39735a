package ordering

import (
	"time"

	"github.com/google/uuid"
)

// orderAfter is what the audit log says about a new order, in the API's terms.
type orderAfter struct {
	ID              uuid.UUID   `json:"id"`
	RestaurantID    uuid.UUID   `json:"restaurantId"`
	CustomerID      uuid.UUID   `json:"customerId"`
	Status          Status      `json:"status"`
	Items           []itemAfter `json:"items"`
	TotalCents      int64       `json:"totalCents"`
	Currency        string      `json:"currency"`
	DeliveryAddress string      `json:"deliveryAddress"`
	Note            string      `json:"note"`
	CreatedAt       time.Time   `json:"createdAt"`
}

type itemAfter struct {
	MenuItemID     uuid.UUID `json:"menuItemId"`
	Name           string    `json:"name"`
	Quantity       int       `json:"quantity"`
	UnitPriceCents int64     `json:"unitPriceCents"`
}

func newOrderAfter(o Order) orderAfter {
	items := make([]itemAfter, len(o.Items))
	for i, item := range o.Items {
		items[i] = itemAfter(item)
	}
	return orderAfter{
		ID: o.ID, RestaurantID: o.RestaurantID, CustomerID: o.CustomerID, Status: o.Status, Items: items,
		TotalCents: o.TotalCents, Currency: o.Currency, DeliveryAddress: o.DeliveryAddress, Note: o.Note,
		CreatedAt: o.CreatedAt,
	}
}
