package httpapi

import (
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"speedybites/internal/accounts"
	"speedybites/internal/catalog"
)

// restaurantPatch is the body of a PATCH: what is absent stays as it is.
type restaurantPatch struct {
	Name        *string `json:"name"`
	Cuisine     *string `json:"cuisine"`
	Description *string `json:"description"`
	Address     *string `json:"address"`
	Open        *bool   `json:"open"`
}

func (a *api) updateRestaurant(c *gin.Context, who accounts.Principal) error {
	id, err := pathID(c, catalog.ErrNotFound)
	if err != nil {
		return err
	}
	var req restaurantPatch
	if err := a.decode(c, &req); err != nil {
		return err
	}
	r, err := a.deps.Catalog.UpdateRestaurant(c.Request.Context(), actor(c, who), id, catalog.RestaurantPatch(req), condition(c))
	if err != nil {
		return fmt.Errorf("update restaurant: %w", err)
	}
	c.Writer.Header().Set(headerETag, tag(r.Version()))
	return a.json(c, http.StatusOK, viewRestaurant(r))
}

func (a *api) deleteRestaurant(c *gin.Context, who accounts.Principal) error {
	id, err := pathID(c, catalog.ErrNotFound)
	if err == nil {
		err = a.decodeNothing(c)
	}
	if err != nil {
		return err
	}
	if err := a.deps.Catalog.DeleteRestaurant(c.Request.Context(), actor(c, who), id, condition(c)); err != nil {
		return fmt.Errorf("delete restaurant: %w", err)
	}
	a.nothing(c)
	return nil
}

// menuItemPatch is the body of a PATCH: what is absent stays as it is.
type menuItemPatch struct {
	Name        *string `json:"name"`
	Description *string `json:"description"`
	PriceCents  *int64  `json:"priceCents"`
	Currency    *string `json:"currency"`
	Available   *bool   `json:"available"`
}

func (a *api) updateMenuItem(c *gin.Context, who accounts.Principal) error {
	id, err := pathID(c, catalog.ErrNotFound)
	if err != nil {
		return err
	}
	var req menuItemPatch
	if err := a.decode(c, &req); err != nil {
		return err
	}
	m, err := a.deps.Catalog.UpdateMenuItem(c.Request.Context(), actor(c, who), id, catalog.MenuItemPatch(req), condition(c))
	if err != nil {
		return fmt.Errorf("update menu item: %w", err)
	}
	c.Writer.Header().Set(headerETag, tag(m.Version()))
	return a.json(c, http.StatusOK, viewMenuItem(m))
}

func (a *api) deleteMenuItem(c *gin.Context, who accounts.Principal) error {
	id, err := pathID(c, catalog.ErrNotFound)
	if err == nil {
		err = a.decodeNothing(c)
	}
	if err != nil {
		return err
	}
	if err := a.deps.Catalog.DeleteMenuItem(c.Request.Context(), actor(c, who), id, condition(c)); err != nil {
		return fmt.Errorf("delete menu item: %w", err)
	}
	a.nothing(c)
	return nil
}
