package ordering

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics is what the orders tell about themselves.
type metrics struct {
	reachedBy    map[Status]prometheus.Counter
	replays      prometheus.Counter
	keysReused   prometheus.Counter
	keysInFlight prometheus.Counter
}

// newMetrics returns the metrics, registered with reg. A nil reg gives metrics that count and are shown nowhere.
func newMetrics(reg prometheus.Registerer, watchers func() int) (*metrics, error) {
	orders := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "speedybites_orders_total",
		Help: "Orders that reached a status, as this process answered it; every one begins as placed.",
	}, []string{"status"})
	reachedBy := map[Status]prometheus.Counter{}
	for _, status := range statuses() {
		reachedBy[status] = orders.WithLabelValues(string(status))
	}
	replays := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "speedybites_idempotent_replays_total",
		Help: "Orders answered again because their Idempotency-Key had placed them before.",
	})
	conflicts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "speedybites_idempotency_conflicts_total",
		Help: "Orders refused because of their Idempotency-Key, by reason: used for another request, or still in flight.",
	}, []string{"reason"})
	m := &metrics{
		reachedBy:    reachedBy,
		replays:      replays,
		keysReused:   conflicts.WithLabelValues("reused"),
		keysInFlight: conflicts.WithLabelValues("in_flight"),
	}
	if reg == nil {
		return m, nil
	}
	watching := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "speedybites_order_watchers", Help: "Open streams of the events of an order.",
	}, func() float64 { return float64(watchers()) })
	return m, errors.Join(reg.Register(orders), reg.Register(replays), reg.Register(conflicts), reg.Register(watching))
}

// reached counts an order that was given a status.
func (m *metrics) reached(s Status) { m.reachedBy[s].Inc() }

// count counts the outcome of one Place.
func (m *metrics) count(p Placed, err error) {
	switch {
	case errors.Is(err, ErrKeyReused):
		m.keysReused.Inc()
	case errors.Is(err, ErrKeyInFlight):
		m.keysInFlight.Inc()
	case err != nil:
	case p.Replayed:
		m.replays.Inc()
	default:
		m.reached(StatusPlaced)
	}
}
