package chaos_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"speedybites/internal/chaos"
	"speedybites/internal/pgtest"
)

// TestChaos is a minute of `make chaos`. Its seed is drawn anew each time: a minute has room for few of the faults, and
// a list of seeds would only ever try the same few. The log says how to play it again.
func TestChaos(t *testing.T) {
	pgtest.Slow(t)
	cfg := chaos.Config{
		For: time.Minute, Seed: uint64(rand.Uint32()) + 1, Rate: 40, Race: race,
		// With the race detector, two cores are busy with this alone. What is promised in seconds is measured by make chaos.
		Noise: 5 * time.Second,
	}
	r, err := chaos.Run(t.Context(), cfg, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	r.Print(t.Output())
	if !r.OK() {
		t.Errorf("%d discrepancies", len(r.Discrepancies()))
	}
	if r.Steps == 0 || r.Result.Acknowledged == 0 {
		t.Errorf("%d steps, %d orders: nothing was tried", r.Steps, r.Result.Acknowledged)
	}
}
