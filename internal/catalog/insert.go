package catalog

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/audit"
	"speedybites/internal/postgres"
)

// restaurantInsert is the transaction of CreateRestaurant. It may run several times.
type restaurantInsert struct {
	operation  uuid.UUID
	by         audit.Actor
	restaurant Restaurant
}

// A row with this id can only be from an attempt of ours whose outcome got lost. It is the result then, and the update
// that changes nothing makes COMMIT wait for the standbys as the original's did. The same goes for menu items.
const insertRestaurant = `
INSERT INTO restaurants (id, owner_id, name, cuisine, description, address, open)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (id) DO UPDATE SET created_at = restaurants.created_at
RETURNING created_at, updated_at`

func (p *restaurantInsert) run(ctx context.Context, tx *postgres.Tx) error {
	r := &p.restaurant
	b := &pgx.Batch{}
	b.Queue(insertRestaurant, r.ID, r.OwnerID, r.Name, r.Cuisine, r.Description, r.Address, r.Open).
		QueryRow(scanTimes(&r.CreatedAt, &r.UpdatedAt))
	err := audit.Queue(b, audit.Entry{
		OperationID: p.operation, Actor: p.by, Action: "create", Entity: "restaurant", EntityID: r.ID,
		After: newRestaurantAfter(*r),
	})
	if err != nil {
		return err
	}
	return tx.CommitWith(ctx, b)
}

// menuItemInsert is the transaction of CreateMenuItem. It may run several times.
type menuItemInsert struct {
	operation uuid.UUID
	by        audit.Actor
	item      MenuItem
}

const insertMenuItem = `
INSERT INTO menu_items (id, restaurant_id, name, description, price_cents, currency, available)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (id) DO UPDATE SET created_at = menu_items.created_at
RETURNING created_at, updated_at`

func (p *menuItemInsert) run(ctx context.Context, tx *postgres.Tx) error {
	var owner uuid.UUID
	// The lock is the foreign key's own, taken early: the restaurant cannot go between the check and the insert.
	err := tx.QueryRow(ctx, `SELECT owner_id FROM restaurants WHERE id = $1 AND deleted_at IS NULL FOR KEY SHARE`, p.item.RestaurantID).
		Scan(&owner)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	if !mayChange(p.by, owner) {
		return ErrForbidden
	}
	m := &p.item
	b := &pgx.Batch{}
	b.Queue(insertMenuItem, m.ID, m.RestaurantID, m.Name, m.Description, m.PriceCents, m.Currency, m.Available).
		QueryRow(scanTimes(&m.CreatedAt, &m.UpdatedAt))
	err = audit.Queue(b, audit.Entry{
		OperationID: p.operation, Actor: p.by, Action: "create", Entity: "menuItem", EntityID: m.ID,
		After: newMenuItemAfter(*m),
	})
	if err != nil {
		return err
	}
	return tx.CommitWith(ctx, b)
}

func scanTimes(created, updated *time.Time) func(pgx.Row) error {
	return func(row pgx.Row) error {
		err := row.Scan(created, updated)
		*created, *updated = created.UTC(), updated.UTC()
		return err
	}
}

// restaurantAfter and menuItemAfter are what the audit log says about a restaurant and a menu item.
type restaurantAfter struct {
	ID          uuid.UUID `json:"id"`
	OwnerID     uuid.UUID `json:"ownerId"`
	Name        string    `json:"name"`
	Cuisine     string    `json:"cuisine"`
	Description string    `json:"description"`
	Address     string    `json:"address"`
	Open        bool      `json:"open"`
}

type menuItemAfter struct {
	ID           uuid.UUID `json:"id"`
	RestaurantID uuid.UUID `json:"restaurantId"`
	Name         string    `json:"name"`
	Description  string    `json:"description"`
	PriceCents   int64     `json:"priceCents"`
	Currency     string    `json:"currency"`
	Available    bool      `json:"available"`
}

func newRestaurantAfter(r Restaurant) restaurantAfter {
	return restaurantAfter{
		ID: r.ID, OwnerID: r.OwnerID, Name: r.Name, Cuisine: r.Cuisine, Description: r.Description, Address: r.Address,
		Open: r.Open,
	}
}

func newMenuItemAfter(m MenuItem) menuItemAfter {
	return menuItemAfter{
		ID: m.ID, RestaurantID: m.RestaurantID, Name: m.Name, Description: m.Description, PriceCents: m.PriceCents,
		Currency: m.Currency, Available: m.Available,
	}
}
