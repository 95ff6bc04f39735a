package ordering

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/postgres"
)

// Event is something that happened to an order: it got a status. Seq counts from 0, when the order was placed.
type Event struct {
	OrderID uuid.UUID
	Seq     int
	Status  Status
	At      time.Time
}

// final reports whether nothing can happen to an order with this status.
func (s Status) final() bool {
	return s == StatusDelivered || s == StatusRejected || s == StatusCancelled
}

const (
	// maxWatchers bounds the watchers of a process: each holds a connection of a client, and asks after an outage.
	maxWatchers = 5000
	// watchPause is the time between looks without a notification: one that got lost, as behind a pooler that knows no
	// LISTEN, makes an event late and not missed. It is jittered, and it is when a watcher is shown a sign of life.
	watchPause = 10 * time.Second
	// maxLooks bounds the watchers that ask at once. All are woken after an outage, and must leave the queue to requests.
	maxLooks = 4
	// lostPause is the time to the next look when the database is away.
	lostPause = time.Second
	// listenerLinger keeps the listener for the next watcher.
	listenerLinger = 10 * time.Second
)

// ErrTooManyWatchers means that this process has as many watchers as it can bear.
var ErrTooManyWatchers = errors.New("too many watchers of orders")

// Watch calls emit for every event of an order behind seq after, -1 for all, those that have happened and then those that
// happen, until the order is final or ctx ends. It calls alive when nothing has happened for a while. An outage of the
// database delays events and loses none. It fails with ErrNotFound, also when the viewer may not see the order, with
// ErrTooManyWatchers, or with the error of emit or alive.
func (s *Service) Watch(ctx context.Context, v Viewer, id uuid.UUID, after int, emit func(Event) error, alive func() error) error {
	look, leave, err := s.watchers.join(id)
	if err != nil {
		return err
	}
	defer leave()
	order, err := s.Order(ctx, v, id)
	if err != nil {
		return err
	}
	if after < 0 {
		if err := emit(Event{OrderID: id, Status: StatusPlaced, At: order.CreatedAt}); err != nil {
			return err
		}
		after = 0
	}
	for {
		// Nobody's request waits for the events of an outage, so they take no place among those that do.
		var events []Event
		away := !s.db.Connected()
		if !away {
			events, err = s.lookAt(ctx, id, after)
			away = errors.Is(err, postgres.ErrUnavailable) || errors.Is(err, postgres.ErrSaturated)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !away:
			return err
		}
		over := order.Status.final() && !away
		for _, e := range events {
			if err := emit(e); err != nil {
				return err
			}
			after, over = e.Seq, over || e.Status.final()
		}
		if over {
			return nil
		}
		pause := watchPause
		if away {
			pause = lostPause
		}
		if err := waitForLook(ctx, look, jitter(pause), alive); err != nil {
			return err
		}
	}
}

// waitForLook waits for a reason to look at the order again. When there is none but the time, it calls alive.
func waitForLook(ctx context.Context, look <-chan struct{}, pause time.Duration, alive func() error) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-look:
	case <-ctx.Done():
	case <-timer.C:
		return alive()
	}
	return nil
}

func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) } //nolint:gosec // not a secret

const selectEvents = `SELECT order_id, seq, status, at FROM order_events WHERE order_id = $1 AND seq > $2 ORDER BY seq`

// lookAt is eventsAfter when it is the watcher's turn.
func (s *Service) lookAt(ctx context.Context, id uuid.UUID, after int) ([]Event, error) {
	select {
	case s.watchers.looks <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.watchers.looks }()
	return s.eventsAfter(ctx, id, after)
}

func (s *Service) eventsAfter(ctx context.Context, id uuid.UUID, after int) ([]Event, error) {
	var events []Event
	err := s.db.Read(ctx, "orders.events", func(ctx context.Context, q postgres.Querier) error {
		rows, err := q.Query(ctx, selectEvents, id, after)
		if err != nil {
			return err
		}
		events, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (Event, error) {
			var e Event
			err := row.Scan(&e.OrderID, &e.Seq, &e.Status, &e.At)
			e.At = e.At.UTC()
			return e, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("events of order %s: %w", id, err)
	}
	return events, nil
}

// eventChannel is where the database says which order something happened to.
const eventChannel = "order_events"

// watchers wakes those who watch an order. It listens while there are any.
type watchers struct {
	listen func(ctx context.Context, channel string, notify func(string), missed func())
	looks  chan struct{} // holds one for each that asks now

	mu      sync.Mutex
	count   int
	byOrder map[uuid.UUID]map[chan struct{}]struct{}
	stop    context.CancelFunc // of the listener, nil while there is none
	idle    *time.Timer
	running sync.WaitGroup
	closed  bool
}

// join returns a channel that receives when the order should be looked at.
func (w *watchers) join(id uuid.UUID) (look <-chan struct{}, leave func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count == maxWatchers || w.closed {
		return nil, nil, ErrTooManyWatchers
	}
	c := make(chan struct{}, 1)
	if w.byOrder == nil {
		w.byOrder = make(map[uuid.UUID]map[chan struct{}]struct{})
	}
	if w.byOrder[id] == nil {
		w.byOrder[id] = make(map[chan struct{}]struct{})
	}
	w.byOrder[id][c] = struct{}{}
	w.count++
	w.begin()
	return c, func() { w.leave(id, c) }, nil
}

func (w *watchers) leave(id uuid.UUID, c chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.byOrder[id], c)
	if len(w.byOrder[id]) == 0 {
		delete(w.byOrder, id)
	}
	if w.count--; w.count == 0 {
		w.idle = time.AfterFunc(listenerLinger, w.rest)
	}
}

// begin starts the listener unless it runs. mu is held.
func (w *watchers) begin() {
	if w.idle != nil {
		w.idle.Stop()
		w.idle = nil
	}
	if w.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	w.running.Go(func() { w.listen(ctx, eventChannel, w.wake, w.wakeAll) })
}

// rest ends the listener when nobody has come in the meantime.
func (w *watchers) rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count == 0 && w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

// wake is told of the id of an order.
func (w *watchers) wake(payload string) {
	id, err := uuid.Parse(payload)
	if err != nil {
		return // not one of ours
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.byOrder[id] {
		nudge(c)
	}
}

// wakeAll wakes everybody: notifications may have been missed.
func (w *watchers) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, cs := range w.byOrder {
		for c := range cs {
			nudge(c)
		}
	}
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// close ends the listener; nobody can join any more.
func (w *watchers) close() {
	w.mu.Lock()
	w.closed = true
	if w.idle != nil {
		w.idle.Stop()
	}
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
	w.mu.Unlock()
	w.running.Wait()
}

// Watchers returns how many watch orders now.
func (s *Service) Watchers() int {
	s.watchers.mu.Lock()
	defer s.watchers.mu.Unlock()
	return s.watchers.count
}

// Close ends what watchers have in common. Those who still watch look at intervals only.
func (s *Service) Close() { s.watchers.close() }
