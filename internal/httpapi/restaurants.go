package httpapi

import (
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"speedybites/internal/accounts"
	"speedybites/internal/catalog"
)

type restaurantView struct {
	ID          uuid.UUID `json:"id"`
	Name        string    `json:"name"`
	Cuisine     string    `json:"cuisine"`
	Description string    `json:"description"`
	Address     string    `json:"address"`
	Open        bool      `json:"open"`
	CreatedAt   time.Time `json:"createdAt"`
	UpdatedAt   time.Time `json:"updatedAt"`
}

func viewRestaurant(r catalog.Restaurant) restaurantView {
	return restaurantView{
		ID: r.ID, Name: r.Name, Cuisine: r.Cuisine, Description: r.Description, Address: r.Address, Open: r.Open,
		CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}
}

type menuItemView struct {
	ID           uuid.UUID `json:"id"`
	RestaurantID uuid.UUID `json:"restaurantId"`
	Name         string    `json:"name"`
	Description  string    `json:"description"`
	PriceCents   int64     `json:"priceCents"`
	Currency     string    `json:"currency"`
	Available    bool      `json:"available"`
	ImageURL     *string   `json:"imageUrl"`
	CreatedAt    time.Time `json:"createdAt"`
	UpdatedAt    time.Time `json:"updatedAt"`
}

func viewMenuItem(m catalog.MenuItem) menuItemView {
	return menuItemView{
		ID: m.ID, RestaurantID: m.RestaurantID, Name: m.Name, Description: m.Description, PriceCents: m.PriceCents,
		Currency: m.Currency, Available: m.Available, ImageURL: m.ImageURL,
		CreatedAt: m.CreatedAt.UTC(), UpdatedAt: m.UpdatedAt.UTC(),
	}
}

func (a *api) listRestaurants(c *gin.Context) error {
	q, err := parseQuery(c)
	if err != nil {
		return err
	}
	search, cuisine := q.text("search"), q.text("cuisine")
	limit, cursor := q.page()
	if err := q.wrong.Err(); err != nil {
		return err
	}
	list, next, err := a.deps.Catalog.Restaurants(c.Request.Context(), search, cuisine, catalog.Page{Limit: limit, Cursor: cursor})
	if err != nil {
		return fmt.Errorf("list restaurants: %w", err)
	}
	return a.tagged(c, "", viewPage(list, viewRestaurant, next))
}

func (a *api) restaurant(c *gin.Context) error {
	id, err := pathID(c, catalog.ErrNotFound)
	if err != nil {
		return err
	}
	r, err := a.deps.Catalog.Restaurant(c.Request.Context(), id)
	if err != nil {
		return fmt.Errorf("restaurant %s: %w", id, err)
	}
	return a.tagged(c, tag(r.Version()), viewRestaurant(r))
}

type restaurantRequest struct {
	Name        string `json:"name"`
	Cuisine     string `json:"cuisine"`
	Description string `json:"description"`
	Address     string `json:"address"`
	Open        *bool  `json:"open"`
}

func (a *api) createRestaurant(c *gin.Context, who accounts.Principal) error {
	var req restaurantRequest
	if err := a.decode(c, &req); err != nil {
		return err
	}
	r, err := a.deps.Catalog.CreateRestaurant(c.Request.Context(), actor(c, who), catalog.NewRestaurant{
		Name: req.Name, Cuisine: req.Cuisine, Description: req.Description, Address: req.Address, Open: req.Open,
	})
	if err != nil {
		return fmt.Errorf("create restaurant: %w", err)
	}
	c.Writer.Header().Set("Location", "/api/restaurants/"+r.ID.String())
	c.Writer.Header().Set(headerETag, tag(r.Version()))
	return a.json(c, http.StatusCreated, viewRestaurant(r))
}

func (a *api) menu(c *gin.Context) error {
	id, err := pathID(c, catalog.ErrNotFound)
	if err != nil {
		return err
	}
	items, err := a.deps.Catalog.Menu(c.Request.Context(), id)
	if err != nil {
		return fmt.Errorf("menu of restaurant %s: %w", id, err)
	}
	return a.tagged(c, "", listView[menuItemView]{Data: viewAll(items, viewMenuItem)})
}

type menuItemRequest struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	PriceCents  *int64 `json:"priceCents"`
	Currency    string `json:"currency"`
	Available   *bool  `json:"available"`
}

func (a *api) createMenuItem(c *gin.Context, who accounts.Principal) error {
	id, err := pathID(c, catalog.ErrNotFound)
	if err != nil {
		return err
	}
	var req menuItemRequest
	if err := a.decode(c, &req); err != nil {
		return err
	}
	item, err := a.deps.Catalog.CreateMenuItem(c.Request.Context(), actor(c, who), id, catalog.NewMenuItem{
		Name: req.Name, Description: req.Description, PriceCents: req.PriceCents, Currency: req.Currency, Available: req.Available,
	})
	if err != nil {
		return fmt.Errorf("create menu item of restaurant %s: %w", id, err)
	}
	c.Writer.Header().Set(headerETag, tag(item.Version()))
	return a.json(c, http.StatusCreated, viewMenuItem(item))
}
