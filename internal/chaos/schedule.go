package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Fault is one thing that goes wrong.
type Fault struct {
	kind kind
	// After is its delay within its step.
	After time.Duration
	// For is how long it lasts, or how long the part of it that is up to us takes.
	For time.Duration
	// Instance is whom it hits, where it hits one of them.
	Instance int
	// Variant chooses among what a kind can do.
	Variant int
}

// String is a line of the schedule.
func (f Fault) String() string {
	s := f.kind.name
	if f.kind.oneInstance {
		s += fmt.Sprintf(" (instance %d)", f.Instance+1)
	}
	if n := len(f.kind.variants); n > 0 {
		s += " (" + f.kind.variants[f.Variant%n] + ")"
	}
	s += fmt.Sprintf(", %.1f s", f.For.Seconds())
	if f.After > 0 {
		s += fmt.Sprintf(", %.1f s later", f.After.Seconds())
	}
	if f.kind.long {
		s += " [declared: longer than the grace]"
	}
	return s
}

// Step is a pause and what goes wrong after it: one fault, or two that overlap.
type Step struct {
	Number int
	Gap    time.Duration
	Faults []Fault
}

// String is a line of the schedule.
func (s Step) String() string {
	var faults []string
	for _, f := range s.Faults {
		faults = append(faults, f.String())
	}
	return fmt.Sprintf("step %d, after %.1f s: %s", s.Number, s.Gap.Seconds(), strings.Join(faults, "; together with "))
}

// Schedule draws steps without end. Kinds come as cards off a shuffled deck: at random, and yet none is missing from a
// run of a few minutes. A deck has every kind once, but of the outages longer than the grace only some.
type Schedule struct {
	rand  *rand.Rand
	kinds []kind
	deck  []kind // what is left of it
	n     int    // steps so far
}

// longEach is the number of long outages in a deck: one step in ten.
const longEach = 3

// NewSchedule returns the schedule of a seed.
func NewSchedule(seed uint64) *Schedule {
	return &Schedule{rand: rand.New(rand.NewPCG(seed, 0)), kinds: kinds()} //nolint:gosec // G404: it has to be repeatable
}

// The gap between the recovery from one step and the next.
const (
	minGap = 2 * time.Second
	maxGap = 8 * time.Second
)

// togetherEvery is how many steps there are to one with two faults.
const togetherEvery = 3

// maxApart is the most that the second of two faults begins after the first.
const maxApart = 1500 * time.Millisecond

// Next draws a step.
func (s *Schedule) Next() Step {
	s.n++
	step := Step{Number: s.n, Gap: s.between(minGap, maxGap)}
	first := s.draw()
	together := s.rand.IntN(togetherEvery) == 0
	second, some := s.companion(first)
	together = together && some
	step.Faults = append(step.Faults, s.fault(first, together && !first.long))
	if together {
		f := s.fault(second, true)
		f.After = s.between(0, maxApart)
		step.Faults = append(step.Faults, f)
	}
	return step
}

func (s *Schedule) draw() kind {
	if len(s.deck) == 0 {
		all := slices.Clone(s.kinds)
		s.rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		long := 0
		for _, k := range all {
			if k.long {
				long++
			}
			if !k.long || long <= longEach {
				s.deck = append(s.deck, k)
			}
		}
	}
	k := s.deck[0]
	s.deck = s.deck[1:]
	return k
}

// companion draws a fault that can happen at the same time as k: of another part of the setting.
func (s *Schedule) companion(k kind) (kind, bool) {
	var can []kind
	for _, other := range s.kinds {
		if other.part != k.part && !other.long && !k.alone && !other.alone {
			can = append(can, other)
		}
	}
	if len(can) == 0 {
		return kind{}, false
	}
	return can[s.rand.IntN(len(can))], true
}

// fault draws the details. Of two that overlap each is short, so that both together stay within the grace.
func (s *Schedule) fault(k kind, short bool) Fault {
	longest := k.max
	if short {
		longest = k.min + (k.max-k.min)/2
	}
	return Fault{kind: k, For: s.between(k.min, longest), Instance: s.rand.IntN(instances), Variant: s.rand.IntN(variety)}
}

// variety is above the number of variants of any kind.
const variety = 1000

// between draws a duration in tenths of a second.
func (s *Schedule) between(shortest, longest time.Duration) time.Duration {
	const unit = 100 * time.Millisecond
	return shortest + unit*time.Duration(s.rand.Int64N(int64((longest-shortest)/unit)+1))
}
