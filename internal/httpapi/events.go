package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"speedybites/internal/accounts"
	"speedybites/internal/ordering"
)

const (
	pathOrderEvents   = "/api/orders/:id/events"
	headerLastEventID = "Last-Event-ID"
	// streamWrite is how long a client may take to accept an event.
	streamWrite = 10 * time.Second
	// streamRetry is what clients are told to wait before they come back, in milliseconds.
	streamRetry = 1000
)

// streamKey marks, among a request's gin keys, that its answer is a stream: how long it took says nothing.
const streamKey = "stream"

type eventView struct {
	OrderID uuid.UUID       `json:"orderId"`
	Status  ordering.Status `json:"status"`
	At      time.Time       `json:"at"`
}

// orderEvents answers with the events of an order as they happen (server-sent events,
// https://html.spec.whatwg.org/multipage/server-sent-events.html). The id of each is its number; a client that comes back
// with the last one it saw misses none. When the order is over the stream ends, and who comes back is told so by 204,
// upon which browsers stop.
func (a *api) orderEvents(c *gin.Context, who accounts.Principal) error {
	id, err := pathID(c, ordering.ErrNotFound)
	if err != nil {
		return err
	}
	after := -1
	if last := c.Request.Header.Get(headerLastEventID); last != "" {
		if after, err = strconv.Atoi(last); err != nil || after < 0 {
			return &malformedError{field: headerLastEventID, reason: "is not the id of an event"}
		}
	}
	// A stream is not longer-lived than the permission to see it.
	ctx, cancel := context.WithDeadline(c.Request.Context(), who.ExpiresAt)
	defer cancel()
	s := &stream{c: c, control: http.NewResponseController(c.Writer)}
	err = a.deps.Orders.Watch(ctx, viewer(who), id, after, func(e ordering.Event) error {
		data, err := json.Marshal(eventView{OrderID: e.OrderID, Status: e.Status, At: e.At.UTC()})
		if err != nil {
			return err
		}
		return s.send(fmt.Sprintf("id: %d\nevent: status\ndata: %s\n\n", e.Seq, data))
	}, func() error { return s.send(": alive\n\n") })
	switch {
	case s.begun: // what failed is the way to the client
		return nil
	case err != nil:
		return fmt.Errorf("events of order %s: %w", id, err)
	}
	c.Status(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return nil
}

// stream writes server-sent events.
type stream struct {
	c       *gin.Context
	control *http.ResponseController
	begun   bool
}

func (s *stream) send(text string) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	if !s.begun {
		s.begun = true
		s.c.Set(streamKey, true)
		h := s.c.Writer.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Accel-Buffering", "no") // nginx would collect events before it passes them on
		s.c.Status(http.StatusOK)
		text = fmt.Sprintf("retry: %d\n\n", streamRetry) + text
	}
	if _, err := s.c.Writer.WriteString(text); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	if err := s.control.Flush(); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	return nil
}
