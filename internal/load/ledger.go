package load

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Entry is one request of the ledger.
type Entry struct {
	Number   int
	Order    bool
	Key      string // the Idempotency-Key; empty for an order without one
	Start    time.Time
	End      time.Time
	Status   int       // of the last attempt; 0: no answer
	OrderID  uuid.UUID // of a 201
	Attempts int
	Err      error
	Body     string // of an answer that is no success

	// What is the request in words: its method and path.
	What string
	// Placed is the order as the 201 told it.
	Placed Order
	// Position is the Consistency-Token of the 201, where the service gives one.
	Position string

	// Tries are all attempts, in their order.
	Tries []Try
	// Wrong says what in a successful answer is not so: an order with other content than was sent, or than was
	// acknowledged before. Empty: nothing.
	Wrong string
}

// Try is one attempt of a request.
type Try struct {
	Instance   int
	Start, End time.Time
	Status     int // 0: no answer
	Err        error
	// Refused means that no connection was made, so that the request cannot have arrived.
	Refused bool
	// Body and RetryAfter are those of an answer that is no success.
	Body, RetryAfter string
}

// Took returns how long the attempt waited for its answer.
func (t Try) Took() time.Duration { return t.End.Sub(t.Start) }

// Failed reports whether the request got no answer, or one that is no success.
func (e Entry) Failed() bool { return e.Status < 200 || e.Status > 299 }

// Took returns how long the request waited for its answer.
func (e Entry) Took() time.Duration { return e.End.Sub(e.Start) }

// Note marks an order of this run in the database, with or without a key.
func (e Entry) Note(run string) string { return fmt.Sprintf("%s/%d", run, e.Number) }

// Ledger is the record of a run.
type Ledger struct {
	// Run marks the orders of this run: their note begins with it.
	Run string

	mu      sync.Mutex
	entries []Entry
	placed  []acknowledged
}

// acknowledged is an order that was answered with 201.
type acknowledged struct {
	Order
	position string // its Consistency-Token
}

// Entries returns all requests that have ended.
func (l *Ledger) Entries() []Entry { return l.After(0) }

// After returns the requests that have ended, in the order of their end, without the first n.
func (l *Ledger) After(n int) []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Entry(nil), l.entries[n:]...)
}

func (l *Ledger) add(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
	if e.Order && !e.Failed() {
		l.placed = append(l.placed, acknowledged{e.Placed, e.Position})
	}
}

// acknowledged returns an order that was acknowledged: the last one or any, so that both a write of just now and an old
// one are read.
func (l *Ledger) acknowledged() (acknowledged, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.placed)
	if n == 0 {
		return acknowledged{}, false
	}
	if rand.IntN(2) == 0 { //nolint:gosec // G404: no secret depends on it.
		return l.placed[n-1], true
	}
	return l.placed[rand.IntN(n)], true //nolint:gosec // G404: as above.
}
