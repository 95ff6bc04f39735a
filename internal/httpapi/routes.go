package httpapi

import (
	"sync"
	"sync/atomic"

	"github.com/gin-gonic/gin"

	"speedybites/internal/accounts"
)

// api is what the handlers share.
type api struct {
	cfg      Config
	deps     Deps
	draining atomic.Bool
	// shapes remembers, for each Go type a body is decoded into, the field names it knows: reflect.Type → *shape.
	shapes sync.Map
}

// The probes: not logged above DEBUG, never cached.
const (
	pathHealth = "/api/health"
	pathLivez  = "/livez"
	pathReadyz = "/readyz"
)

// routes is every path of the API. What serves GET serves HEAD too, as RFC 9110 wants; net/http drops the body.
func (a *api) routes(e *gin.Engine) {
	const (
		customer = accounts.Customer
		owner    = accounts.Owner
		admin    = accounts.Admin
	)
	post := func(path string, h gin.HandlerFunc) { e.POST(path, h) }
	get := func(path string, h gin.HandlerFunc) { e.GET(path, h); e.HEAD(path, h) }

	e.Use(a.begin, a.accessLog, a.recoverPanic)
	e.NoRoute(a.public(noRoute))
	e.NoMethod(a.public(noMethod))

	get(pathLivez, a.public(a.livez))
	get(pathReadyz, a.public(a.readyz))
	get(pathHealth, a.public(a.health))

	post("/api/auth/register", a.public(a.register))
	post("/api/auth/login", a.public(a.login))

	get("/api/restaurants", a.public(a.listRestaurants))
	post("/api/restaurants", a.user(a.createRestaurant, owner, admin))
	get("/api/restaurants/:id", a.public(a.restaurant))
	get("/api/restaurants/:id/menu", a.public(a.menu))
	post("/api/restaurants/:id/menu", a.user(a.createMenuItem, owner, admin))

	post("/api/orders", a.user(a.placeOrder, customer))
	get("/api/orders", a.user(a.listOrders, customer, owner, admin))
	get("/api/orders/:id", a.user(a.order, customer, owner, admin))
}
