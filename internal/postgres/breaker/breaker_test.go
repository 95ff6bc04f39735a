package breaker_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"speedybites/internal/postgres/breaker"
)

func newBreaker(tb testing.TB, cfg breaker.Config) *breaker.Breaker {
	tb.Helper()
	cfg.Name = tb.Name()
	if cfg.Threshold == 0 {
		cfg.Threshold = 5
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	b, err := breaker.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func run(tb testing.TB, b *breaker.Breaker, outcome breaker.Outcome) {
	tb.Helper()
	p, err := b.Allow()
	if err != nil {
		tb.Fatalf("Allow in %v: %v", b.State(), err)
	}
	p.Done(tb.Context(), outcome, 0)
}

func TestBreaker(t *testing.T) {
	t.Parallel()

	t.Run("OpensAtTheThreshold", func(t *testing.T) {
		t.Parallel()
		b := newBreaker(t, breaker.Config{})
		for n := 1; n <= 5; n++ {
			run(t, b, breaker.Failed)
			if got := b.Failures(); got != n {
				t.Errorf("failures: got %d, want %d", got, n)
			}
		}
		if _, err := b.Allow(); !errors.Is(err, breaker.ErrOpen) {
			t.Errorf("Allow when open: got %v, want ErrOpen", err)
		}
	})

	t.Run("AnAnswerStartsTheCountAnew", func(t *testing.T) {
		t.Parallel()
		b := newBreaker(t, breaker.Config{})
		for range 100 {
			for range 4 {
				run(t, b, breaker.Failed)
			}
			run(t, b, breaker.Neutral)
			run(t, b, breaker.Answered)
		}
		if b.State() != breaker.Closed || b.Failures() != 0 {
			t.Errorf("got %v with %d failures, want CLOSED with 0", b.State(), b.Failures())
		}
	})

	t.Run("WholeCycle", func(t *testing.T) {
		t.Parallel()
		var seen []breaker.Transition
		b := newBreaker(t, breaker.Config{Threshold: 1, OnTransition: func(_ context.Context, tr breaker.Transition) { seen = append(seen, tr) }})
		b.DatabaseLost()
		run(t, b, breaker.Failed)
		b.DatabaseReached(1)
		run(t, b, breaker.Failed) // the trial, with an attempt older than the connection
		run(t, b, breaker.Answered)
		want := []breaker.Transition{
			{From: breaker.Closed, To: breaker.Open, Reason: breaker.ReasonThreshold},
			{From: breaker.Open, To: breaker.HalfOpen, Reason: breaker.ReasonReached},
			{From: breaker.HalfOpen, To: breaker.Open, Reason: breaker.ReasonTrialFailed},
			{From: breaker.Open, To: breaker.HalfOpen, Reason: breaker.ReasonReached},
			{From: breaker.HalfOpen, To: breaker.Closed, Reason: breaker.ReasonTrialPassed},
		}
		ignoreTime := cmpopts.IgnoreFields(breaker.Transition{}, "At", "ID")
		if diff := cmp.Diff(want, seen, ignoreTime); diff != "" {
			t.Errorf("transitions (-want +got):\n%s", diff)
		}
		if spent := b.TimeInStates(); spent[breaker.Closed] <= 0 || spent[breaker.Open] <= 0 || spent[breaker.HalfOpen] <= 0 {
			t.Errorf("time in states: %v", spent)
		}
		if diff := cmp.Diff(seen, b.Transitions()); diff != "" {
			t.Errorf("history differs from what was announced (-announced +history):\n%s", diff)
		}
	})

	t.Run("RealClock", func(t *testing.T) {
		t.Parallel()
		b := newBreaker(t, breaker.Config{Threshold: 1, Timeout: 20 * time.Millisecond})
		run(t, b, breaker.Failed)
		for deadline := time.Now().Add(10 * time.Second); b.Elapse() != breaker.HalfOpen; {
			if time.Now().After(deadline) {
				t.Fatal("still open long after its timeout")
			}
			time.Sleep(time.Millisecond)
		}
	})

	t.Run("TwoOfOneNameAreIndependent", func(t *testing.T) {
		t.Parallel()
		one, two := newBreaker(t, breaker.Config{Threshold: 1}), newBreaker(t, breaker.Config{Threshold: 1})
		run(t, one, breaker.Failed)
		if one.State() != breaker.Open || two.State() != breaker.Closed {
			t.Errorf("got %v and %v, want OPEN and CLOSED", one.State(), two.State())
		}
	})

	t.Run("RefusesNonsense", func(t *testing.T) {
		t.Parallel()
		for _, cfg := range []breaker.Config{
			{Threshold: 5, Timeout: time.Minute},
			{Name: "x", Timeout: time.Minute},
			{Name: "x", Threshold: 5},
		} {
			if _, err := breaker.New(cfg); err == nil {
				t.Errorf("New(%+v) succeeded", cfg)
			}
		}
	})
}

// TestConcurrent has many goroutines open, try and close one breaker and checks what none of them may ever see.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	var trials atomic.Int32
	b := newBreaker(t, breaker.Config{Threshold: 3})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var epoch atomic.Uint64
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if i%2 == 0 {
				b.DatabaseLost()
			} else {
				b.DatabaseReached(epoch.Add(1))
			}
		}
	})
	for g := range 8 {
		wg.Go(func() {
			for i := range 20_000 {
				p, err := b.Allow()
				if err != nil {
					continue
				}
				if p.Trial() && trials.Add(1) > 1 {
					t.Error("two test queries at once")
				}
				outcome := breaker.Outcome((i + g) % 3)
				if p.Trial() {
					trials.Add(-1)
				}
				p.Done(t.Context(), outcome, epoch.Load())
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	time.AfterFunc(500*time.Millisecond, func() { close(stop) })
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatal("stuck")
	}
	history := b.Transitions()
	for i := 1; i < len(history); i++ {
		if history[i].From != history[i-1].To {
			t.Errorf("transition %d starts in %v, but the one before ended in %v", i, history[i].From, history[i-1].To)
		}
	}
}

func BenchmarkClosed(b *testing.B) {
	ctx := b.Context()
	br := newBreaker(b, breaker.Config{})
	b.ReportAllocs()
	for b.Loop() {
		p, _ := br.Allow()
		p.Done(ctx, breaker.Answered, 0)
	}
}

func BenchmarkOpen(b *testing.B) {
	br := newBreaker(b, breaker.Config{Threshold: 1})
	run(b, br, breaker.Failed)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = br.Allow()
	}
}
