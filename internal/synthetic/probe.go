package synthetic

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"

	"speedybites/internal/postgres"
	"speedybites/internal/postgres/breaker"
)

// watchPeriod is the time between looks for a loss while a query is under way: well below the wait before a second
// attempt, so that the query ends before it has used up its attempts and is counted.
const watchPeriod = 10 * time.Millisecond

// errDisconnected is why a query was ended, or not begun.
var errDisconnected = errors.New("database is not connected")

// probe is one test query. Its fields are its loop's.
type probe struct {
	name    string
	query   func(context.Context) error
	metrics probeMetrics
	failing time.Time // since when; zero: it is not
}

// run makes one run, unless the database is known to be away. One that the end of ctx has cut short says nothing.
func (p *Prober) run(ctx context.Context, pr *probe) {
	if p.away() {
		pr.metrics.count(disconnected, 0)
		p.announce(ctx, pr, disconnected, errDisconnected)
		return
	}
	ctx, span := p.tracer.Start(ctx, "synthetic "+pr.name)
	defer span.End()
	began := time.Now()
	r, err := p.ask(ctx, pr.query)
	took := time.Since(began)
	if ctx.Err() != nil {
		return
	}
	span.SetAttributes(attribute.String("speedybites.probe.result", string(r)))
	if r != success {
		span.SetStatus(codes.Error, string(r))
	}
	pr.metrics.count(r, took)
	p.announce(ctx, pr, r, err)
}

// ask runs a query, at most for the timeout and only while the database is not away.
func (p *Prober) ask(ctx context.Context, query func(context.Context) error) (result, error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	limited, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	var watching sync.WaitGroup
	watching.Go(func() { p.watch(limited, end) })
	err := query(limited)
	r := p.resultOf(limited, err)
	cancel()
	watching.Wait()
	return r, err
}

// watch ends a query when the database is lost. Without it, a query that is under way then would use up its attempts, or
// the grace, and be counted by the breaker.
func (p *Prober) watch(ctx context.Context, end context.CancelCauseFunc) {
	tick := time.NewTicker(watchPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if p.away() {
			end(errDisconnected)
			return
		}
	}
}

// away reports whether a query would fail for a reason that is known, and be counted by the breaker for it.
func (p *Prober) away() bool {
	s := p.cfg.DB.Status()
	return !s.Connected && s.Breaker == breaker.Closed
}

// resultOf tells from its error how a query under ctx ended.
func (p *Prober) resultOf(ctx context.Context, err error) result {
	switch {
	case err == nil:
		return success
	case errors.Is(context.Cause(ctx), errDisconnected):
		return disconnected
	case errors.Is(err, breaker.ErrOpen), errors.Is(err, postgres.ErrSaturated):
		return rejected
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, postgres.ErrStatementTimeout):
		return timeout
	case errors.Is(err, postgres.ErrUnavailable) && !p.cfg.DB.Status().Connected:
		return disconnected
	}
	return failure
}

// announce logs the beginning and the end of a series of failures, and nothing in between.
func (p *Prober) announce(ctx context.Context, pr *probe, r result, err error) {
	log, name := p.cfg.Logger, slog.String("probe", pr.name)
	switch {
	case r != success && pr.failing.IsZero():
		pr.failing = time.Now()
		log.LogAttrs(ctx, slog.LevelWarn, "synthetic probe failing", name, slog.String("result", string(r)), slog.Any("error", err))
	case r == success && !pr.failing.IsZero():
		log.LogAttrs(ctx, slog.LevelInfo, "synthetic probe succeeds again", name, slog.Duration("after", time.Since(pr.failing)))
		pr.failing = time.Time{}
	}
}
