package httpapi

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/gin-gonic/gin"
)

// forwarded is what a proxy adds to a request. While no proxy is trusted, such a request comes from somewhere else than
// the address it arrives from.
var forwarded = []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip"}

// forOperator tells whether a request is for one of the operators' pages, and from one who may see them. Such requests
// are no part of the service: they are not measured, not traced, and logged at DEBUG.
func (a *api) forOperator(c *gin.Context) bool {
	if len(a.deps.Ops) == 0 || a.deps.Ops[c.FullPath()] == nil {
		return false
	}
	if !a.cfg.OpsLoopbackOnly {
		return true
	}
	for _, header := range forwarded {
		if _, ok := c.Request.Header[header]; ok {
			return false
		}
	}
	addr, err := netip.ParseAddr(c.ClientIP())
	return err == nil && addr.Unmap().IsLoopback()
}

// beginOps begins a request for an operators' page. It has no deadline, because some of them stream for as long as
// someone looks; it ends with the server.
func (a *api) beginOps(c *gin.Context, id string) {
	ctx, cancel := context.WithCancel(context.WithValue(c.Request.Context(), requestIDKey{}, id))
	defer cancel()
	defer context.AfterFunc(a.stopped, cancel)()
	c.Request = c.Request.WithContext(ctx)
	c.Next()
}

// ops answers with an operators' page, or as if there were none.
func (a *api) ops(page http.Handler) gin.HandlerFunc {
	return a.always(func(c *gin.Context) error {
		if !a.forOperator(c) {
			return errNoRoute
		}
		page.ServeHTTP(c.Writer, c.Request)
		return nil
	})
}
