package catalog

import (
	"context"
	"errors"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/postgres"
)

const restaurantColumns = `id, owner_id, name, cuisine, description, address, open, created_at, updated_at`

func scanRestaurant(row pgx.CollectableRow) (Restaurant, error) {
	var r Restaurant
	err := row.Scan(&r.ID, &r.OwnerID, &r.Name, &r.Cuisine, &r.Description, &r.Address, &r.Open, &r.CreatedAt,
		&r.UpdatedAt)
	r.CreatedAt, r.UpdatedAt = r.CreatedAt.UTC(), r.UpdatedAt.UTC()
	return r, err
}

// filter chooses restaurants: after is the last id of the page before.
type filter struct {
	search, cuisine string
	after           uuid.UUID
	limit           int
}

const selectRestaurantsSQL = `
SELECT ` + restaurantColumns + `
FROM restaurants
WHERE id > $1 AND deleted_at IS NULL
  AND ($2 = '' OR name ILIKE $2 OR cuisine ILIKE $2 OR description ILIKE $2)
  AND ($3 = '' OR lower(cuisine) = lower($3))
ORDER BY id
LIMIT $4`

// selectRestaurants returns up to one restaurant more than the limit, which tells whether there is another page.
func selectRestaurants(ctx context.Context, q postgres.Querier, f filter) ([]Restaurant, error) {
	rows, err := q.Query(ctx, selectRestaurantsSQL, f.after, containsPattern(f.search), f.cuisine, f.limit+1)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanRestaurant)
}

// containsPattern returns the LIKE pattern of texts that contain s literally, or "" for "".
func containsPattern(s string) string {
	if s == "" {
		return ""
	}
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s) + "%"
}

func selectRestaurant(ctx context.Context, q postgres.Querier, id uuid.UUID) (Restaurant, error) {
	rows, err := q.Query(ctx, `SELECT `+restaurantColumns+` FROM restaurants WHERE id = $1 AND deleted_at IS NULL`, id)
	if err != nil {
		return Restaurant{}, err
	}
	r, err := pgx.CollectExactlyOneRow(rows, scanRestaurant)
	if errors.Is(err, pgx.ErrNoRows) {
		return Restaurant{}, ErrNotFound
	}
	return r, err
}

const menuItemColumns = `m.id, m.restaurant_id, m.name, m.description, m.price_cents, m.currency, m.available, m.image_url,
       m.created_at, m.updated_at`

// The join makes an unknown restaurant (no row) differ from an empty menu (one row without an item).
const selectMenuSQL = `
SELECT ` + menuItemColumns + `
FROM restaurants r LEFT JOIN menu_items m ON m.restaurant_id = r.id
WHERE r.id = $1 AND r.deleted_at IS NULL
ORDER BY m.id`

func selectMenu(ctx context.Context, q postgres.Querier, restaurant uuid.UUID) ([]MenuItem, error) {
	rows, err := q.Query(ctx, selectMenuSQL, restaurant)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	menu, known := []MenuItem{}, false
	for rows.Next() {
		known = true
		if rows.RawValues()[0] == nil {
			continue
		}
		m, err := scanMenuItem(rows)
		if err != nil {
			return nil, err
		}
		menu = append(menu, m)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if !known {
		return nil, ErrNotFound
	}
	return menu, nil
}

func scanMenuItem(row pgx.Row) (MenuItem, error) {
	var m MenuItem
	err := row.Scan(&m.ID, &m.RestaurantID, &m.Name, &m.Description, &m.PriceCents, &m.Currency, &m.Available,
		&m.ImageURL, &m.CreatedAt, &m.UpdatedAt)
	m.CreatedAt, m.UpdatedAt = m.CreatedAt.UTC(), m.UpdatedAt.UTC()
	return m, err
}
