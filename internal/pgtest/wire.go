package pgtest

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// WireProxy is a TCPProxy that follows what clients and PostgreSQL say to each other, so that a fault can strike at a
// message: at COMMIT, say. It knows clients that talk without TLS; to one that asks for it, it says that there is none.
//
//	proxy := pgtest.Wire(t, server.Addr())
//	lost := proxy.Inject(pgtest.Fault{At: pgtest.Committed, Times: 1})
//	// … an order is placed through proxy.URL(server.URL()) …
//	if lost.Fired() != 1 { … }
type WireProxy struct {
	TCPProxy

	faultsMu sync.Mutex
	faults   []*Injection
}

// Wire starts such a proxy to target (host:port). It ends, and resets its connections, when the test ends.
func Wire(tb testing.TB, target string) *WireProxy {
	tb.Helper()
	p := &WireProxy{}
	p.start(tb, target, func(l *link) { newConversation(p, l).carry() })
	return p
}

// Inject makes a fault strike from now on. Of several that could strike at one message, the first injected does.
func (p *WireProxy) Inject(f Fault) *Injection {
	source := rand.NewPCG(f.Seed, f.Seed)
	i := &Injection{fault: f, proxy: p, random: rand.New(source)} //nolint:gosec // chance that can be repeated
	p.faultsMu.Lock()
	defer p.faultsMu.Unlock()
	p.faults = append(p.faults, i)
	return i
}

func (p *WireProxy) remove(i *Injection) {
	p.faultsMu.Lock()
	defer p.faultsMu.Unlock()
	p.faults = slices.DeleteFunc(slices.Clone(p.faults), func(other *Injection) bool { return other == i })
}

// strike returns the fault that strikes at a message, or nil.
func (p *WireProxy) strike(at Point, app, sql string) *Fault {
	p.faultsMu.Lock()
	faults := p.faults
	p.faultsMu.Unlock()
	for _, i := range faults {
		if i.strikes(at, app, sql) {
			if i.fault.Then != nil {
				i.fault.Then()
			}
			return &i.fault
		}
	}
	return nil
}
