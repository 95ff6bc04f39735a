package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// The waits before a request is sent again: where nobody answered, there is another instance to ask; a 503 asks for
// patience, of which this client has less than it should.
const (
	afterNothing  = 100 * time.Millisecond
	afterConflict = 100 * time.Millisecond
	afterRefusal  = time.Second
)

// message is a request as it is sent, and what is expected of its answer.
type message struct {
	method, path string
	body         []byte
	// credentials are sent; without them, a replica may answer.
	credentials bool
	// position is the Consistency-Token that is sent, if any.
	position string
	// check takes a successful answer and says what is wrong with it.
	check func(e *Entry, body []byte) string
}

// request makes the n-th request, as often as it takes.
func (g *Generator) request(ctx context.Context, n int) Entry {
	e := Entry{Number: n, Start: time.Now(), Order: n%g.cfg.OrderEvery == g.cfg.OrderEvery-1}
	if e.Order && (n/g.cfg.OrderEvery)%g.cfg.KeyEvery == 0 {
		e.Key = e.Note(g.ledger.Run)
	}
	m, err := g.message(e)
	if err != nil {
		e.Err = err
		return e
	}
	e.What = m.method + " " + m.path
	for {
		t := g.try(ctx, &e, m)
		e.Tries = append(e.Tries, t)
		e.Attempts++
		e.Status, e.Err, e.Body = t.Status, t.Err, t.Body
		wait, again := g.again(e, t)
		if !again || !pause(ctx, wait) {
			break
		}
	}
	e.End = time.Now()
	return e
}

// again says whether a request is sent once more, and after what wait.
func (g *Generator) again(e Entry, t Try) (time.Duration, bool) {
	if !g.cfg.Retry {
		return 0, false
	}
	switch t.Status {
	case 0:
		return afterNothing, !e.Order || e.Key != "" || t.Refused
	case http.StatusConflict:
		return afterConflict, e.Key != ""
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return afterRefusal, e.Key != ""
	default:
		return 0, false
	}
}

// pause reports whether ctx is still alive after d.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (g *Generator) try(ctx context.Context, e *Entry, m message) (t Try) {
	t = Try{Instance: g.cfg.Pick(e.Number, e.Attempts), Start: time.Now()}
	defer func() { t.End = time.Now() }()
	req, err := http.NewRequestWithContext(ctx, m.method, g.cfg.Instances[t.Instance]+m.path, bytes.NewReader(m.body))
	if err != nil {
		t.Err = err
		return t
	}
	m.setHeader(req.Header, g.cfg.Token, e.Key)
	resp, err := g.client.Do(req)
	if err != nil {
		dial, ok := errors.AsType[*net.OpError](err)
		t.Err, t.Refused = err, ok && dial.Op == "dial"
		return t
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		t.Err = err
		return t
	}
	t.Status = resp.StatusCode
	if t.Status < 200 || t.Status > 299 {
		t.Body, t.RetryAfter = string(body), resp.Header.Get("Retry-After")
		return t
	}
	e.Position = resp.Header.Get(consistencyToken)
	e.Wrong = m.check(e, body)
	return t
}

const consistencyToken = "Consistency-Token"

func (m message) setHeader(h http.Header, token, key string) {
	if m.body != nil {
		h.Set("Content-Type", "application/json")
	}
	if m.credentials {
		h.Set("Authorization", "Bearer "+token)
	}
	if m.position != "" {
		h.Set(consistencyToken, m.position)
	}
	if key != "" {
		h.Set("Idempotency-Key", key)
	}
}

func (g *Generator) message(e Entry) (message, error) {
	if e.Order {
		return g.placing(e.Number)
	}
	if g.cfg.ReadBack && e.Number%g.cfg.OrderEvery == 0 {
		if placed, ok := g.ledger.acknowledged(); ok {
			m := readingBack(placed.Order)
			if e.Number/g.cfg.OrderEvery%2 == 0 {
				m.position = placed.position
			}
			return m, nil
		}
	}
	id := "/" + g.cfg.RestaurantID.String()
	reads := []message{
		reading("/api/restaurants?limit=5", `"data"`),
		reading("/api/restaurants"+id, g.cfg.RestaurantID.String()),
		reading("/api/restaurants"+id+"/menu", g.cfg.MenuItemID.String()),
	}
	return reads[e.Number%len(reads)], nil
}

// placing places an order.
func (g *Generator) placing(n int) (message, error) {
	wanted := g.order(n)
	body, err := json.Marshal(wanted)
	return message{method: http.MethodPost, path: "/api/orders", body: body, credentials: true, check: func(e *Entry, body []byte) string {
		e.Placed = Order{}
		if err := json.Unmarshal(body, &e.Placed); err != nil {
			return err.Error()
		}
		e.OrderID = e.Placed.ID
		return wanted.differs(e.Placed)
	}}, err
}

// readingBack reads an order that was acknowledged.
func readingBack(placed Order) message {
	path := "/api/orders/" + placed.ID.String()
	return message{method: http.MethodGet, path: path, credentials: true, check: func(_ *Entry, body []byte) string {
		var read Order
		if err := json.Unmarshal(body, &read); err != nil {
			return err.Error()
		}
		if !read.same(placed) {
			return fmt.Sprintf("reads %+v, and %+v was acknowledged", read, placed)
		}
		return ""
	}}
}

// reading reads what has a text in it.
func reading(path, text string) message {
	return message{method: http.MethodGet, path: path, check: func(_ *Entry, body []byte) string {
		if !strings.Contains(string(body), text) {
			return fmt.Sprintf("%q is not in %.200s", text, body)
		}
		return ""
	}}
}
