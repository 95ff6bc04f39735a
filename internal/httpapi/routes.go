package httpapi

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/gin-gonic/gin"

	"speedybites/internal/accounts"
)

// api is what the handlers share.
type api struct {
	cfg      Config
	deps     Deps
	metrics  *metrics
	limits   *limits
	tracing  tracing
	draining atomic.Bool
	// stopped ends when the server shuts down. Only streams look at it: requests are finished.
	stopped context.Context
	// shapes remembers, for each Go type a body is decoded into, the field names it knows: reflect.Type → *shape.
	shapes sync.Map
}

// The probes: not logged above DEBUG, never cached.
const (
	pathHealth = "/api/health"
	pathLivez  = "/livez"
	pathReadyz = "/readyz"
)

// routes is every path. What serves GET in the API serves HEAD too, as RFC 9110 wants; net/http drops the body.
func (a *api) routes(e *gin.Engine) {
	const (
		customer = accounts.Customer
		owner    = accounts.Owner
		admin    = accounts.Admin
	)
	// Every route's metrics are there from the start, for its success and for the database being away.
	get := func(path string, h gin.HandlerFunc) {
		e.GET(path, h)
		e.HEAD(path, h)
		a.metrics.add(http.MethodGet, path, http.StatusOK, http.StatusServiceUnavailable)
		a.metrics.add(http.MethodHead, path)
	}
	post := func(path string, success int, h gin.HandlerFunc) {
		e.POST(path, h)
		a.metrics.add(http.MethodPost, path, success, http.StatusServiceUnavailable)
	}

	change := func(method, path string, success int, h gin.HandlerFunc) {
		e.Handle(method, path, h)
		a.metrics.add(method, path, success, http.StatusServiceUnavailable)
	}

	e.Use(a.begin, a.accessLog, a.recoverPanic)
	e.NoRoute(a.public(noRoute))
	e.NoMethod(a.public(noMethod))

	get(pathLivez, a.always(a.livez))
	get(pathReadyz, a.always(a.readyz))
	get(pathHealth, a.always(a.health))

	post("/api/auth/register", http.StatusCreated, a.public(a.register))
	post("/api/auth/login", http.StatusOK, a.public(a.login))

	get("/api/restaurants", a.public(a.listRestaurants))
	post("/api/restaurants", http.StatusCreated, a.user(a.createRestaurant, owner, admin))
	get("/api/restaurants/:id", a.public(a.restaurant))
	change(http.MethodPatch, "/api/restaurants/:id", http.StatusOK, a.user(a.updateRestaurant, owner, admin))
	change(http.MethodDelete, "/api/restaurants/:id", http.StatusNoContent, a.user(a.deleteRestaurant, owner, admin))
	get("/api/restaurants/:id/menu", a.public(a.menu))
	post("/api/restaurants/:id/menu", http.StatusCreated, a.user(a.createMenuItem, owner, admin))

	change(http.MethodPatch, "/api/menu-items/:id", http.StatusOK, a.user(a.updateMenuItem, owner, admin))
	change(http.MethodDelete, "/api/menu-items/:id", http.StatusNoContent, a.user(a.deleteMenuItem, owner, admin))

	post("/api/orders", http.StatusCreated, a.user(a.placeOrder, customer))
	get("/api/orders", a.user(a.listOrders, customer, owner, admin))
	get("/api/orders/:id", a.user(a.order, customer, owner, admin))
	e.GET(pathOrderEvents, a.user(a.orderEvents, customer, owner, admin)) // no HEAD: a stream has an end, and no length
	a.metrics.add(http.MethodGet, pathOrderEvents, http.StatusServiceUnavailable)
	post("/api/orders/:id/status", http.StatusOK, a.user(a.stepOrder, customer, owner, admin))
	post("/api/orders/:id/cancel", http.StatusOK, a.user(a.cancelOrder, customer, owner, admin))

	get("/api/audit", a.user(a.listAudit, admin))

	for path, page := range a.deps.Ops {
		e.GET(path, a.ops(page))
	}
}
