package postgres

import "time"

// pace is how fast a queue moves: by how many admissions in what time, while the queue was never empty. So it says what the
// database gets done, not how many queries come, and it accounts for the turns that the other queue takes.
//
// Somebody refused for a wait that would have been short is worse than somebody let in who waits too long. So a queue that
// has just begun, or has hardly moved yet, has no pace. The first admissions do not count, as many as there are
// connections: they may have had to log in, to a server that has just come back.
//
// It is a rough measure, and so is the wait that follows from it. A queue whose wait comes near to what is allowed does
// not grow any more: it takes seven queries for each eight that get their turn. Thus it does not swing between taking
// everybody and nobody.
type pace struct {
	connections int
	enough      int           // admissions that make it known
	memory      time.Duration // what is older counts less and less

	first  int // admissions that did not count
	from   time.Time
	moves  int // since from
	credit int // what may join a queue that must not grow, in eighths of a query
}

const (
	// minMoves are the fewest admissions with which the pace is known, to a quarter. With a quarter of them it is a guess.
	minMoves = 16
	// eighths are a whole query.
	eighths = 8
)

// newPace returns the pace of a queue in front of so many connections, in which nobody waits for longer than timeout. A
// short pause, by a checkpoint for instance, must not make a difference, so the memory is a good part of that.
func newPace(connections int, timeout time.Duration) pace {
	return pace{connections: connections, enough: max(minMoves, connections), memory: timeout / 2}
}

// moved counts an admission.
func (p *pace) moved(now time.Time) {
	if p.first < p.connections {
		p.first++
		p.from = now
		return
	}
	p.moves++
	p.credit = min(p.credit+eighths-1, 2*eighths)
	// Halving both keeps the quotient and makes room for what comes.
	if elapsed := now.Sub(p.from); elapsed > p.memory && p.moves >= 2*p.enough {
		p.from = p.from.Add(elapsed / 2)
		p.moves /= 2
	}
}

func (p *pace) forget() { p.first, p.moves, p.credit = 0, 0, 0 }

// takes reports whether a query may join the queue behind so many others, when it is allowed to wait for so long.
func (p *pace) takes(ahead int, allowed time.Duration, now time.Time) bool {
	elapsed := now.Sub(p.from)
	if p.moves < p.enough/4 || elapsed < p.memory/2 {
		return true
	}
	// The turns there will be in that time. Of a queue that is stuck for years, too: the quotient of two floats is one.
	turns, need := float64(allowed)*float64(p.moves)/float64(elapsed), float64(ahead+1)
	switch {
	case p.moves < p.enough:
		return need <= 2*turns
	case need <= turns*3/4:
		return true
	case need > turns || p.credit < eighths:
		return false
	}
	p.credit -= eighths
	return true
}
