package ordering_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"speedybites/internal/ordering"
	"speedybites/internal/postgres"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	reg := prometheus.NewPedanticRegistry()
	service, err := ordering.New(f.db, ordering.Config{IdempotencyTTL: time.Hour, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("got %v, %v, want nothing to complain about", problems, err)
	}
	check := func(placed, replays, reused, inFlight string) {
		t.Helper()
		err := testutil.GatherAndCompare(reg, strings.NewReader(strings.NewReplacer(
			"PLACED", placed, "REPLAYS", replays, "REUSED", reused, "IN_FLIGHT", inFlight).Replace(`
# HELP speedybites_idempotency_conflicts_total Orders refused because of their Idempotency-Key, by reason: used for another request, or still in flight.
# TYPE speedybites_idempotency_conflicts_total counter
speedybites_idempotency_conflicts_total{reason="in_flight"} IN_FLIGHT
speedybites_idempotency_conflicts_total{reason="reused"} REUSED
# HELP speedybites_idempotent_replays_total Orders answered again because their Idempotency-Key had placed them before.
# TYPE speedybites_idempotent_replays_total counter
speedybites_idempotent_replays_total REPLAYS
# HELP speedybites_order_watchers Open streams of the events of an order.
# TYPE speedybites_order_watchers gauge
speedybites_order_watchers 0
# HELP speedybites_orders_total Orders that reached a status, as this process answered it; every one begins as placed.
# TYPE speedybites_orders_total counter
speedybites_orders_total{status="accepted"} 0
speedybites_orders_total{status="cancelled"} 0
speedybites_orders_total{status="delivered"} 0
speedybites_orders_total{status="delivering"} 0
speedybites_orders_total{status="placed"} PLACED
speedybites_orders_total{status="preparing"} 0
speedybites_orders_total{status="ready"} 0
speedybites_orders_total{status="rejected"} 0
`)))
		if err != nil {
			t.Error(err)
		}
	}
	place := func(key, note string, want error) {
		t.Helper()
		n := f.request()
		n.Note = note
		if _, err := service.Place(t.Context(), f.actor(), key, n); !errors.Is(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
	}
	check("0", "0", "0", "0")
	place("", "one", nil)
	place("key", "two", nil)
	check("2", "0", "0", "0")
	place("key", "two", nil)
	place("key", "other", ordering.ErrKeyReused)
	check("2", "1", "1", "0")

	release := ordering.TakeKey(service, f.customer, "busy")
	place("busy", "two", ordering.ErrKeyInFlight)
	release()
	check("2", "1", "1", "1")

	n := f.request()
	n.Items = nil
	if _, err := service.Place(t.Context(), f.actor(), "", n); err == nil || errors.Is(err, postgres.ErrUnavailable) {
		t.Errorf("got %v, want a refusal", err)
	}
	check("2", "1", "1", "1")

	if _, err := ordering.New(f.db, ordering.Config{IdempotencyTTL: time.Hour, Registerer: reg}); err == nil {
		t.Error("got no error for a registry that has these metrics already")
	}
}
