package pgtest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"speedybites/internal/pgtest"
)

func TestYardstick(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		y := pgtest.Measure(t, func(ctx context.Context) error {
			n++
			select {
			case <-time.After(time.Duration(n) * time.Second):
			case <-ctx.Done():
			}
			if n == 3 {
				return errors.New("failed, and so not measured")
			}
			return nil
		})
		// They take 1, 2, 3 (a failure), 4 and 5 s, with a pause after each; the fifth is ended after less than that.
		time.Sleep(11 * time.Second)
		now := time.Now()
		if got, want := y.Longest(now), 4*time.Second; got != want {
			t.Errorf("got %v, want %v", got, want)
		}
		if got, want := y.Longest(now.Add(-8*time.Second)), 2*time.Second; got != want {
			t.Errorf("of those before the third: got %v, want %v", got, want)
		}
	})
}

func TestByHand(t *testing.T) {
	t.Parallel()
	url := pgtest.DB(t)
	y := pgtest.ByHand(t, url)
	time.Sleep(200 * time.Millisecond)
	if took := y.Longest(time.Now()); took <= 0 {
		t.Errorf("took %v", took)
	}
}
