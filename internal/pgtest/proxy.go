package pgtest

import (
	"context"
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
	carry  func(*link)
	tasks  sync.WaitGroup

	// mu guards what follows. It is never held while waiting for the network.
	mu       sync.Mutex
	listener net.Listener // nil while refusing
	links    map[*link]bool
	dials    int
	network  network
}

// Proxy starts a proxy to target (host:port). It ends, and resets its connections, when the test ends.
func Proxy(tb testing.TB, target string) *TCPProxy {
	tb.Helper()
	p := &TCPProxy{}
	p.start(tb, target, p.carryBytes)
	return p
}

// start makes a proxy of p, and lets it end with the test. carry passes on what the two sides of a link say, until both
// have ended.
func (p *TCPProxy) start(tb testing.TB, target string, carry func(*link)) {
	tb.Helper()
	port, err := localpg.FreePort()
	if err != nil {
		tb.Fatal(err)
	}
	p.tb, p.addr, p.target = tb, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), target
	p.links, p.carry = make(map[*link]bool), carry
	tb.Cleanup(func() {
		p.Refuse()
		p.Cut()
		p.tasks.Wait()
	})
	p.Accept()
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

func (p *TCPProxy) serve(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		link := newLink(client)
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
	if !p.flows(l, ToServer) {
		return
	}
	server, err := (&net.Dialer{Timeout: 10 * time.Second}).Dial("tcp", p.target)
	if err != nil {
		return
	}
	p.mu.Lock()
	l.server = server
	p.mu.Unlock()
	if l.isCut() || l.isGone() { // While dialling, when there was no server's side to close.
		_ = reset(server)
	}
	p.carry(l)
	l.end(net.Conn.Close)
}

// carryBytes is the carry of a proxy that does not look at what it passes on.
func (p *TCPProxy) carryBytes(l *link) {
	var both sync.WaitGroup
	both.Go(func() { p.pump(l, ToServer) })
	both.Go(func() { p.pump(l, ToClient) })
	both.Wait()
}

// pump carries one direction, and passes its end on.
func (p *TCPProxy) pump(l *link, d Direction) {
	buf := make([]byte, 32<<10)
	for {
		n, err := l.source(d).Read(buf)
		if n > 0 && !p.deliver(l, d, buf[:n]) {
			return
		}
		if err != nil {
			p.ended(l, d, err)
			return
		}
	}
}
