//go:build bench

package bench

import (
	"slices"
	"testing"
	"time"
)

// comparison is the outcome of interleaved rounds: medians for one operation, and the ratio plain/ours of each round's
// speeds, so that 1 means as fast and less means slower.
type comparison struct {
	plain, ours      time.Duration
	ratio, low, high float64 // median and quartiles
}

// compare runs plain and ours n times in turn for the given number of rounds. What the machine does to one of a pair it
// most likely does to the other, so the pairs are what is compared.
func compare(t *testing.T, name string, rounds, n int, plain, ours func()) comparison {
	t.Helper()
	measure := func(f func()) time.Duration {
		begin := time.Now()
		for range n {
			f()
		}
		return time.Since(begin) / time.Duration(n)
	}
	measure(plain)
	measure(ours)
	var p, o []time.Duration
	var ratios []float64
	for round := range rounds {
		var a, b time.Duration
		if round%2 == 0 {
			a, b = measure(plain), measure(ours)
		} else {
			b, a = measure(ours), measure(plain)
		}
		p, o, ratios = append(p, a), append(o, b), append(ratios, float64(a)/float64(b))
	}
	slices.Sort(p)
	slices.Sort(o)
	slices.Sort(ratios)
	t.Logf("%s: %d rounds of %d", name, rounds, n)
	return comparison{
		plain: p[rounds/2], ours: o[rounds/2],
		ratio: ratios[rounds/2], low: ratios[rounds/4], high: ratios[rounds*3/4],
	}
}
