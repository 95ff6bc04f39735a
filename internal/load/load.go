// Package load drives the API at a fixed rate and keeps a ledger of what every request was told, so that it can be held
// against the database afterwards.
package load

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Config is what a run does.
type Config struct {
	// BaseURL is the API's address, without a path.
	BaseURL string
	// Instances are the addresses where there are several; BaseURL is not used then.
	Instances []string
	// Pick chooses the instance for an attempt of a request, both counted from 0. Default: they take turns, and a request
	// that is sent again goes to the next.
	Pick func(request, attempt int) int
	// Token authorizes the orders.
	Token string
	// RestaurantID and MenuItemID are what is ordered.
	RestaurantID, MenuItemID uuid.UUID
	// Rate is the number of requests started each second, whether or not earlier ones were answered.
	Rate int
	// OrderEvery makes every n-th request an order, the others read. Default 5.
	OrderEvery int
	// KeyEvery gives every n-th order an Idempotency-Key. Default 2.
	KeyEvery int
	// ReadBack reads as many acknowledged orders as are placed, in place of other reads: half of them with the
	// Consistency-Token that the order was answered with, so that a replica may answer.
	ReadBack bool
	// Retry makes a client that insists until ctx ends: what got no answer is sent again, and an order with a key also
	// after a 409, 503 or 504. Never an order without a key that may have arrived.
	Retry bool
	// Timeout bounds an attempt. Default: only ctx does.
	Timeout time.Duration
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
	if cfg.KeyEvery == 0 {
		cfg.KeyEvery = 2
	}
	if len(cfg.Instances) == 0 {
		cfg.Instances = []string{cfg.BaseURL}
	}
	if cfg.Pick == nil {
		// Whether an order has a key must not decide where it goes.
		block := cfg.OrderEvery * cfg.KeyEvery
		cfg.Pick = func(n, attempt int) int { return (n + n/block + attempt) % len(cfg.Instances) }
	}
	return &Generator{
		cfg: cfg,
		client: &http.Client{Timeout: cfg.Timeout, Transport: &http.Transport{
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
	defer g.client.CloseIdleConnections()
	defer running.Wait()
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
