package httpapi

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"speedybites/internal/accounts"
	"speedybites/internal/ordering"
	"speedybites/internal/validation"
)

const (
	headerIdempotencyKey      = "Idempotency-Key"
	headerIdempotencyReplayed = "Idempotency-Replayed"
	maxIdempotencyKey         = 255
)

type orderView struct {
	ID              uuid.UUID       `json:"id"`
	RestaurantID    uuid.UUID       `json:"restaurantId"`
	CustomerID      uuid.UUID       `json:"customerId"`
	Status          ordering.Status `json:"status"`
	Items           []orderItemView `json:"items"`
	TotalCents      int64           `json:"totalCents"`
	Currency        string          `json:"currency"`
	DeliveryAddress string          `json:"deliveryAddress"`
	Note            string          `json:"note"`
	CreatedAt       time.Time       `json:"createdAt"`
	UpdatedAt       time.Time       `json:"updatedAt"`
}

type orderItemView struct {
	MenuItemID     uuid.UUID `json:"menuItemId"`
	Name           string    `json:"name"`
	Quantity       int       `json:"quantity"`
	UnitPriceCents int64     `json:"unitPriceCents"`
}

func viewOrder(o ordering.Order) orderView {
	return orderView{
		ID: o.ID, RestaurantID: o.RestaurantID, CustomerID: o.CustomerID, Status: o.Status,
		Items:      viewAll(o.Items, func(i ordering.Item) orderItemView { return orderItemView(i) }),
		TotalCents: o.TotalCents, Currency: o.Currency, DeliveryAddress: o.DeliveryAddress, Note: o.Note,
		CreatedAt: o.CreatedAt.UTC(), UpdatedAt: o.UpdatedAt.UTC(),
	}
}

// orderRequest has its ids as texts: one that is not an id is a wrong value (422), not a body that cannot be read (400).
type orderRequest struct {
	RestaurantID    string             `json:"restaurantId"`
	Items           []orderItemRequest `json:"items"`
	DeliveryAddress string             `json:"deliveryAddress"`
	Note            string             `json:"note"`
}

type orderItemRequest struct {
	MenuItemID string `json:"menuItemId"`
	Quantity   int    `json:"quantity"`
}

func (r orderRequest) order(wrong *validation.Errors) ordering.NewOrder {
	n := ordering.NewOrder{
		RestaurantID:    bodyID(wrong, "restaurantId", r.RestaurantID),
		Items:           make([]ordering.NewItem, len(r.Items)),
		DeliveryAddress: r.DeliveryAddress,
		Note:            r.Note,
	}
	for i, item := range r.Items {
		id, err := parseID(item.MenuItemID)
		if err != nil {
			wrong.Add("items["+strconv.Itoa(i)+"].menuItemId", idProblem(item.MenuItemID))
		}
		n.Items[i] = ordering.NewItem{MenuItemID: id, Quantity: item.Quantity}
	}
	return n
}

func (a *api) placeOrder(c *gin.Context, who accounts.Principal) error {
	var wrong validation.Errors
	key := idempotencyKey(&wrong, c.Request.Header)
	var req orderRequest
	if err := a.decode(c, &req); err != nil {
		return err
	}
	order := req.order(&wrong)
	if err := wrong.Err(); err != nil {
		return err
	}
	placed, err := a.deps.Orders.Place(c.Request.Context(), actor(c, who), key, order)
	if err != nil {
		return fmt.Errorf("place order: %w", err)
	}
	header := c.Writer.Header()
	header.Set("Location", "/api/orders/"+placed.Order.ID.String())
	if placed.Replayed {
		header.Set(headerIdempotencyReplayed, "true")
	}
	return a.json(c, http.StatusCreated, viewOrder(placed.Order))
}

// idempotencyKey returns "" for a request without the header. A header that is there and empty is a mistake: its sender
// believes to be protected.
func idempotencyKey(wrong *validation.Errors, h http.Header) string {
	keys := h[headerIdempotencyKey]
	switch len(keys) {
	case 0:
		return ""
	case 1:
		wrong.Line(headerIdempotencyKey, keys[0], 1, maxIdempotencyKey)
		return keys[0]
	default:
		wrong.Add(headerIdempotencyKey, "must be given once")
		return ""
	}
}

func viewer(who accounts.Principal) ordering.Viewer {
	return ordering.Viewer{ID: who.ID, Role: string(who.Role)}
}

func (a *api) order(c *gin.Context, who accounts.Principal) error {
	id, err := pathID(c, ordering.ErrNotFound)
	if err != nil {
		return err
	}
	o, err := a.deps.Orders.Order(c.Request.Context(), viewer(who), id)
	if err != nil {
		return fmt.Errorf("order %s: %w", id, err)
	}
	return a.json(c, http.StatusOK, viewOrder(o))
}

type stepRequest struct {
	Status string `json:"status"`
}

func (a *api) stepOrder(c *gin.Context, who accounts.Principal) error {
	var req stepRequest
	if err := a.decode(c, &req); err != nil {
		return err
	}
	return a.step(c, who, ordering.Status(req.Status))
}

// cancelOrder takes no body, or an empty object.
func (a *api) cancelOrder(c *gin.Context, who accounts.Principal) error {
	if err := a.decodeNothing(c); err != nil {
		return err
	}
	return a.step(c, who, ordering.StatusCancelled)
}

func (a *api) step(c *gin.Context, who accounts.Principal, to ordering.Status) error {
	id, err := pathID(c, ordering.ErrNotFound)
	if err != nil {
		return err
	}
	o, err := a.deps.Orders.Step(c.Request.Context(), actor(c, who), id, to)
	if err != nil {
		return fmt.Errorf("step of order %s: %w", id, err)
	}
	return a.json(c, http.StatusOK, viewOrder(o))
}

func (a *api) listOrders(c *gin.Context, who accounts.Principal) error {
	q, err := parseQuery(c)
	if err != nil {
		return err
	}
	limit, cursor := q.page()
	if err := q.wrong.Err(); err != nil {
		return err
	}
	list, next, err := a.deps.Orders.Orders(c.Request.Context(), viewer(who), ordering.Page{Limit: limit, Cursor: cursor})
	if err != nil {
		return fmt.Errorf("list orders: %w", err)
	}
	return a.json(c, http.StatusOK, viewPage(list, viewOrder, next))
}
