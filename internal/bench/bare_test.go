//go:build bench

package bench

import (
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// bare is the service without any of its protection: gin, pgxpool and the same SQL. It knows no users, checks no
// tokens, writes no access log and retries nothing.
type bare struct {
	pool     *pgxpool.Pool
	customer uuid.UUID
	sameSQL  bool // an order writes its key and audit rows, too
}

func newBare(tb testing.TB, pool *pgxpool.Pool, customer uuid.UUID, sameSQL bool) *httptest.Server {
	tb.Helper()
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	b := &bare{pool: pool, customer: customer, sameSQL: sameSQL}
	engine.GET("/api/restaurants", b.list)
	engine.GET("/api/restaurants/:id", b.get)
	engine.POST("/api/orders", b.order)
	server := httptest.NewServer(engine)
	tb.Cleanup(server.Close)
	return server
}

type restaurant struct {
	ID          uuid.UUID `json:"id"`
	OwnerID     uuid.UUID `json:"-"`
	Name        string    `json:"name"`
	Cuisine     string    `json:"cuisine"`
	Description string    `json:"description"`
	Address     string    `json:"address"`
	Open        bool      `json:"open"`
	CreatedAt   time.Time `json:"createdAt"`
	UpdatedAt   time.Time `json:"updatedAt"`
}

const columns = `id, owner_id, name, cuisine, description, address, open, created_at, updated_at`

func (b *bare) list(c *gin.Context) {
	rows, err := b.pool.Query(c.Request.Context(), `SELECT `+columns+` FROM restaurants
		WHERE id > $1 AND ($2 = '' OR name ILIKE $2 OR cuisine ILIKE $2 OR description ILIKE $2)
		AND ($3 = '' OR lower(cuisine) = lower($3)) ORDER BY id LIMIT $4`, uuid.Nil, "", "", 6)
	if err != nil {
		_ = c.AbortWithError(http.StatusInternalServerError, err)
		return
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[restaurant])
	if err != nil {
		_ = c.AbortWithError(http.StatusInternalServerError, err)
		return
	}
	c.JSON(http.StatusOK, gin.H{"data": list, "nextCursor": nil})
}

func (b *bare) get(c *gin.Context) {
	id, err := uuid.Parse(c.Param("id"))
	if err != nil {
		c.Status(http.StatusNotFound)
		return
	}
	rows, err := b.pool.Query(c.Request.Context(), `SELECT `+columns+` FROM restaurants WHERE id = $1`, id)
	if err != nil {
		_ = c.AbortWithError(http.StatusInternalServerError, err)
		return
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[restaurant])
	if err != nil {
		_ = c.AbortWithError(http.StatusInternalServerError, err)
		return
	}
	c.JSON(http.StatusOK, r)
}

type orderItem struct {
	MenuItemID     uuid.UUID `json:"menuItemId"`
	Name           string    `json:"name"`
	Quantity       int       `json:"quantity"`
	UnitPriceCents int64     `json:"unitPriceCents"`
}

// order is what one writes without outages in mind: a transaction, statement by statement. With sameSQL it has the
// rows that exactly-once and audit need.
func (b *bare) order(c *gin.Context) {
	var req struct {
		RestaurantID    uuid.UUID   `json:"restaurantId"`
		Items           []orderItem `json:"items"`
		DeliveryAddress string      `json:"deliveryAddress"`
		Note            string      `json:"note"`
	}
	if err := c.ShouldBindJSON(&req); err != nil {
		_ = c.AbortWithError(http.StatusBadRequest, err)
		return
	}
	ctx, id, total := c.Request.Context(), uuid.New(), int64(0)
	err := pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error {
		if b.sameSQL {
			hash := sha256.Sum256([]byte(req.DeliveryAddress))
			_, err := tx.Exec(ctx, `INSERT INTO idempotency_keys (user_id, key, request_hash, order_id, expires_at)
				VALUES ($1, $2, $3, $4, now() + $5)`, b.customer, "request:"+id.String(), hash[:], id, 24*time.Hour)
			if err != nil {
				return err
			}
		}
		for i, item := range req.Items {
			err := tx.QueryRow(ctx, `SELECT name, price_cents FROM menu_items WHERE id = $1 AND available`, item.MenuItemID).
				Scan(&req.Items[i].Name, &req.Items[i].UnitPriceCents)
			if err != nil {
				return err
			}
			total += req.Items[i].UnitPriceCents * int64(item.Quantity)
		}
		_, err := tx.Exec(ctx, `INSERT INTO orders (id, restaurant_id, customer_id, status, total_cents, currency,
			delivery_address, note) VALUES ($1, $2, $3, 'placed', $4, 'USD', $5, $6)`,
			id, req.RestaurantID, b.customer, total, req.DeliveryAddress, req.Note)
		if err != nil {
			return err
		}
		for i, item := range req.Items {
			_, err := tx.Exec(ctx, `INSERT INTO order_items (order_id, position, menu_item_id, name, quantity,
				unit_price_cents, currency) VALUES ($1, $2, $3, $4, $5, $6, 'USD')`,
				id, i+1, item.MenuItemID, item.Name, item.Quantity, item.UnitPriceCents)
			if err != nil {
				return err
			}
		}
		if !b.sameSQL {
			return nil
		}
		after, err := json.Marshal(req)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO audit_log (operation_id, actor_id, actor_role, action, entity, entity_id,
			before, after, request_id) VALUES ($1, $2, 'customer', 'place', 'order', $3, null, $4, '')`,
			uuid.New(), b.customer, id, after)
		return err
	})
	if err != nil {
		_ = c.AbortWithError(http.StatusInternalServerError, err)
		return
	}
	c.JSON(http.StatusCreated, gin.H{"id": id, "items": req.Items, "totalCents": total, "status": "placed"})
}
