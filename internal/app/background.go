package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"speedybites/internal/postgres"
	"speedybites/internal/synthetic"
)

// keyCleanup is the time between looks for expired idempotency keys.
const keyCleanup = time.Hour

// background runs loops until the service closes, and waits for them then. They end before the pool does.
func (a *App) background(ctx context.Context, loops ...func(context.Context)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	for _, loop := range loops {
		if loop != nil {
			running.Go(func() { loop(ctx) })
		}
	}
	a.onClose("background loops", func(stop context.Context) error {
		cancel()
		running.Wait()
		// The changes of the last requests should reach audit.log now; what does not is safe in the table, for the next
		// start.
		if err := a.relay.Load().Drain(stop); err != nil {
			a.log.LogAttrs(stop, slog.LevelWarn, "audit entries left for the next start", slog.Any("error", err))
		}
		return nil
	})
}

// syntheticProbes returns the loop of the synthetic probes, nil where they are switched off.
func (a *App) syntheticProbes() (func(context.Context), error) {
	if a.cfg.Synthetic.Interval == 0 {
		return nil, nil //nolint:nilnil // no loop is an answer
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	prober, err := synthetic.New(synthetic.Config{
		DB: a.db, Interval: a.cfg.Synthetic.Interval, Registerer: a.telemetry.Registry(), Tracers: a.telemetry.Tracers(),
		Logger: a.log, Instance: host + " " + a.cfg.HTTP.Addr(),
	})
	if err != nil {
		return nil, err
	}
	return prober.Run, nil
}

func (a *App) relayAudit(ctx context.Context) {
	if err := a.relay.Load().Run(ctx); err != nil {
		a.log.LogAttrs(ctx, slog.LevelError, "audit relay ended", slog.Any("error", err))
	}
}

func (a *App) deleteExpiredKeys(ctx context.Context) {
	tick := time.NewTicker(keyCleanup)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		deleted, err := a.orders.DeleteExpiredKeys(ctx)
		if err != nil && !errors.Is(err, postgres.ErrUnavailable) && ctx.Err() == nil {
			a.log.LogAttrs(ctx, slog.LevelError, "expired idempotency keys not deleted", slog.Any("error", err))
		}
		if deleted > 0 {
			a.log.LogAttrs(ctx, slog.LevelInfo, "expired idempotency keys deleted", slog.Int64("keys", deleted))
		}
	}
}
