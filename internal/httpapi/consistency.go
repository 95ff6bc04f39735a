package httpapi

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"speedybites/internal/postgres"
)

// headerConsistency is the header by which a client that has written reads its own write from a replica: a write is
// answered with it, and a later request that carries it is answered with data that includes the write. Without it, a
// request with credentials is answered by the primary while that can be reached, and one without by any replica that is
// fresh enough.
const headerConsistency = "Consistency-Token"

// routeReads says where the reads of a request may go.
func (a *api) routeReads(c *gin.Context) error {
	if !a.cfg.Replicas {
		return nil
	}
	h := c.Request.Header
	wanted := &postgres.Consistency{}
	if token := h.Get(headerConsistency); token != "" {
		position, err := postgres.ParsePosition(token)
		if err != nil {
			return &malformedError{field: headerConsistency, reason: "is not one that this service gave"}
		}
		wanted.After, wanted.Replica = position, true
	}
	if method := c.Request.Method; method != http.MethodGet && method != http.MethodHead {
		wanted.Replica = false // what a change begins with must be current
	} else if h.Get("Authorization") == "" {
		wanted.Replica = true
	}
	ctx := postgres.WithConsistency(c.Request.Context(), wanted)
	c.Request = c.Request.WithContext(ctx)
	c.Set(consistencyKey, wanted)
	return nil
}

const consistencyKey = "consistency"

// tellPosition sets the header on the answer to a write.
func tellPosition(c *gin.Context) {
	if v, ok := c.Get(consistencyKey); ok {
		if position := v.(*postgres.Consistency).Written(); position > 0 {
			c.Writer.Header().Set(headerConsistency, position.String())
		}
	}
}
