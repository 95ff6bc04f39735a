package pgtest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"speedybites/internal/localpg"
)

// TCPProxy stands between a client and a server, as a network that can be broken. Its methods may be called
// concurrently.
type TCPProxy struct {
	tb     testing.TB
	addr   string
	target string
	tasks  sync.WaitGroup

	// mu guards what follows. It is never held while waiting for the network.
	mu       sync.Mutex
	listener net.Listener // nil while refusing
	links    map[*link]bool
	dials    int
	flowing  chan struct{} // closed unless stalled
}

// link is one connection of a client with its counterpart to the server.
type link struct {
	client, server net.Conn
	cut            chan struct{} // closed when the link is cut
	once           sync.Once
}

// Proxy starts a proxy to target (host:port). It ends, and resets its connections, when the test ends.
func Proxy(tb testing.TB, target string) *TCPProxy {
	tb.Helper()
	port, err := localpg.FreePort()
	if err != nil {
		tb.Fatal(err)
	}
	p := &TCPProxy{
		tb: tb, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), target: target,
		links: make(map[*link]bool), flowing: make(chan struct{}),
	}
	close(p.flowing)
	tb.Cleanup(func() {
		p.Refuse()
		p.Cut()
		p.tasks.Wait()
	})
	p.Accept()
	return p
}

// Addr is the host and port the proxy listens on, always the same.
func (p *TCPProxy) Addr() string { return p.addr }

// URL returns the URL of a server with the proxy in place of its host and port.
func (p *TCPProxy) URL(server string) string {
	p.tb.Helper()
	u, err := url.Parse(server)
	if err != nil {
		p.tb.Fatal(err)
	}
	u.Host = p.addr
	return u.String()
}

// Dials is the number of connections accepted so far, also of those that found no server behind the proxy.
func (p *TCPProxy) Dials() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dials
}

// Refuse stops listening: the system refuses new connections. Those that are open stay.
func (p *TCPProxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close() // It is not used again, whatever this says.
	}
	p.listener = nil
}

// Accept ends Refuse, on the same port.
func (p *TCPProxy) Accept() {
	p.tb.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		return
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", p.addr)
	if err != nil {
		p.tb.Fatal(err)
	}
	p.listener = l
	p.tasks.Go(func() { p.serve(l) })
}

// Cut resets all connections (RST), on both sides.
func (p *TCPProxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.reset()
	}
}

// Stall makes a black hole of the proxy: connections stay and are accepted, and nothing passes, not even their end.
func (p *TCPProxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.flowing:
		p.flowing = make(chan struct{})
	default:
	}
}

// Resume ends Stall. What was sent meanwhile arrives now.
func (p *TCPProxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.flowing:
	default:
		close(p.flowing)
	}
}

func (p *TCPProxy) serve(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		link := &link{client: client, cut: make(chan struct{})}
		p.mu.Lock()
		p.dials++
		p.links[link] = true
		late := p.listener != l // Accepted while Refuse was closing the listener: Cut may have passed already.
		p.mu.Unlock()
		if late {
			link.reset()
		}
		p.tasks.Go(func() {
			p.forward(link)
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.links, link)
		})
	}
}

// forward lives as long as the link.
func (p *TCPProxy) forward(l *link) {
	defer l.reset()
	if !p.flows(l) {
		return
	}
	server, err := (&net.Dialer{Timeout: 10 * time.Second}).Dial("tcp", p.target)
	if err != nil {
		return
	}
	p.mu.Lock()
	l.server = server
	p.mu.Unlock()
	select {
	case <-l.cut: // While dialling, so that reset has not seen the server's side.
		_ = reset(server)
		return
	default:
	}
	var both sync.WaitGroup
	both.Go(func() { p.pump(l, server, l.client) })
	both.Go(func() { p.pump(l, l.client, server) })
	both.Wait()
	l.end(net.Conn.Close)
}

// pump carries one direction, and passes its end on.
func (p *TCPProxy) pump(l *link, to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !p.flows(l) {
			return
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				l.reset()
				return
			}
		}
		if errors.Is(err, io.EOF) {
			if tcp, ok := to.(*net.TCPConn); ok {
				_ = tcp.CloseWrite() // If it is closed already, that is as good.
			}
			return
		}
		if err != nil {
			l.reset()
			return
		}
	}
}

// flows waits while the proxy is stalled. It is false when the link was cut.
func (p *TCPProxy) flows(l *link) bool {
	p.mu.Lock()
	flowing := p.flowing
	p.mu.Unlock()
	select {
	case <-flowing:
		return true
	case <-l.cut:
		return false
	}
}

// reset closes both sides so that the peers see a reset connection.
func (l *link) reset() { l.end(reset) }

// end closes both sides in the given way, unless they are.
func (l *link) end(closeConn func(net.Conn) error) {
	l.once.Do(func() {
		close(l.cut)
		_ = closeConn(l.client) // It is of no more use, whatever this says.
		if l.server != nil {
			_ = closeConn(l.server)
		}
	})
}

// reset closes a connection, and drops what was not sent yet.
func reset(conn net.Conn) error {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // Fails only on a connection that is closed.
	}
	return conn.Close()
}
