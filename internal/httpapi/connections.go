package httpapi

import (
	"container/list"
	"errors"
	"net"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// connections bounds the connections of a server, each of which takes a descriptor and some memory. One too many has the
// connection closed that has been idle for the longest, as IdleTimeout would have some time later; when none is idle, it
// is closed itself.
type connections struct {
	most int

	mu   sync.Mutex
	open map[net.Conn]*list.Element // its place in idle; nil while it is busy
	idle list.List                  // of net.Conn; the longest idle first

	closedIdle, closedNew prometheus.Counter
}

// newConnections registers its metrics with reg, unless that is nil.
func newConnections(most int, reg prometheus.Registerer) (*connections, error) {
	closed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "speedybites_http_connections_closed_total",
		Help: "Connections of clients that were closed because there were too many, idle ones first.",
	}, []string{"which"})
	c := &connections{
		most: most, open: make(map[net.Conn]*list.Element),
		closedIdle: closed.WithLabelValues("idle"), closedNew: closed.WithLabelValues("new"),
	}
	if reg == nil {
		return c, nil
	}
	open := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "speedybites_http_connections",
		Help: "Connections of clients, idle ones included.",
	}, func() float64 { return float64(c.count()) })
	return c, errors.Join(reg.Register(closed), reg.Register(open))
}

func (c *connections) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// changed is told of every change of a connection's state: an http.Server's ConnState.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.open[conn] = nil
		if len(c.open) > c.most {
			c.makeRoom(conn)
		}
	case http.StateIdle:
		if _, ok := c.open[conn]; ok { // not one that was closed in this moment
			c.open[conn] = c.idle.PushBack(conn)
		}
	case http.StateActive:
		if place := c.open[conn]; place != nil {
			c.idle.Remove(place)
			c.open[conn] = nil
		}
	case http.StateHijacked, http.StateClosed:
		c.forget(conn)
	}
}

// makeRoom closes one connection. The server notices when it next reads from it. mu is held.
func (c *connections) makeRoom(latest net.Conn) {
	victim, counter := latest, c.closedNew
	if longest := c.idle.Front(); longest != nil {
		victim, counter = longest.Value.(net.Conn), c.closedIdle
	}
	c.forget(victim)
	counter.Inc()
	_ = victim.Close()
}

// forget is for a connection that is closed; mu is held.
func (c *connections) forget(conn net.Conn) {
	if place := c.open[conn]; place != nil {
		c.idle.Remove(place)
	}
	delete(c.open, conn)
}
