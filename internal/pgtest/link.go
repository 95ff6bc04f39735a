package pgtest

import (
	"net"
	"sync"
	"time"
)

// link is one connection of a client with its counterpart to the server.
type link struct {
	client, server net.Conn
	cut            chan struct{} // closed when both sides are
	gone           chan struct{} // closed when the client hears nothing any more, whether or not it knows

	once, goneOnce sync.Once
}

func newLink(client net.Conn) *link {
	return &link{client: client, cut: make(chan struct{}), gone: make(chan struct{})}
}

// side returns the receiver in a direction.
func (l *link) side(d Direction) net.Conn {
	if d == ToClient {
		return l.client
	}
	return l.server
}

// source returns the sender in a direction.
func (l *link) source(d Direction) net.Conn { return l.side(1 - d) }

// reset closes both sides so that the peers see a reset connection.
func (l *link) reset() { l.end(reset) }

// end closes both sides in the given way, unless they are. The proxy's mu is held, or the server's side is there.
func (l *link) end(closeConn func(net.Conn) error) {
	l.once.Do(func() {
		close(l.cut)
		_ = closeConn(l.client) // It is of no more use, whatever this says.
		if l.server != nil {
			_ = closeConn(l.server)
		}
	})
}

// loseClient takes the client's side off the link: it hears nothing any more. closeConn ends its connection; nil leaves
// it open. The server's side is closed by closeServer.
func (l *link) loseClient(closeConn func(net.Conn) error) {
	l.goneOnce.Do(func() {
		close(l.gone)
		if closeConn != nil {
			_ = closeConn(l.client)
		}
	})
}

// closeServer resets the server's side alone.
func (l *link) closeServer() {
	if l.server != nil {
		_ = reset(l.server)
	}
}

func (l *link) isCut() bool  { return isClosed(l.cut) }
func (l *link) isGone() bool { return isClosed(l.gone) }

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// wait lets time pass. It is false when the link was cut.
func (l *link) wait(d time.Duration) bool {
	if d <= 0 {
		return !l.isCut()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.cut:
		return false
	}
}

// reset closes a connection, and drops what was not sent yet.
func reset(conn net.Conn) error {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // Fails only on a connection that is closed.
	}
	return conn.Close()
}
