package app_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"speedybites/internal/localpg"
	"speedybites/internal/pgtest"
)

// Commits are cut off in so many crowds of orders, each of which loses all of its own at the same moment.
const (
	crowds    = 20
	crowdSize = 10
)

// TestCommitsInDoubt cuts 200 orders off at their COMMIT, under load, once each, wherever that can be. Every customer is
// told the truth: one order, placed once.
func TestCommitsInDoubt(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	server := pgtest.Server(t, func(c *localpg.Config) { c.Settings = map[string]string{"max_connections": "200"} })
	for n, where := range []point{committed, arrived, lateCommit, notArrived, lateRollback} {
		t.Run(string(where), func(t *testing.T) {
			t.Parallel()
			s := newStage(t, server, fmt.Sprint("doubt_", n), matrixLimit, "DB_POOL_MAX=20")
			stop := s.busy(t)
			before := s.scrape().sum(t, "speedybites_db_commits_in_doubt_total")
			var requests []*request
			struck := 0
			for range crowds {
				cut := s.proxy.Inject(where.of(opOrder, pgtest.Fault{Times: crowdSize, Then: meeting(crowdSize)}))
				requests = append(requests, s.crowd(t)...)
				cut.Remove()
				struck += cut.Fired()
			}
			stop()
			if doubts := s.scrape().sum(t, "speedybites_db_commits_in_doubt_total") - before; struck != crowds*crowdSize || doubts != float64(struck) {
				t.Errorf("%d commits were cut off, and %v counted as in doubt, want %d", struck, doubts, crowds*crowdSize)
			}
			var longest time.Duration
			for _, r := range requests {
				if r.verdict() != getsSuccess {
					t.Errorf("%s: %s", r.mark, r.verdict())
				}
				s.check(t, r, once)
				longest = max(longest, r.took)
			}
			t.Logf("%d orders, the longest took %v", len(requests), longest)
		})
	}
}

// crowd places orders all at once, and returns when all are answered.
func (s *stage) crowd(t *testing.T) []*request {
	t.Helper()
	requests := make([]*request, crowdSize)
	var wg sync.WaitGroup
	for i := range requests {
		wg.Go(func() { requests[i] = s.send(t.Context(), opOrder, time.Minute) })
	}
	wg.Wait()
	return requests
}

// busy has other clients read and create restaurants, all of which must succeed, until stop is called.
func (s *stage) busy(t *testing.T) (stop func()) {
	t.Helper()
	stopped := make(chan struct{})
	var clients sync.WaitGroup
	for n := range 4 {
		clients.Go(func() {
			for i := n; ; i++ {
				select {
				case <-stopped:
					return
				case <-time.After(10 * time.Millisecond):
				}
				op := []operation{opRead, opRead, opWrite}[i%3]
				if r := s.send(t.Context(), op, time.Minute); r.verdict() != getsSuccess {
					t.Errorf("a %s beside the orders: %s", op, r.verdict())
				}
			}
		})
	}
	return sync.OnceFunc(func() {
		close(stopped)
		clients.Wait()
	})
}

// TestDoubtThatOutlastsTheRequest has COMMIT cut off so that the request cannot find out what became of it. The customer is
// not told a guess but a 503, and the same key gets the truth later.
func TestDoubtThatOutlastsTheRequest(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	server := pgtest.Server(t)
	for n, test := range []struct {
		name string
		// begin makes it so that nobody can find out, end ends that.
		begin func(p *pgtest.WireProxy) (end func())
		// placed says which orders are there before they are sent again.
		placed stored
	}{
		{
			name: "committed, every answer lost", placed: once,
			begin: func(p *pgtest.WireProxy) func() { return p.Inject(committed.of(opOrder, pgtest.Fault{})).Remove },
		},
		{
			name: "no commit arrives", placed: none,
			begin: func(p *pgtest.WireProxy) func() { return p.Inject(notArrived.of(opOrder, pgtest.Fault{})).Remove },
		},
		{
			name: "committed, and the server cannot be reached any more", placed: once,
			begin: func(p *pgtest.WireProxy) func() {
				together := meeting(unresolved)
				i := p.Inject(committed.of(opOrder, pgtest.Fault{Times: unresolved, Then: func() {
					together()
					p.Refuse()
					p.Cut()
				}}))
				return func() {
					i.Remove()
					p.Accept()
				}
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, server, fmt.Sprint("unresolved_", n), matrixLimit)
			end := test.begin(s.proxy)
			keys := make([]string, unresolved)
			var clients sync.WaitGroup
			for i := range keys {
				keys[i] = uuid.NewString()
				clients.Go(func() {
					if a := s.place(keys[i]); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
						t.Errorf("order %d: got %d %s, Retry-After %q", i, a.status, a.body, a.header.Get("Retry-After"))
					}
				})
			}
			clients.Wait()
			for _, key := range keys {
				if n := len(s.ids(t, rowsOf[opOrder], key)); n != map[stored]int{once: 1}[test.placed] {
					t.Errorf("%d orders are stored after a 503, want %s", n, test.placed)
				}
			}
			end()
			for _, key := range keys {
				s.truth(t, key, test.placed)
			}
		})
	}
}

// unresolved is how many orders nobody can find out about: fewer than open the breaker.
const unresolved = 4

// place places an order with a key, which is its note as well.
func (s *stage) place(key string) answer {
	s.t.Helper()
	return s.call("POST", "/api/orders", demoOrder(key), "Authorization", "Bearer "+s.customer, "Idempotency-Key", key)
}

// truth sends an order again, until it is answered, and demands that the answer is what the database has.
func (s *stage) truth(t *testing.T, key string, before stored) {
	t.Helper()
	var a answer
	eventually(t, "the service to be well", func() bool {
		a = s.place(key)
		return a.status != http.StatusServiceUnavailable
	})
	if a.status != http.StatusCreated || (a.header.Get("Idempotency-Replayed") == "true") != (before == once) {
		t.Errorf("sent again: got %d %s, replayed %q", a.status, a.body, a.header.Get("Idempotency-Replayed"))
		return
	}
	var order struct {
		ID   uuid.UUID
		Note string
	}
	a.decode(t, &order)
	if ids := s.ids(t, rowsOf[opOrder], key); len(ids) != 1 || ids[0] != order.ID || order.Note != key {
		t.Errorf("told of %v (%s), stored is %v", order.ID, order.Note, ids)
	}
}
