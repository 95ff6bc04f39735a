package httpapi

import (
	"net/http"
	"sync/atomic"
)

const (
	// smallBody is the size up to which a body may take its memory at once. Whoever keeps to the documented lengths stays
	// below it.
	smallBody = 32 << 10
	// largeBodies is how many larger ones may be in memory at a time; a client that is slow holds its place for as long as
	// ReadTimeout lets it.
	largeBodies = 32
	// writesOnly is the share of Config.MaxRequests that is kept for requests that change something: one in so many.
	writesOnly = 10
)

// limits bounds what requests take of the memory. The database bounds those that wait for it; these are the others,
// which wait for their client to send a body or to take an answer.
type limits struct {
	max      int64
	requests atomic.Int64 // being answered
	large    chan struct{}
}

func newLimits(maxRequests int) *limits {
	return &limits{max: int64(maxRequests), large: make(chan struct{}, largeBodies)}
}

// enter counts a request in, unless there are too many. leave must follow.
func (l *limits) enter(method string) bool {
	most := l.max
	if method == http.MethodGet || method == http.MethodHead {
		most -= most / writesOnly
	}
	if l.requests.Add(1) > most {
		l.leave()
		return false
	}
	return true
}

func (l *limits) leave() { l.requests.Add(-1) }

// takeLarge takes a place for a large body, if there is one. releaseLarge must follow.
func (l *limits) takeLarge() bool {
	select {
	case l.large <- struct{}{}:
		return true
	default:
		return false
	}
}

func (l *limits) releaseLarge() { <-l.large }
