package httpapi

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"speedybites/internal/accounts"
)

// Internal errors that the tests of the problem table give to handlers.
var (
	ErrNoRoute      = errNoRoute
	ErrNoMethod     = errNoMethod
	ErrNoToken      = errNoToken
	ErrForbidden    = errForbidden
	ErrContentType  = errContentType
	ErrBodyTooLarge = errBodyTooLarge
	ErrSlowBody     = errSlowBody
	ErrNotReady     = errNotReady
	ErrDraining     = errDraining
	ErrTooMany      = errTooMany
	ErrManyBodies   = errManyBodies
)

// OrderRequest is the body with the most structure.
type OrderRequest = orderRequest

// Malformed makes the error of a request that cannot be understood.
func Malformed(field, reason string) error { return &malformedError{field: field, reason: reason} }

// Route adds a route for anyone.
func (s *Server) Route(method, path string, h func(c *gin.Context) error) {
	s.engine.Handle(method, path, s.api.public(h))
	s.api.metrics.add(method, path, http.StatusOK)
}

// RouteFor adds a route for users with one of the roles.
func (s *Server) RouteFor(method, path string, h func(c *gin.Context, who accounts.Principal) error, roles ...accounts.Role) {
	s.engine.Handle(method, path, s.api.user(h, roles...))
	s.api.metrics.add(method, path, http.StatusOK)
}

// Decode decodes the body of a request.
func (s *Server) Decode(c *gin.Context, dst any) error { return s.api.decode(c, dst) }

// DecodeJSON decodes a body that has been read.
func (s *Server) DecodeJSON(body []byte, dst any) error { return s.api.decodeJSON(body, dst) }

// Reply answers with v.
func (s *Server) Reply(c *gin.Context, v any) error { return s.api.json(c, http.StatusOK, v) }

// IdleConnections returns how many connections of clients the server knows to be idle.
func (s *Server) IdleConnections() int {
	s.conns.mu.Lock()
	defer s.conns.mu.Unlock()
	return s.conns.idle.Len()
}
