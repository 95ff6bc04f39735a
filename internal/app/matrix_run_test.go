package app_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"speedybites/internal/localpg"
	"speedybites/internal/pgtest"
)

// What "under load" means: so many clients make so many requests in all, and a fault that is not permanent hits up to so
// many of them, all at the same moment, so that it does not hit the same one again and again.
const (
	loadClients  = 10
	loadRequests = 20
	loadHits     = 6
)

// What a loaded machine may take beyond what is promised, for one request and for many.
const (
	machineSlack = 10 * time.Second
	loadSlack    = 30 * time.Second
)

// TestMatrix runs every row of the matrix, for each of its operations, without traffic and under load.
func TestMatrix(t *testing.T) {
	pgtest.Slow(t)
	t.Parallel()
	server := pgtest.Server(t, func(c *localpg.Config) { c.Settings = map[string]string{"max_connections": "200"} })
	patient, limited := make(chan *matrixCase), make(chan *matrixCase)
	var stages sync.WaitGroup
	play := func(n int, limit time.Duration, cases <-chan *matrixCase) {
		stages.Go(func() {
			s := newStage(t, server, fmt.Sprint("matrix_", n), limit)
			for c := range cases {
				c.stage = s
				t.Run(c.name(), c.run)
			}
		})
	}
	for n := range 10 {
		play(n, matrixLimit, patient)
	}
	for n := range 2 {
		play(100+n, shortLimit, limited)
	}
	for _, row := range slowestFirst() {
		to := patient
		if row.want.wait == untilLimit {
			to = limited
		}
		for _, op := range row.ops {
			to <- &matrixCase{row: row, op: op}
		}
	}
	close(patient)
	close(limited)
	stages.Wait()
}

// slowestFirst returns the rows of the matrix. Faults of the network last longest.
func slowestFirst() (rows []*matrixRow) {
	for i := range matrix {
		rows = append(rows, &matrix[i])
	}
	slices.SortStableFunc(rows, func(a, b *matrixRow) int { return -cmp.Compare(a.want.wait.limit, b.want.wait.limit) })
	return rows
}

// matrixCase is a row of the matrix for one operation.
type matrixCase struct {
	stage *stage
	row   *matrixRow
	op    operation

	// These change from one run to the next.
	codes    []string // of the faults, "" for none
	load     bool
	patience time.Duration // of the clients
	faults   []*pgtest.Injection
	missed   int // strikes that were for others
}

func (c *matrixCase) name() string {
	return strings.ReplaceAll(fmt.Sprintf("%s, %s, %s", c.row.fault, c.row.where, c.op), "/", "∕")
}

// run plays the case: every SQLSTATE on its own, and then all together under load.
func (c *matrixCase) run(t *testing.T) {
	codes := c.row.codes
	if len(codes) == 0 {
		codes = []string{""}
	}
	for _, code := range codes {
		c.codes, c.load = []string{code}, false
		c.play(t)
	}
	c.codes, c.load = codes, true
	if c.row.always {
		c.codes = codes[int(c.op)%len(codes):][:1]
	}
	c.play(t)
}

// times is how often a message fault strikes, 0 for always.
func (c *matrixCase) times() int {
	switch {
	case c.row.always:
		return 0
	case c.load:
		return loadHits
	}
	return 1
}

// inject sets the message fault of the row, once for each SQLSTATE, and returns what removes it.
func (c *matrixCase) inject() (lift func()) {
	remove := func() {
		for _, i := range c.faults {
			i.Remove()
		}
	}
	together := meeting(c.times())
	c.faults = nil
	for n, code := range c.codes {
		f := c.row.where.of(c.op, pgtest.Fault{Code: code, Loss: c.row.loss})
		if times := c.times(); times > 0 {
			f.Times = (times + n) / len(c.codes)
			f.Then = together
		}
		c.faults = append(c.faults, c.stage.proxy.Inject(f))
	}
	return remove
}

// passing reports whether the fault strikes at messages, and only so often.
func (c *matrixCase) passing() bool { return len(c.faults) > 0 && !c.row.always }

// meeting returns a function that n calls return from together; they do not wait for ever.
func meeting(n int) func() {
	var arrived atomic.Int64
	met := make(chan struct{})
	return func() {
		if arrived.Add(1) == int64(n) {
			close(met)
		}
		select {
		case <-met:
		case <-time.After(2 * time.Second):
		}
	}
}

// struck is how often the message fault has struck.
func (c *matrixCase) struck() (n int) {
	for _, i := range c.faults {
		n += i.Fired()
	}
	return n - c.missed
}

// play strikes once, makes the requests, and looks at what came of them.
func (c *matrixCase) play(t *testing.T) {
	t.Helper()
	s := c.stage
	for try := 1; ; try++ {
		began := time.Now()
		s.settle(t, c.op)
		c.patience, c.faults, c.missed = time.Minute, nil, 0
		strike := c.row.strike
		if strike == nil {
			strike = byMessage
		}
		lift := strike(t, c)
		before := s.counts(t) // what led to it does not count
		struck := time.Now()
		requests := c.send(t)
		h, _ := s.health()
		answered := time.Now()
		lift()
		movement := s.counted(t, before, c.op, len(requests))
		if e := c.row.want.errors; c.passing() && e != "" && movement.attempts[e] == 0 && try < 10 {
			continue // a background loop of the service was hit in their place
		}
		c.check(t, requests, movement, h)
		t.Logf("%s, with %q, under load: %v: struck after %v, answered after %v, mended after %v", c.name(), c.codes, c.load,
			struck.Sub(began), answered.Sub(struck), time.Since(answered))
		if t.Failed() {
			t.FailNow()
		}
		return
	}
}

// send makes the requests of a case, and returns when all have ended.
func (c *matrixCase) send(t *testing.T) (requests []*request) {
	t.Helper()
	if !c.load {
		return []*request{c.stage.send(t.Context(), c.op, c.patience)}
	}
	var (
		mu      sync.Mutex
		clients sync.WaitGroup
	)
	for range loadClients {
		clients.Go(func() {
			for range loadRequests / loadClients {
				r := c.stage.send(t.Context(), c.op, c.patience)
				mu.Lock()
				requests = append(requests, r)
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	return requests
}
