package app

import (
	"context"
	"log/slog"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"speedybites/internal/accounts"
	"speedybites/internal/audit"
	"speedybites/internal/catalog"
	"speedybites/internal/demo"
	"speedybites/internal/ordering"
	"speedybites/internal/postgres/breaker"
	"speedybites/internal/synthetic"
	"speedybites/observability"
)

// thinning keeps a storm of equal lines from filling the disk. What names a transition, and the access log, whose lines
// differ in all but their message, are kept whole.
var thinning = observability.Thinning{
	First: 100, Every: 100, KeepAttrs: []string{"transition_id"}, KeepMessages: []string{"request"},
}

// queries are the names of all queries, for the labels of metrics.
func queries() []string {
	return slices.Concat(accounts.Queries(), catalog.Queries(), ordering.Queries(), audit.Queries(), demo.Queries(),
		synthetic.Queries())
}

// opsPages returns the operators' pages for the API's listener, or none where METRICS_ADDR gives them one of their own,
// which has the profiles as well.
func (a *App) opsPages(ctx context.Context) (map[string]http.Handler, error) {
	pages := map[string]http.Handler{"/hystrix.stream": observability.Stream(breaker.Stream())}
	if a.cfg.Metrics.Addr == "" {
		pages["/metrics"] = a.telemetry.MetricsHandler()
		return pages, nil
	}
	server, err := observability.ListenOps(ctx, a.cfg.Metrics.Addr, a.telemetry.OpsHandler(pages), a.log)
	if err != nil {
		return nil, err
	}
	a.opsAddr = server.Addr().String()
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	a.onClose("operators' pages", func(ctx context.Context) error {
		err := server.Shutdown(ctx)
		if err := <-served; err != nil {
			a.log.LogAttrs(ctx, slog.LevelError, "operators' pages ended", slog.Any("error", err))
		}
		return err
	})
	a.log.LogAttrs(ctx, slog.LevelInfo, "operators' pages listening", slog.String("addr", a.opsAddr))
	return nil, nil //nolint:nilnil // no pages are an answer
}

// auditTransition puts a change of the breaker's state into the audit log, under the id that log, trace and metric have.
// It is called under the breaker's lock.
func (a *App) auditTransition(t breaker.Transition) {
	relay := a.relay.Load()
	if relay == nil { // the start is not that far
		return
	}
	relay.Record(audit.Entry{
		OperationID: t.ID, Actor: audit.Actor{Role: audit.System}, Action: "transition", Entity: "circuitBreaker",
		EntityID: breakerID, At: t.At,
		Before: map[string]string{"state": t.From.String()},
		After:  map[string]string{"state": t.To.String(), "reason": t.Reason},
	})
}

// breakerID is the circuit breaker's entity id in the audit log.
var breakerID = uuid.MustParse("019b76da-a800-7000-8000-0000000000b0")
