package pgtest

import (
	"errors"
	"io"
	"net"
	"time"
)

// Direction is one of the two of a connection.
type Direction uint8

// The directions.
const (
	ToServer Direction = iota
	ToClient
)

// network is what happens to everything that passes a proxy. Its proxy's mu guards it.
type network struct {
	stalled [2]chan struct{} // closed when the direction flows again; nil while it does
	delay   [2]time.Duration
	rate    int // bytes a second, 0 for any number
}

// throttleStep is the time between two pieces of what a throttled proxy passes on.
const throttleStep = 20 * time.Millisecond

func orBoth(directions []Direction) []Direction {
	if len(directions) == 0 {
		return []Direction{ToServer, ToClient}
	}
	return directions
}

// Stall makes a black hole of the proxy: connections stay and are accepted, and nothing passes, not even their end. With
// one direction, connections are half open: one side hears the other and is not heard.
func (p *TCPProxy) Stall(directions ...Direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range orBoth(directions) {
		if p.network.stalled[d] == nil {
			p.network.stalled[d] = make(chan struct{})
		}
	}
}

// Resume ends Stall. What was sent meanwhile arrives now.
func (p *TCPProxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for d, stalled := range p.network.stalled {
		if stalled != nil {
			close(stalled)
			p.network.stalled[d] = nil
		}
	}
}

// Delay lets everything arrive later by d, in one direction or in both; 0 ends it.
func (p *TCPProxy) Delay(d time.Duration, directions ...Direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, direction := range orBoth(directions) {
		p.network.delay[direction] = d
	}
}

// Throttle lets each connection pass so many bytes a second in each direction; 0 ends it.
func (p *TCPProxy) Throttle(bytesPerSecond int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.network.rate = bytesPerSecond
}

// Vanish makes the server disappear without a word: for the clients, the open connections stay, and are dead for ever; the
// server sees them reset. New connections work.
func (p *TCPProxy) Vanish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.loseClient(nil)
		l.closeServer()
	}
}

// deliver writes b as late and as slowly as the network wants. It is false when the link is over. What nobody is there
// to hear any more is dropped.
func (p *TCPProxy) deliver(l *link, d Direction, b []byte) bool {
	p.mu.Lock()
	delay, rate := p.network.delay[d], p.network.rate
	p.mu.Unlock()
	if !l.wait(delay) {
		return false
	}
	step := len(b)
	if rate > 0 {
		step = max(1, int(float64(rate)*throttleStep.Seconds()))
	}
	for len(b) > 0 {
		if !p.flows(l, d) {
			return false
		}
		if l.isGone() {
			return true
		}
		piece := b[:min(step, len(b))]
		if _, err := l.side(d).Write(piece); err != nil {
			l.reset()
			return false
		}
		if b = b[len(piece):]; rate > 0 && !l.wait(throttleStep) {
			return false
		}
	}
	return true
}

// ended passes on that the sender in a direction has ended, and how: err is that of reading from it.
func (p *TCPProxy) ended(l *link, d Direction, err error) {
	switch {
	case !p.flows(l, d), l.isGone():
	case errors.Is(err, io.EOF):
		if tcp, ok := l.side(d).(*net.TCPConn); ok {
			_ = tcp.CloseWrite() // If it is closed already, that is as good.
		}
	default:
		l.reset()
	}
}

// flows waits while the proxy is stalled in a direction. It is false when the link was cut.
func (p *TCPProxy) flows(l *link, d Direction) bool {
	p.mu.Lock()
	stalled := p.network.stalled[d]
	p.mu.Unlock()
	if stalled == nil {
		return !l.isCut()
	}
	select {
	case <-stalled:
		return true
	case <-l.cut:
		return false
	}
}
