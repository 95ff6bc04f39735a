package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// happening is a fault that happens.
type happening struct {
	Fault
	begin, healed time.Time
	took          time.Duration // from healed until both instances were operational
	recovered     time.Time     // world.mu guards it
	struck        int           // messages on the wire
}

// hit returns the instances that the fault hits.
func (h *happening) hit() []int {
	if h.kind.oneInstance {
		return []int{h.Instance}
	}
	return both
}

// variant is what the draw has chosen.
func (h *happening) variant(all []string) string { return all[h.Variant%len(all)] }

// heal tells when the database, or the instance, was there again. Without it, that is when the fault has ended.
func (h *happening) heal(at time.Time) { h.healed = at }

// on reports whether the fault, or the recovery from it, was going on somewhere between from and to. The caller holds
// world.mu.
func (h *happening) on(from, to time.Time) bool {
	return !to.Before(h.begin) && (h.recovered.IsZero() || !from.After(h.recovered))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// step has the faults of a step happen and waits for the recovery. The error is of the setting; what the service does
// wrong is reported.
func (w *world) step(ctx context.Context, s Step) error {
	happen := make([]*happening, len(s.Faults))
	errs := make([]error, len(s.Faults))
	ends := make([]func(), len(s.Faults))
	var wg sync.WaitGroup
	for i, f := range s.Faults {
		wg.Go(func() {
			if errs[i] = pause(ctx, f.After); errs[i] == nil {
				happen[i] = &happening{Fault: f, begin: time.Now()}
				ends[i], errs[i] = w.happen(ctx, happen[i])
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	w.recover(ctx, happen)
	for _, end := range ends {
		end()
	}
	return ctx.Err()
}

// happen runs a fault, and returns what is to be called after the recovery.
func (w *world) happen(ctx context.Context, h *happening) (end func(), err error) {
	w.mu.Lock()
	w.happened = append(w.happened, h)
	w.mu.Unlock()
	var healed, recovered []func(time.Time)
	for _, i := range h.hit() {
		if h.kind.long {
			what := unavailable
			if w.cfg.replicas() && h.kind.readable {
				what = unwritable
			}
			healed = append(healed, w.allowed.open(what, i, h.begin.Add(grace)))
		}
		if h.kind.scarce {
			recovered = append(recovered, w.allowed.open(scarce, i, h.begin))
		}
	}
	err = h.kind.run(ctx, w, h)
	if h.healed.IsZero() {
		h.healed = time.Now()
	}
	for _, end := range healed {
		end(h.healed.Add(recovery + w.cfg.Noise))
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", h.kind.name, err)
	}
	return func() {
		for _, end := range recovered {
			end(time.Now())
		}
	}, err
}

// recover waits until the setting is as it was before, and reports an instance that takes too long for that.
func (w *world) recover(ctx context.Context, happen []*happening) {
	// Longer than a breaker that opened while the prober was connected stays so, lest the next fault gets the blame.
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	if err := w.pair.synchronous(ctx); err != nil {
		w.report(err.Error(), nil)
	}
	var healed time.Time
	for _, h := range happen {
		healed = later(healed, h.healed)
	}
	var took time.Duration
	for i, watch := range w.watches {
		since, err := watch.wellAfter(ctx, healed)
		if err != nil {
			last, _, _ := watch.state()
			w.report(fmt.Sprintf("instance %d is still not well: %+v", i+1, last), nil)
			since = time.Now()
		}
		took = max(took, since.Sub(healed))
	}
	for _, h := range happen {
		w.mu.Lock()
		h.recovered, h.took = time.Now(), took
		w.mu.Unlock()
		if took > recovery+w.cfg.Noise && !h.kind.scarce {
			w.report(fmt.Sprintf("%s: the instances were operational only %v after it", h.Fault, took), nil)
		}
		w.checkDeclared(h, len(happen) == 1)
	}
}

// checkDeclared sees that an outage that was declared to be long was one: or what is allowed in it would hide mistakes.
func (w *world) checkDeclared(h *happening, single bool) {
	if !h.kind.long || !single {
		return
	}
	for _, i := range h.hit() {
		if !w.watches[i].wasUnavailable(h.begin.Add(grace)) {
			w.report(fmt.Sprintf("%s: instance %d never said that it was unavailable", h.Fault, i+1), nil)
		}
	}
}
