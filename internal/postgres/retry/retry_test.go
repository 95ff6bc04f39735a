package retry_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"speedybites/internal/postgres/retry"
)

func TestBackoff(t *testing.T) {
	t.Parallel()
	p := retry.Policy{Attempts: 5, Base: 100 * time.Millisecond}
	for n, want := range map[int]time.Duration{
		1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 3: 400 * time.Millisecond, 4: 800 * time.Millisecond,
	} {
		if got := p.Backoff(n); got != want {
			t.Errorf("Backoff(%d): got %v, want %v", n, got, want)
		}
	}
	if got := p.Backoff(1000); got <= 0 {
		t.Errorf("Backoff(1000) overflowed to %v", got)
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	p := retry.Policy{Attempts: 3, Base: 100 * time.Millisecond}

	t.Run("SleepsBetweenAttempts", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			var at []time.Duration
			for n := 1; ; n++ {
				at = append(at, time.Since(start))
				if !p.Wait(t.Context(), n) {
					break
				}
			}
			want := []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond}
			if len(at) != len(want) || at[1] != want[1] || at[2] != want[2] {
				t.Errorf("attempts at %v, want %v", at, want)
			}
		})
	})

	t.Run("EndsWithTheContext", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(30*time.Millisecond, cancel)
			start := time.Now()
			if p.Wait(ctx, 1) {
				t.Error("another attempt after the caller gave up")
			}
			if got := time.Since(start); got != 30*time.Millisecond {
				t.Errorf("gave up after %v, want 30ms", got)
			}
		})
	})

	t.Run("DoesNotWaitPastTheDeadline", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 90*time.Millisecond)
			defer cancel()
			start := time.Now()
			if p.Wait(ctx, 1) || time.Since(start) != 0 {
				t.Errorf("waited %v for an attempt that the deadline forbids", time.Since(start))
			}
		})
	})
}
