package catalog

import (
	"context"

	"github.com/google/uuid"

	"speedybites/internal/audit"
	"speedybites/internal/postgres"
)

// RestaurantInsert lets tests repeat the transaction of CreateRestaurant.
type RestaurantInsert struct{ p *restaurantInsert }

// NewRestaurantInsert draws the ids of a request.
func NewRestaurantInsert(by audit.Actor, n NewRestaurant) RestaurantInsert {
	return RestaurantInsert{&restaurantInsert{
		operation: uuid.Must(uuid.NewV7()), by: by, restaurant: n.restaurant(uuid.Must(uuid.NewV7()), by.ID),
	}}
}

// Run is the function that is passed to Write.
func (i RestaurantInsert) Run(ctx context.Context, tx *postgres.Tx) error { return i.p.run(ctx, tx) }

// Restaurant is the result of the last run.
func (i RestaurantInsert) Restaurant() Restaurant { return i.p.restaurant }

// MenuItemInsert lets tests repeat the transaction of CreateMenuItem.
type MenuItemInsert struct{ p *menuItemInsert }

// NewMenuItemInsert draws the ids of a request.
func NewMenuItemInsert(by audit.Actor, restaurant uuid.UUID, n NewMenuItem) MenuItemInsert {
	return MenuItemInsert{&menuItemInsert{
		operation: uuid.Must(uuid.NewV7()), by: by, item: n.menuItem(uuid.Must(uuid.NewV7()), restaurant),
	}}
}

// Run is the function that is passed to Write.
func (i MenuItemInsert) Run(ctx context.Context, tx *postgres.Tx) error { return i.p.run(ctx, tx) }

// MenuItem is the result of the last run.
func (i MenuItemInsert) MenuItem() MenuItem { return i.p.item }
