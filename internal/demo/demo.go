// Package demo fills an empty database with a few restaurants, so that a first run has something to order.
package demo

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/accounts"
	"speedybites/internal/postgres"
)

// The owner of the demo restaurants, for trying out what only an owner may do. The password is public: the demo data
// belongs on a developer's machine.
const (
	OwnerEmail    = "owner@demo.example"
	OwnerPassword = "demo-owner-password"
)

// RestaurantID is the restaurant that the documents order from. The ids of the demo data never change, so that documents
// can name them. They are UUIDv7 of 2026-01-01 00:00 UTC, and so come before all that are drawn.
func RestaurantID() uuid.UUID { return uuid.MustParse("019b76da-a800-7000-8000-000000000101") }

// MenuItemID is the first item on that restaurant's menu.
func MenuItemID() uuid.UUID { return menuItemID(RestaurantID(), 0) }

func ownerID() uuid.UUID { return uuid.MustParse("019b76da-a800-7000-8000-000000000001") }

// Load adds the demo data unless there are restaurants already, and reports whether it did. It is not a change through
// the API, so the audit log does not have it. Only one of several instances that start at once loads it.
func Load(ctx context.Context, db *postgres.DB) (loaded bool, err error) {
	hash := ""
	err = db.Write(ctx, "demo.load", func(ctx context.Context, tx *postgres.Tx) error {
		loaded = false
		// Until COMMIT, against a second instance. Reading stays possible.
		if _, err := tx.Exec(ctx, `LOCK TABLE restaurants IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return err
		}
		var filled, mine bool
		err := tx.QueryRow(ctx, `SELECT count(*) > 0, count(*) FILTER (WHERE id = $1) > 0 FROM restaurants`,
			RestaurantID()).Scan(&filled, &mine)
		if err != nil {
			return err
		}
		if filled {
			loaded = mine && tx.InDoubt()
			return nil
		}
		if hash == "" {
			hash = accounts.HashPassword(OwnerPassword)
		}
		if err := tx.CommitWith(ctx, inserts(hash)); err != nil {
			return err
		}
		loaded = true
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("load demo data: %w", err)
	}
	return loaded, nil
}

func inserts(passwordHash string) *pgx.Batch {
	b := &pgx.Batch{}
	b.Queue(`INSERT INTO users (id, email, name, role, password_hash) VALUES ($1, $2, 'Demo Owner', 'owner', $3)
		ON CONFLICT (id) DO NOTHING`, ownerID(), OwnerEmail, passwordHash)
	for _, r := range restaurants() {
		b.Queue(`INSERT INTO restaurants (id, owner_id, name, cuisine, description, address)
			VALUES ($1, $2, $3, $4, $5, $6)`, r.id, ownerID(), r.name, r.cuisine, r.description, r.address)
		for i, m := range r.menu {
			b.Queue(`INSERT INTO menu_items (id, restaurant_id, name, description, price_cents)
				VALUES ($1, $2, $3, $4, $5)`, menuItemID(r.id, i), r.id, m.name, m.description, m.priceCents)
		}
	}
	return b
}
