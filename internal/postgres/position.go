package postgres

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Position is a place in the primary's write-ahead log, an LSN: a server that has replayed it has every change committed
// before. 0 is the beginning.
type Position uint64

// String returns the position in hexadecimal, as ParsePosition reads it.
func (p Position) String() string { return strconv.FormatUint(uint64(p), 16) }

// ParsePosition reads what String wrote.
func ParsePosition(text string) (Position, error) {
	n, err := strconv.ParseUint(text, 16, 63)
	if err != nil {
		return 0, fmt.Errorf("position %q is not a hexadecimal number of up to 63 bits", text)
	}
	return Position(n), nil
}

// maxMarks bounds the memory of positions: recent ones lie a heartbeat apart, old ones further, in proportion to their age.
const maxMarks = 128

// positions remembers when the primary had written how much. With it, a replica's position tells how old its data is, by
// this process's clock alone: PostgreSQL's replay timestamp compares two servers' clocks, and grows while nobody writes.
type positions struct {
	mu     sync.Mutex
	server string
	marks  []mark // in order of time and position
}

type mark struct {
	at       time.Time // when the primary was asked: whatever was committed before is included
	position Position
}

// add remembers an observation of the primary. Another server begins anew: what the former one had written last may be
// lost.
func (p *positions) add(o observation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.marks); p.server != o.host || (n > 0 && o.position < p.marks[n-1].position) {
		p.server, p.marks = o.host, p.marks[:0]
	}
	if len(p.marks) == maxMarks {
		p.forget(o.at)
	}
	p.marks = append(p.marks, mark{o.at, o.position})
}

// forget drops the mark that is missed least: the one that leaves the smallest gap, compared with its age. The first and
// the last stay.
func (p *positions) forget(now time.Time) {
	least, at := 0.0, 0
	for i := 1; i < len(p.marks)-1; i++ {
		gap := p.marks[i+1].at.Sub(p.marks[i-1].at).Seconds() / now.Sub(p.marks[i].at).Seconds()
		if at == 0 || gap < least {
			least, at = gap, i
		}
	}
	p.marks = slices.Delete(p.marks, at, at+1)
}

// asOf returns the latest moment of which a server that has replayed to position surely has everything; zero when that
// is older than anything remembered.
func (p *positions) asOf(position Position) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range slices.Backward(p.marks) {
		if m.position <= position {
			return m.at
		}
	}
	return time.Time{}
}

// since returns when the memory begins; zero when there is none.
func (p *positions) since() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.marks) == 0 {
		return time.Time{}
	}
	return p.marks[0].at
}
