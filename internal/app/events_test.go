package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"speedybites/internal/pgtest"
)

// event is one server-sent event of an order.
type event struct {
	id, status string
}

// watch opens the stream of an order's events, behind event last if it is not "", and sends them until it ends. The
// status of the answer comes first.
func (s *service) watch(ctx context.Context, orderID, last string, header ...string) (status int, events <-chan event) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/api/orders/"+orderID+"/events", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if last != "" {
		header = append(header, "Last-Event-ID", last)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req) //nolint:bodyclose // the reader below does
	if err != nil {
		s.t.Error(err)
		return 0, nil
	}
	c := make(chan event, 16)
	go func() {
		defer close(c)
		defer func() { _ = resp.Body.Close() }()
		var e event
		for scanner := bufio.NewScanner(resp.Body); scanner.Scan(); {
			name, value, _ := strings.Cut(scanner.Text(), ": ")
			switch name {
			case "id":
				e.id = value
			case "data":
				var data struct{ Status string }
				if err := json.Unmarshal([]byte(value), &data); err != nil {
					s.t.Errorf("event %q: %v", value, err)
				}
				e.status = data.Status
			case "":
				if e.id != "" {
					c <- e
				}
				e = event{}
			}
		}
	}()
	return resp.StatusCode, c
}

// kitchen is a restaurant with one dish, and its owner's credentials.
type kitchen struct {
	owner                    []string
	restaurantID, menuItemID string
}

func (s *service) kitchen() kitchen {
	s.t.Helper()
	k := kitchen{owner: []string{"Authorization", "Bearer " + s.owner()}}
	var created struct{ ID string }
	a := s.call("POST", "/api/restaurants", map[string]any{"name": "Kitchen", "cuisine": "any", "address": "here"}, k.owner...)
	a.decode(s.t, &created)
	k.restaurantID = created.ID
	a = s.call("POST", "/api/restaurants/"+created.ID+"/menu", map[string]any{"name": "Dish", "priceCents": 100}, k.owner...)
	a.decode(s.t, &created)
	k.menuItemID = created.ID
	if a.status != http.StatusCreated {
		s.t.Fatalf("kitchen: %d %s", a.status, a.body)
	}
	return k
}

// order places an order and returns its id.
func (k kitchen) order(s *service, customer []string) string {
	s.t.Helper()
	a := s.call("POST", "/api/orders", map[string]any{
		"restaurantId": k.restaurantID, "items": []any{map[string]any{"menuItemId": k.menuItemID, "quantity": 1}},
		"deliveryAddress": "1 Test Street",
	}, customer...)
	var order struct{ ID string }
	a.decode(s.t, &order)
	if a.status != http.StatusCreated {
		s.t.Fatalf("order: %d %s", a.status, a.body)
	}
	return order.ID
}

var life = []string{"placed", "accepted", "preparing", "ready", "delivering", "delivered"}

// TestOrderLife takes an order through its life over HTTP, and watches.
func TestOrderLife(t *testing.T) {
	t.Parallel()
	s := start(t, pgtest.Server(t).URL())
	customer := []string{"Authorization", "Bearer " + s.customer()}
	k := s.kitchen()
	id := k.order(s, customer)
	step := func(status string, want int, header ...string) {
		t.Helper()
		if a := s.call("POST", "/api/orders/"+id+"/status", map[string]any{"status": status}, header...); a.status != want {
			t.Errorf("%s: got %d %s, want %d", status, a.status, a.body, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	status, events := s.watch(ctx, id, "", customer...)
	if first := <-events; status != http.StatusOK || first != (event{"0", "placed"}) {
		t.Errorf("stream: %d, first event %v", status, first)
	}
	step("accepted", http.StatusForbidden, customer...)
	step("ready", http.StatusConflict, k.owner...)
	step("eaten", http.StatusUnprocessableEntity, k.owner...)
	step("accepted", http.StatusNotFound, "Authorization", "Bearer "+s.owner())
	step("accepted", http.StatusUnauthorized)
	step("accepted", http.StatusOK, k.owner...)
	step("accepted", http.StatusConflict, k.owner...)
	if a := s.call("POST", "/api/orders/"+id+"/cancel", nil, customer...); a.status != http.StatusConflict || !strings.Contains(a.body, "from accepted to cancelled") {
		t.Errorf("cancel after it was accepted: %d %s", a.status, a.body)
	}
	if got := <-events; got != (event{"1", "accepted"}) {
		t.Errorf("event: %v", got)
	}
	for _, status := range life[2:] {
		step(status, http.StatusOK, k.owner...)
	}
	var seen []string
	for e := range events { // it ends by itself
		seen = append(seen, e.status)
	}
	if !slices.Equal(seen, life[2:]) {
		t.Errorf("events: %v", seen)
	}

	// Who comes late gets what was missed; who has seen it all is told that there is no more.
	_, events = s.watch(ctx, id, "2", customer...)
	seen = nil
	for e := range events {
		seen = append(seen, e.id)
	}
	if !slices.Equal(seen, []string{"3", "4", "5"}) {
		t.Errorf("behind event 2: %v", seen)
	}
	for last, want := range map[string]int{"5": http.StatusNoContent, "99": http.StatusNoContent, "x": http.StatusBadRequest, "-1": http.StatusBadRequest} {
		if status, _ := s.watch(ctx, id, last, customer...); status != want {
			t.Errorf("Last-Event-ID %s: %d, want %d", last, status, want)
		}
	}
	for who, header := range map[string][]string{"nobody": nil, "another customer": {"Authorization", "Bearer " + s.customer()}} {
		if status, _ := s.watch(ctx, id, "", header...); status != http.StatusUnauthorized && status != http.StatusNotFound {
			t.Errorf("%s watches: %d", who, status)
		}
	}

	cancelled := k.order(s, customer)
	if a := s.call("POST", "/api/orders/"+cancelled+"/cancel", nil, customer...); a.status != http.StatusOK || !strings.Contains(a.body, `"cancelled"`) {
		t.Errorf("cancel: %d %s", a.status, a.body)
	}
	eventually(t, "an audit line for each step", func() bool {
		return strings.Count(s.log(t, "audit.log"), `"action":"status"`) == 5 && strings.Count(s.log(t, "audit.log"), `"action":"cancel"`) == 1
	})
}

// TestEventsThroughARestart: 200 clients watch 20 orders while the database is killed for 3 s in the middle of their lives.
// Nobody misses an event, gets one twice, or has to connect again; then a shutdown ends every stream.
func TestEventsThroughARestart(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	server := pgtest.Server(t)
	s := start(t, server.URL())
	customer := []string{"Authorization", "Bearer " + s.customer()}
	k := s.kitchen()
	const orders, each = 20, 10
	ids := make([]string, orders)
	for i := range ids {
		ids[i] = k.order(s, customer)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var watching sync.WaitGroup
	for _, id := range ids {
		for range each {
			status, events := s.watch(ctx, id, "", customer...)
			if status != http.StatusOK {
				t.Fatalf("stream: %d", status)
			}
			watching.Go(func() {
				var seen []string
				for e := range events {
					seen = append(seen, e.status)
				}
				if !slices.Equal(seen, life) {
					t.Errorf("a watcher saw %v", seen)
				}
			})
		}
	}
	steps := func(statuses []string) {
		t.Helper()
		for _, status := range statuses {
			for _, id := range ids {
				if a := s.call("POST", "/api/orders/"+id+"/status", map[string]any{"status": status}, k.owner...); a.status != http.StatusOK {
					t.Errorf("%s: %d %s", status, a.status, a.body)
				}
			}
		}
	}
	steps(life[1:3])
	if err := server.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	var during sync.WaitGroup
	during.Go(func() { steps(life[3:4]) }) // waits for the database
	time.Sleep(3 * time.Second)
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	during.Wait()
	steps(life[4:])
	watching.Wait()
	if h, _ := s.health(); len(h.CircuitBreaker.Transitions) > 0 {
		t.Errorf("the breaker did not stay closed: %v", h.transitions())
	}

	open := k.order(s, customer)
	_, events := s.watch(ctx, open, "", customer...)
	<-events
	begin := time.Now()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if _, more := <-events; more || time.Since(begin) > 10*time.Second {
		t.Errorf("a stream outlived the shutdown, which took %v", time.Since(begin))
	}
}
