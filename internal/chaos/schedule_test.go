package chaos

import (
	"testing"
	"time"
)

// TestSchedule draws many steps and looks at their mixture.
func TestSchedule(t *testing.T) {
	t.Parallel()
	const steps = 2000
	a, b, other := NewSchedule(7), NewSchedule(7), NewSchedule(8)
	times := map[string]int{}
	var long, together, differ int
	for range steps {
		step := a.Next()
		if again := b.Next(); step.String() != again.String() {
			t.Fatalf("the same seed draws %q and %q", step, again)
		}
		if step.String() != other.Next().String() {
			differ++
		}
		if step.Gap < minGap || step.Gap > maxGap {
			t.Errorf("%v: the gap", step)
		}
		end := time.Duration(0)
		for _, f := range step.Faults {
			times[f.kind.name]++
			end = max(end, f.After+f.For)
			if f.For < f.kind.min || f.For > f.kind.max {
				t.Errorf("%v: lasts %v", step, f.For)
			}
			if f.kind.long {
				long++
			}
		}
		if len(step.Faults) == 2 {
			together++
			if first, second := step.Faults[0].kind, step.Faults[1].kind; first.part == second.part || first.alone || second.alone || second.long {
				t.Errorf("%v: these cannot overlap", step)
			}
			// What is left of the grace is for noticing, starting and promoting.
			if most := grace * 7 / 10; end > most && !step.Faults[0].kind.long {
				t.Errorf("%v: %v in all, more than %v", step, end, most)
			}
		}
	}
	for _, k := range kinds() {
		if times[k.name] < steps/len(kinds())/3 {
			t.Errorf("%s came %d times in %d steps", k.name, times[k.name], steps)
		}
		if outlasts := k.min >= grace+recovery; outlasts != k.long {
			t.Errorf("%s: declared to be longer than the grace: %v, lasts at least %v", k.name, k.long, k.min)
		}
	}
	if long < steps/15 || long > steps/7 {
		t.Errorf("%d outages of %d steps outlast the grace, want about one in ten", long, steps)
	}
	if together < steps/5 || together > steps/2 {
		t.Errorf("%d of %d steps have two faults", together, steps)
	}
	if differ < steps/2 {
		t.Errorf("another seed draws the same in %d of %d steps", steps-differ, steps)
	}
}
