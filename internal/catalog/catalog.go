// Package catalog keeps the restaurants and their menus.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"speedybites/internal/audit"
	"speedybites/internal/postgres"
	"speedybites/internal/validation"
)

// Restaurant is a place that sells food.
type Restaurant struct {
	ID, OwnerID                         uuid.UUID
	Name, Cuisine, Description, Address string
	Open                                bool
	CreatedAt, UpdatedAt                time.Time
}

// MenuItem is something a restaurant sells.
type MenuItem struct {
	ID, RestaurantID     uuid.UUID
	Name, Description    string
	PriceCents           int64
	Currency             string
	Available            bool
	ImageURL             *string
	CreatedAt, UpdatedAt time.Time
}

// NewRestaurant is what a new restaurant is made of. Open nil means open.
type NewRestaurant struct {
	Name, Cuisine, Description, Address string
	Open                                *bool
}

// NewMenuItem is what a new menu item is made of. PriceCents is required; Currency "" means USD, Available nil means
// available.
type NewMenuItem struct {
	Name, Description string
	PriceCents        *int64
	Currency          string
	Available         *bool
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
	// ErrNotFound means that there is no such restaurant or menu item.
	ErrNotFound = errors.New("not found in the catalog")
	// ErrForbidden means that the actor may not change this restaurant.
	ErrForbidden = errors.New("only the restaurant's owner or an admin may do this")
)

// Service is the catalog. It is safe for concurrent use.
type Service struct{ db *postgres.DB }

// New returns the catalog kept in db.
func New(db *postgres.DB) *Service { return &Service{db: db} }

// Restaurants lists restaurants, the oldest first. search is looked for in name, cuisine and description; cuisine must
// be the whole cuisine; both ignore case, and "" means any. next is the cursor of the following page, "" after the
// last. It fails with validation.Errors.
func (s *Service) Restaurants(ctx context.Context, search, cuisine string, p Page) (list []Restaurant, next string, err error) {
	var errs validation.Errors
	errs.Text("search", search, 0, maxSearch)
	errs.Text("cuisine", cuisine, 0, maxCuisine)
	f := filter{search: search, cuisine: cuisine, limit: errs.Limit(p.Limit), after: errs.Cursor(p.Cursor, uuid.Nil)}
	if err := errs.Err(); err != nil {
		return nil, "", err
	}
	err = s.db.Read(ctx, "catalog.restaurants", func(ctx context.Context, q postgres.Querier) (err error) {
		list, err = selectRestaurants(ctx, q, f)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("list restaurants: %w", err)
	}
	if len(list) > f.limit {
		list = list[:f.limit]
		next = validation.EncodeCursor(list[f.limit-1].ID)
	}
	return list, next, nil
}

// Restaurant returns one restaurant. It fails with ErrNotFound.
func (s *Service) Restaurant(ctx context.Context, id uuid.UUID) (Restaurant, error) {
	var r Restaurant
	err := s.db.Read(ctx, "catalog.restaurant", func(ctx context.Context, q postgres.Querier) (err error) {
		r, err = selectRestaurant(ctx, q, id)
		return err
	})
	if err != nil {
		return Restaurant{}, fmt.Errorf("restaurant %s: %w", id, err)
	}
	return r, nil
}

// Menu returns all items of a restaurant's menu, the oldest first. It fails with ErrNotFound for an unknown restaurant.
func (s *Service) Menu(ctx context.Context, restaurantID uuid.UUID) ([]MenuItem, error) {
	var menu []MenuItem
	err := s.db.Read(ctx, "catalog.menu", func(ctx context.Context, q postgres.Querier) (err error) {
		menu, err = selectMenu(ctx, q, restaurantID)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("menu of restaurant %s: %w", restaurantID, err)
	}
	return menu, nil
}

// CreateRestaurant adds a restaurant that belongs to the actor. It fails with validation.Errors, or with ErrForbidden
// when the actor is neither an owner nor an admin.
func (s *Service) CreateRestaurant(ctx context.Context, by audit.Actor, n NewRestaurant) (Restaurant, error) {
	if by.Role != roleOwner && by.Role != roleAdmin {
		return Restaurant{}, ErrForbidden
	}
	if err := n.validate(); err != nil {
		return Restaurant{}, err
	}
	ids, err := drawIDs()
	if err != nil {
		return Restaurant{}, err
	}
	p := restaurantInsert{operation: ids.operation, by: by, restaurant: n.restaurant(ids.entity, by.ID)}
	if err := s.db.Write(ctx, "catalog.create_restaurant", p.run); err != nil {
		// A token outlives its user only when the database was replaced.
		if postgres.Violation(err) == "restaurants_owner_id_fkey" {
			return Restaurant{}, ErrForbidden
		}
		return Restaurant{}, fmt.Errorf("create restaurant: %w", err)
	}
	return p.restaurant, nil
}

// CreateMenuItem adds an item to a restaurant's menu. It fails with validation.Errors, with ErrNotFound for an unknown
// restaurant, and with ErrForbidden when the actor is neither its owner nor an admin.
func (s *Service) CreateMenuItem(ctx context.Context, by audit.Actor, restaurantID uuid.UUID, n NewMenuItem) (MenuItem, error) {
	if err := n.validate(); err != nil {
		return MenuItem{}, err
	}
	ids, err := drawIDs()
	if err != nil {
		return MenuItem{}, err
	}
	p := menuItemInsert{operation: ids.operation, by: by, item: n.menuItem(ids.entity, restaurantID)}
	if err := s.db.Write(ctx, "catalog.create_menu_item", p.run); err != nil {
		return MenuItem{}, fmt.Errorf("create menu item of restaurant %s: %w", restaurantID, err)
	}
	return p.item, nil
}

// ids are drawn once for a request, before its transaction, which may be repeated.
type ids struct{ entity, operation uuid.UUID }

func drawIDs() (ids, error) {
	entity, err := uuid.NewV7()
	if err != nil {
		return ids{}, fmt.Errorf("draw id: %w", err)
	}
	operation, err := uuid.NewV7()
	if err != nil {
		return ids{}, fmt.Errorf("draw operation id: %w", err)
	}
	return ids{entity: entity, operation: operation}, nil
}
