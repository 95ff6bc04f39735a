package postgres

import "time"

// pace is how fast a queue moves: by how many admissions in the time since the first one, while the queue was never
// empty. So it says what the database gets done, not how many queries come, and it accounts for the turns that the other
// queue takes. A queue that has just begun, or has not moved yet, has no pace: nobody is refused on a guess.
type pace struct {
	enough int           // admissions that make it known
	memory time.Duration // what is older counts less and less

	from  time.Time // zero: not one yet
	moves int       // since from
}

// minMoves is the fewest admissions that say anything: with them the pace is known to a quarter.
const minMoves = 16

// newPace returns the pace of a queue in front of so many connections, in which nobody waits for longer than timeout. A
// short pause, by a checkpoint for instance, must not make a difference, so the memory is a good part of that.
func newPace(connections int, timeout time.Duration) pace {
	return pace{enough: max(minMoves, connections), memory: timeout / 4}
}

// moved counts an admission.
func (p *pace) moved(now time.Time) {
	if p.from.IsZero() {
		p.from = now
		return
	}
	p.moves++
	// Halving both keeps the quotient and makes room for what comes.
	if elapsed := now.Sub(p.from); elapsed > p.memory && p.moves >= 2*p.enough {
		p.from = p.from.Add(elapsed / 2)
		p.moves /= 2
	}
}

func (p *pace) forget() { p.from, p.moves = time.Time{}, 0 }

// wait returns how long a query will wait behind so many others, if that is known.
func (p *pace) wait(ahead int, now time.Time) (wait time.Duration, known bool) {
	if p.moves < p.enough {
		return 0, false
	}
	// In floating point: years, of a queue that is stuck, would overflow.
	return time.Duration(min(float64(now.Sub(p.from))/float64(p.moves)*float64(ahead+1), float64(time.Hour))), true
}
