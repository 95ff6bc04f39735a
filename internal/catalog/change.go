package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/audit"
	"speedybites/internal/postgres"
	"speedybites/internal/validation"
)

// ErrVersion means that what is to be changed is no longer as the caller has seen it.
var ErrVersion = errors.New("changed by somebody else in the meantime")

// RestaurantPatch is a change of a restaurant: nil leaves a field as it is.
type RestaurantPatch struct {
	Name, Cuisine, Description, Address *string
	Open                                *bool
}

// MenuItemPatch is a change of a menu item: nil leaves a field as it is.
type MenuItemPatch struct {
	Name, Description *string
	PriceCents        *int64
	Currency          *string
	Available         *bool
}

// Version names one state of the restaurant: another one follows every change.
func (r Restaurant) Version() string { return version(r.UpdatedAt) }

// Version names one state of the menu item: another one follows every change.
func (m MenuItem) Version() string { return version(m.UpdatedAt) }

func version(t time.Time) string { return strconv.FormatInt(t.UnixMicro(), 36) }

// If is the versions that a change applies to; nil means any.
type If []string

func (c If) allows(version string) bool { return c == nil || slices.Contains(c, version) }

// UpdateRestaurant changes a restaurant. It fails with validation.Errors, ErrNotFound, ErrForbidden or ErrVersion.
func (s *Service) UpdateRestaurant(ctx context.Context, by audit.Actor, id uuid.UUID, p RestaurantPatch, c If) (Restaurant, error) {
	if err := p.validate(); err != nil {
		return Restaurant{}, err
	}
	u := restaurantChange{by: by, id: id, patch: p, condition: c}
	if err := s.change(ctx, "catalog.update_restaurant", &u.operation, u.update); err != nil {
		return Restaurant{}, fmt.Errorf("update restaurant %s: %w", id, err)
	}
	return u.restaurant, nil
}

// DeleteRestaurant takes a restaurant and its menu out of the catalog; its orders stay. It fails with ErrNotFound,
// ErrForbidden or ErrVersion.
func (s *Service) DeleteRestaurant(ctx context.Context, by audit.Actor, id uuid.UUID, c If) error {
	u := restaurantChange{by: by, id: id, condition: c}
	if err := s.change(ctx, "catalog.delete_restaurant", &u.operation, u.remove); err != nil {
		return fmt.Errorf("delete restaurant %s: %w", id, err)
	}
	return nil
}

// UpdateMenuItem changes a menu item. It fails with validation.Errors, ErrNotFound, ErrForbidden or ErrVersion.
func (s *Service) UpdateMenuItem(ctx context.Context, by audit.Actor, id uuid.UUID, p MenuItemPatch, c If) (MenuItem, error) {
	if err := p.validate(); err != nil {
		return MenuItem{}, err
	}
	u := menuItemChange{by: by, id: id, patch: p, condition: c}
	if err := s.change(ctx, "catalog.update_menu_item", &u.operation, u.update); err != nil {
		return MenuItem{}, fmt.Errorf("update menu item %s: %w", id, err)
	}
	return u.item, nil
}

// DeleteMenuItem deletes a menu item; orders keep what was agreed. It fails with ErrNotFound, ErrForbidden or ErrVersion.
func (s *Service) DeleteMenuItem(ctx context.Context, by audit.Actor, id uuid.UUID, c If) error {
	u := menuItemChange{by: by, id: id, condition: c}
	if err := s.change(ctx, "catalog.delete_menu_item", &u.operation, u.remove); err != nil {
		return fmt.Errorf("delete menu item %s: %w", id, err)
	}
	return nil
}

// change draws the identity of a change and runs its transaction.
func (s *Service) change(ctx context.Context, name string, operation *uuid.UUID, run func(context.Context, *postgres.Tx) error) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("draw operation id: %w", err)
	}
	*operation = id
	return s.db.Write(ctx, name, run)
}

func (p RestaurantPatch) validate() error {
	var errs validation.Errors
	line(&errs, "name", p.Name, maxName)
	line(&errs, "cuisine", p.Cuisine, maxCuisine)
	if p.Description != nil {
		errs.Text("description", *p.Description, 0, maxDescription)
	}
	if p.Address != nil {
		errs.Text("address", *p.Address, 1, maxAddress)
	}
	return errs.Err()
}

func (p MenuItemPatch) validate() error {
	var errs validation.Errors
	line(&errs, "name", p.Name, maxName)
	if p.Description != nil {
		errs.Text("description", *p.Description, 0, maxDescription)
	}
	if p.PriceCents != nil {
		errs.Range("priceCents", *p.PriceCents, 0, maxPriceCents)
	}
	if p.Currency != nil && !knownCurrency(*p.Currency) {
		errs.Add("currency", "must be an ISO 4217 code such as USD")
	}
	return errs.Err()
}

func line(errs *validation.Errors, field string, value *string, maximum int) {
	if value != nil {
		errs.Line(field, *value, 1, maximum)
	}
}

func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

func (p RestaurantPatch) apply(r Restaurant) Restaurant {
	set(&r.Name, p.Name)
	set(&r.Cuisine, p.Cuisine)
	set(&r.Description, p.Description)
	set(&r.Address, p.Address)
	set(&r.Open, p.Open)
	return r
}

func (p MenuItemPatch) apply(m MenuItem) MenuItem {
	set(&m.Name, p.Name)
	set(&m.Description, p.Description)
	set(&m.PriceCents, p.PriceCents)
	set(&m.Currency, p.Currency)
	set(&m.Available, p.Available)
	return m
}

// mayChange reports whether the actor may change a restaurant of this owner, and what is on its menu.
func mayChange(by audit.Actor, owner uuid.UUID) bool {
	return by.Role == roleAdmin || (by.Role == roleOwner && by.ID == owner)
}

// restaurantChange is the transaction of a change of a restaurant. It may run several times: the audit row of an earlier
// run tells that it is in, before anything is checked that it has changed itself.
type restaurantChange struct {
	operation  uuid.UUID
	by         audit.Actor
	id         uuid.UUID
	patch      RestaurantPatch
	condition  If
	restaurant Restaurant // the result of the last run
}

// Every change gives a row another updated_at, also within one microsecond, and however long its transaction waited.
const nextVersion = `updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond')`

const (
	lockRestaurant = `SELECT ` + restaurantColumns + ` FROM restaurants WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE`
	setRestaurant  = `UPDATE restaurants SET name = $2, cuisine = $3, description = $4, address = $5, open = $6, ` + nextVersion +
		` WHERE id = $1 RETURNING created_at, updated_at`
	hideRestaurant = `UPDATE restaurants SET deleted_at = now(), open = false, ` + nextVersion + ` WHERE id = $1`
	selectDone     = `SELECT true FROM audit_log WHERE operation_id = $1`
)

// lock keeps the restaurant for this transaction and reports whether the change is in already.
func (c *restaurantChange) lock(ctx context.Context, tx *postgres.Tx) (done bool, err error) {
	found := false
	c.restaurant = Restaurant{}
	b := &pgx.Batch{}
	b.Queue(lockRestaurant, c.id).Query(func(rows pgx.Rows) error {
		list, err := pgx.CollectRows(rows, scanRestaurant)
		if found = len(list) == 1; found {
			c.restaurant = list[0]
		}
		return err
	})
	queueDone(b, c.operation, &done)
	if err := tx.SendBatch(ctx, b).Close(); err != nil || done {
		return done, err
	}
	switch {
	case !found:
		return false, ErrNotFound
	case !mayChange(c.by, c.restaurant.OwnerID):
		return false, ErrForbidden
	case !c.condition.allows(c.restaurant.Version()):
		return false, ErrVersion
	}
	return false, nil
}

// gone is the error of a change that is in, of what somebody has deleted since.
func gone(id uuid.UUID) error {
	if id == uuid.Nil {
		return ErrNotFound
	}
	return nil
}

func queueDone(b *pgx.Batch, operation uuid.UUID, done *bool) {
	b.Queue(selectDone, operation).Query(func(rows pgx.Rows) error {
		*done = rows.Next()
		rows.Close()
		return rows.Err()
	})
}

func (c *restaurantChange) update(ctx context.Context, tx *postgres.Tx) error {
	if done, err := c.lock(ctx, tx); err != nil || done {
		return cmp.Or(err, gone(c.restaurant.ID))
	}
	before := c.restaurant
	after := c.patch.apply(before)
	if after == before {
		return nil
	}
	b := &pgx.Batch{}
	b.Queue(setRestaurant, after.ID, after.Name, after.Cuisine, after.Description, after.Address, after.Open).
		QueryRow(scanTimes(&after.CreatedAt, &after.UpdatedAt))
	if err := c.audit(b, "update", newRestaurantAfter(before), newRestaurantAfter(after)); err != nil {
		return err
	}
	err := tx.CommitWith(ctx, b)
	c.restaurant = after
	return err
}

func (c *restaurantChange) remove(ctx context.Context, tx *postgres.Tx) error {
	if done, err := c.lock(ctx, tx); err != nil || done {
		return err
	}
	b := &pgx.Batch{}
	b.Queue(hideRestaurant, c.id)
	if err := c.audit(b, "delete", newRestaurantAfter(c.restaurant), nil); err != nil {
		return err
	}
	return tx.CommitWith(ctx, b)
}

func (c *restaurantChange) audit(b *pgx.Batch, action string, before, after any) error {
	return audit.Queue(b, audit.Entry{
		OperationID: c.operation, Actor: c.by, Action: action, Entity: "restaurant", EntityID: c.id, Before: before, After: after,
	})
}

// menuItemChange is the transaction of a change of a menu item; see restaurantChange.
type menuItemChange struct {
	operation uuid.UUID
	by        audit.Actor
	id        uuid.UUID
	patch     MenuItemPatch
	condition If
	item      MenuItem // the result of the last run
	owner     uuid.UUID
}

const (
	lockMenuItem = `SELECT r.owner_id, ` + menuItemColumns + `
FROM menu_items m JOIN restaurants r ON r.id = m.restaurant_id AND r.deleted_at IS NULL
WHERE m.id = $1 FOR UPDATE OF m`
	setMenuItem = `UPDATE menu_items SET name = $2, description = $3, price_cents = $4, currency = $5, available = $6, ` +
		nextVersion + ` WHERE id = $1 RETURNING created_at, updated_at`
	deleteMenuItem = `DELETE FROM menu_items WHERE id = $1`
)

func (c *menuItemChange) lock(ctx context.Context, tx *postgres.Tx) (done bool, err error) {
	found := false
	c.item = MenuItem{}
	b := &pgx.Batch{}
	b.Queue(lockMenuItem, c.id).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			found = true
			m, err := scanMenuItem(ownedRow{rows, &c.owner})
			if err != nil {
				return err
			}
			c.item = m
		}
		return rows.Err()
	})
	queueDone(b, c.operation, &done)
	if err := tx.SendBatch(ctx, b).Close(); err != nil || done {
		return done, err
	}
	switch {
	case !found:
		return false, ErrNotFound
	case !mayChange(c.by, c.owner):
		return false, ErrForbidden
	case !c.condition.allows(c.item.Version()):
		return false, ErrVersion
	}
	return false, nil
}

// ownedRow is a menu item's row behind its owner.
type ownedRow struct {
	pgx.Row

	owner *uuid.UUID
}

// Scan implements pgx.Row.
func (r ownedRow) Scan(dest ...any) error { return r.Row.Scan(append([]any{r.owner}, dest...)...) }

func (c *menuItemChange) update(ctx context.Context, tx *postgres.Tx) error {
	if done, err := c.lock(ctx, tx); err != nil || done {
		return cmp.Or(err, gone(c.item.ID))
	}
	before := c.item
	after := c.patch.apply(before)
	if after == before {
		return nil
	}
	b := &pgx.Batch{}
	b.Queue(setMenuItem, after.ID, after.Name, after.Description, after.PriceCents, after.Currency, after.Available).
		QueryRow(scanTimes(&after.CreatedAt, &after.UpdatedAt))
	if err := c.audit(b, "update", newMenuItemAfter(before), newMenuItemAfter(after)); err != nil {
		return err
	}
	err := tx.CommitWith(ctx, b)
	c.item = after
	return err
}

func (c *menuItemChange) remove(ctx context.Context, tx *postgres.Tx) error {
	if done, err := c.lock(ctx, tx); err != nil || done {
		return err
	}
	b := &pgx.Batch{}
	b.Queue(deleteMenuItem, c.id)
	if err := c.audit(b, "delete", newMenuItemAfter(c.item), nil); err != nil {
		return err
	}
	return tx.CommitWith(ctx, b)
}

func (c *menuItemChange) audit(b *pgx.Batch, action string, before, after any) error {
	return audit.Queue(b, audit.Entry{
		OperationID: c.operation, Actor: c.by, Action: action, Entity: "menuItem", EntityID: c.id, Before: before, After: after,
	})
}
