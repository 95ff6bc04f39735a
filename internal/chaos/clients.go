package chaos

import (
	"context"
	"errors"
	"time"
)

// The faults of the network and of the instances.

// both instances.
var both = []int{0, 1}

func resetConnections(ctx context.Context, w *world, h *happening) error {
	return repeatedly(ctx, h.For, func() error {
		for _, p := range w.paths.of(both) {
			p.Cut()
		}
		return nil
	})
}

func blackHole(ctx context.Context, w *world, h *happening) error {
	for _, p := range w.paths.of(h.hit()) {
		p.Stall()
	}
	err := pause(ctx, h.For)
	for _, p := range w.paths.of(h.hit()) {
		p.Resume()
	}
	return err
}

func refuse(ctx context.Context, w *world, h *happening) error {
	for _, p := range w.paths.of(h.hit()) {
		p.Refuse()
		p.Cut()
	}
	err := pause(ctx, h.For)
	return errors.Join(err, w.bench.try(func() {
		for _, p := range w.paths.of(h.hit()) {
			p.Accept()
		}
	}))
}

// killInstance ends an instance in the middle of whatever it does.
func killInstance(ctx context.Context, w *world, h *happening) error {
	s := w.services[h.Instance]
	end := w.allowed.open(gone, h.Instance, time.Now())
	s.kill()
	err := errors.Join(pause(ctx, h.For), w.start(ctx, s))
	end(time.Now())
	return err
}

// rollingRestart restarts one instance after the other, as a deployment does.
func rollingRestart(ctx context.Context, w *world, _ *happening) error {
	for i, s := range w.services {
		end := w.allowed.open(closing, i, time.Now())
		if err := s.terminate(ctx); err != nil {
			w.report(err.Error(), nil)
		}
		if err := w.start(ctx, s); err != nil {
			return err
		}
		end(time.Now())
		ready, cancel := context.WithTimeout(ctx, grace)
		_ = until(ready, lookEvery, w.watches[i].isReady) // One that never is will be found when the fault is over.
		cancel()
	}
	return nil
}

// start starts an instance. One that ends instead of serving is wrong, also when it finds no database, and tried again
// as a supervisor would.
func (w *world) start(ctx context.Context, s *instance) (err error) {
	for range 3 {
		if err = s.start(ctx); err == nil || ctx.Err() != nil {
			return err
		}
		w.report(err.Error(), nil)
	}
	return err
}
