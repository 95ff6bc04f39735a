package pgtest

import (
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// Point is where in a conversation with PostgreSQL a fault strikes.
type Point uint8

// The points, in the order of a transaction's life.
const (
	// AtLogin is when a client has introduced itself.
	AtLogin Point = iota
	// AtStatement is when a client wants a statement executed that is not a COMMIT. The server has not seen that yet.
	AtStatement
	// BeforeCommit is when a client wants to commit: COMMIT never reaches the server, which rolls back when it notices
	// that the client is gone. What the client had sent before, also in the same round trip, arrives.
	BeforeCommit
	// CommitSent is when a client has sent COMMIT: it arrives, and the server commits, but nobody is told.
	CommitSent
	// Committed is when the server has committed and answered: the answer does not reach the client.
	Committed
)

// Loss is how a client loses its connection.
type Loss uint8

// The losses.
const (
	// Reset is a reset connection (RST).
	Reset Loss = iota
	// Close is a connection that ends in an orderly way (FIN), without a word of PostgreSQL's.
	Close
	// Hang is a connection that stays and is dead: its peer has vanished.
	Hang
	// Pass is no loss: the message passes. For a fault that only counts, or calls Then.
	Pass
)

// Fault is what goes wrong at a message between a client and PostgreSQL. Without a Code the client loses its connection.
type Fault struct {
	At Point
	// SQL chooses the statements that contain it, whatever the case; at a COMMIT, the transactions with such a statement.
	// App chooses the sessions of that application_name. Empty chooses all.
	SQL, App string

	Loss Loss
	// Hold is how much later the server learns of it: that the client is gone, or at CommitSent that it wanted to commit.
	// Until then the transaction stays open, with its locks.
	Hold time.Duration
	// Code is the SQLSTATE of an error that the client gets as the server's answer. After one that PostgreSQL ends a
	// session with (57P01, 57P02, 57P03, 57P05, 25P03, class 08, and any at login) the connection is closed. Any other
	// fails the transaction as a failing statement does; at BeforeCommit, the transaction is rolled back. CommitSent has
	// no answer.
	Code string

	// Times bounds how often it strikes; 0 is every time. Chance, if not 0, is its probability each time, decided by a
	// source with the given Seed.
	Times  int
	Chance float64
	Seed   uint64
	// Then is called when it strikes, before the client notices.
	Then func()
}

// Injection is a fault in a proxy.
type Injection struct {
	fault Fault
	proxy *WireProxy

	mu          sync.Mutex
	random      *rand.Rand
	seen, fired int
}

// Seen is how often the fault could have struck.
func (i *Injection) Seen() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.seen
}

// Fired is how often it has struck.
func (i *Injection) Fired() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fired
}

// Remove ends it. It may be called several times.
func (i *Injection) Remove() { i.proxy.remove(i) }

// strikes decides whether the fault strikes at a message, and counts that. sql is what the message has executed; for a
// COMMIT, all of its transaction.
func (i *Injection) strikes(at Point, app, sql string) bool {
	f := &i.fault
	if f.At != at || f.App != "" && f.App != app || !strings.Contains(strings.ToLower(sql), strings.ToLower(f.SQL)) {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.seen++
	if f.Times > 0 && i.fired >= f.Times || f.Chance > 0 && i.random.Float64() >= f.Chance {
		return false
	}
	i.fired++
	return true
}

// endsSession reports whether PostgreSQL, or a pooler in its place, closes the connection after such an error.
func (f *Fault) endsSession() bool {
	switch f.Code {
	case "57P01", "57P02", "57P03", "57P05", "25P03":
		return true
	}
	return f.At == AtLogin || strings.HasPrefix(f.Code, "08")
}

// passes reports whether the message passes.
func (f *Fault) passes() bool { return f.Loss == Pass && f.Code == "" }
