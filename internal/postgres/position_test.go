package postgres

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestPositions compares the memory of positions with one that forgets nothing: its answer must never be later than the
// truth, and be close to it for what is recent.
func TestPositions(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	var (
		p        positions
		begin    = time.Now()
		all      []mark
		position Position
	)
	for i := range 2000 {
		if rng.IntN(3) > 0 { // else nobody has written
			position += Position(rng.Uint64N(1000))
		}
		at := begin.Add(time.Duration(i) * time.Second)
		all = append(all, mark{at, position})
		p.add(observation{host: "a", at: at, position: position})
		if len(p.marks) > maxMarks {
			t.Fatalf("%d positions remembered", len(p.marks))
		}
		asked := Position(rng.Uint64N(uint64(position) + 1))
		if rng.IntN(2) == 0 { // mostly recent ones
			asked = all[max(0, i-rng.IntN(20))].position
		}
		var truth time.Time
		for _, m := range all {
			if m.position <= asked {
				truth = m.at
			}
		}
		got := p.asOf(asked)
		if got.After(truth) {
			t.Fatalf("after %d s, position %v is said to have everything of %v, it has that of %v", i, asked, got.Sub(begin), truth.Sub(begin))
		}
		// The error grows with the age.
		if age := at.Sub(truth); truth.Sub(got) > age/8+time.Second {
			t.Fatalf("after %d s, position %v of %v ago is taken for %v older", i, asked, age, truth.Sub(got))
		}
	}
	if p.since() != begin {
		t.Errorf("the memory begins %v late", p.since().Sub(begin))
	}

	p.add(observation{host: "b", at: begin.Add(time.Hour), position: 5})
	if got := p.asOf(position); got != begin.Add(time.Hour) || len(p.marks) != 1 {
		t.Errorf("after a failover: %v of %d", got, len(p.marks))
	}
	if got := p.asOf(4); !got.IsZero() {
		t.Errorf("a position before the memory is as of %v", got)
	}
}

func TestParsePosition(t *testing.T) {
	t.Parallel()
	for _, p := range []Position{0, 1, 0x16B3748, 1<<63 - 1} {
		if got, err := ParsePosition(p.String()); err != nil || got != p {
			t.Errorf("%v: got %v, %v", p, got, err)
		}
	}
	for _, bad := range []string{"", "-1", "+1", "0x10", "8000000000000000", "g", "1 ", "1\x00"} {
		if got, err := ParsePosition(bad); err == nil {
			t.Errorf("%q: got %v, want an error", bad, got)
		}
	}
}
