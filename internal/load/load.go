// Package load drives the API at a fixed rate and keeps a ledger of what every request was told, so that it can be held
// against the database afterwards.
package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Config is what a run does.
type Config struct {
	// BaseURL is the API's address, without a path.
	BaseURL string
	// Token authorizes the orders.
	Token string
	// RestaurantID and MenuItemID are what is ordered.
	RestaurantID, MenuItemID uuid.UUID
	// Rate is the number of requests started each second, whether or not earlier ones were answered.
	Rate int
	// OrderEvery makes every n-th request an order, the others read. Default 5.
	OrderEvery int
	// Retry sends an order that got no answer again, with its key, until ctx ends.
	Retry bool
}

// Entry is one request of the ledger.
type Entry struct {
	Number   int
	Order    bool
	Key      string // the Idempotency-Key; empty for every other order
	Start    time.Time
	End      time.Time
	Status   int       // 0: no answer
	OrderID  uuid.UUID // of a 201
	Attempts int
	Err      error
	Body     string // of an answer that is no success
}

// Failed reports whether the request got no answer, or one that is no success.
func (e Entry) Failed() bool { return e.Status < 200 || e.Status > 299 }

// Took returns how long the request waited for its answer.
func (e Entry) Took() time.Duration { return e.End.Sub(e.Start) }

// Note marks an order of this run in the database, with or without a key.
func (e Entry) Note(run string) string { return fmt.Sprintf("%s/%d", run, e.Number) }

// Ledger is the record of a run.
type Ledger struct {
	// Run marks the orders of this run: their note begins with it.
	Run string

	mu      sync.Mutex
	entries []Entry
}

// Entries returns all requests that have ended.
func (l *Ledger) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Entry(nil), l.entries...)
}

func (l *Ledger) add(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
}

// Generator runs a load.
type Generator struct {
	cfg    Config
	client *http.Client
	ledger *Ledger
}

// New returns a generator with an empty ledger.
func New(cfg Config) *Generator {
	if cfg.OrderEvery == 0 {
		cfg.OrderEvery = 5
	}
	return &Generator{
		cfg: cfg,
		client: &http.Client{Transport: &http.Transport{
			MaxIdleConnsPerHost: 2000, IdleConnTimeout: 30 * time.Second,
		}},
		ledger: &Ledger{Run: "load-" + uuid.NewString()},
	}
}

// Ledger returns the record so far.
func (g *Generator) Ledger() *Ledger { return g.ledger }

// Run starts requests until stop is closed and returns when all have ended. Ending ctx abandons those under way.
func (g *Generator) Run(ctx context.Context, stop <-chan struct{}) {
	var running sync.WaitGroup
	defer running.Wait()
	defer g.client.CloseIdleConnections()
	begin := time.Now()
	for n := 0; ; n++ {
		// The n-th request has its own due time: a late one does not delay those after it.
		timer := time.NewTimer(time.Until(begin.Add(time.Duration(n) * time.Second / time.Duration(g.cfg.Rate))))
		select {
		case <-stop:
			timer.Stop()
			return
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		running.Go(func() { g.ledger.add(g.request(ctx, n)) })
	}
}

func (g *Generator) request(ctx context.Context, n int) Entry {
	e := Entry{Number: n, Start: time.Now(), Order: n%g.cfg.OrderEvery == g.cfg.OrderEvery-1}
	if e.Order && (n/g.cfg.OrderEvery)%2 == 0 || e.Order && g.cfg.Retry {
		e.Key = e.Note(g.ledger.Run)
	}
	for {
		e.Attempts++
		g.attempt(ctx, &e)
		if e.Status != 0 || e.Key == "" || !g.cfg.Retry || ctx.Err() != nil {
			break
		}
		pause(ctx, 100*time.Millisecond)
	}
	e.End = time.Now()
	return e
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (g *Generator) attempt(ctx context.Context, e *Entry) {
	req, err := g.newRequest(ctx, *e)
	if err != nil {
		e.Err = err
		return
	}
	resp, err := g.client.Do(req)
	if err != nil {
		e.Err = err
		return
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		e.Err = err
		return
	}
	e.Status, e.Err = resp.StatusCode, nil
	if e.Failed() {
		e.Body = string(body)
		return
	}
	if e.Order {
		var order struct{ ID uuid.UUID }
		e.Err = json.Unmarshal(body, &order)
		e.OrderID = order.ID
	}
}

func (g *Generator) newRequest(ctx context.Context, e Entry) (*http.Request, error) {
	if !e.Order {
		paths := []string{
			"/api/restaurants?limit=5", "/api/restaurants/" + g.cfg.RestaurantID.String(),
			"/api/restaurants/" + g.cfg.RestaurantID.String() + "/menu",
		}
		return http.NewRequestWithContext(ctx, http.MethodGet, g.cfg.BaseURL+paths[e.Number%len(paths)], nil)
	}
	body, err := json.Marshal(map[string]any{
		"restaurantId":    g.cfg.RestaurantID,
		"items":           []map[string]any{{"menuItemId": g.cfg.MenuItemID, "quantity": 1}},
		"deliveryAddress": "1 Load Street",
		"note":            e.Note(g.ledger.Run),
	})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.cfg.BaseURL+"/api/orders", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+g.cfg.Token)
	if e.Key != "" {
		req.Header.Set("Idempotency-Key", e.Key)
	}
	return req, nil
}
