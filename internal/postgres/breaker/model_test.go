package breaker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// model is the contract's breaker, written for reading: no locks, no hystrix-go, no generations; every permit remembers
// which period it belongs to.
type model struct {
	threshold int
	timeout   time.Duration

	state    State
	failures int
	period   int // counts transitions
	trial    bool
	lost     bool
	epoch    uint64
	openedAt time.Time
}

type modelPermit struct {
	period int
	trial  bool
}

func (m *model) move(to State) {
	m.state = to
	m.period++
	m.trial = false
	if to == Open {
		m.openedAt = time.Now()
	}
}

func (m *model) open(epoch uint64) {
	m.move(Open)
	if !m.lost && m.epoch > epoch {
		m.move(HalfOpen)
	}
}

func (m *model) elapse() {
	if m.state == Open && !m.lost && time.Since(m.openedAt) > m.timeout {
		m.move(HalfOpen)
	}
}

func (m *model) allow() (modelPermit, bool) {
	m.elapse()
	switch {
	case m.state == Closed:
		return modelPermit{period: m.period}, true
	case m.state == HalfOpen && !m.trial:
		m.trial = true
		return modelPermit{period: m.period, trial: true}, true
	}
	return modelPermit{}, false
}

func (m *model) done(p modelPermit, o Outcome, epoch uint64) {
	if p.period != m.period {
		return // a straggler
	}
	switch {
	case p.trial && o == Neutral:
		m.trial = false
	case p.trial && o == Answered:
		m.failures = 0
		m.move(Closed)
	case p.trial:
		m.open(epoch)
	case o == Answered:
		m.failures = 0
	case o == Failed:
		m.failures++
		if m.failures == m.threshold {
			m.open(epoch)
		}
	}
}

// rig runs one interleaving on the breaker and on the model.
type rig struct {
	b       *Breaker
	m       *model
	running []running
	trace   []string
}

type running struct {
	permit Permit
	model  modelPermit
	epoch  uint64
}

func (r *rig) step(rng *rand.Rand) error {
	switch op := rng.IntN(100); {
	case op < 40:
		r.start(r.b.Allow())
	case op < 80 && len(r.running) > 0:
		r.finish(rng)
	case op < 84:
		r.log("lost")
		r.b.DatabaseLost()
		r.m.lost = true
	case op < 90:
		r.reach()
	case op < 93:
		r.log("elapse")
		r.b.Elapse()
		r.m.elapse()
	case op < 95:
		r.tryTrial()
	default:
		d := []time.Duration{time.Millisecond, r.m.timeout / 2, r.m.timeout, r.m.timeout + time.Nanosecond}[rng.IntN(4)]
		r.log("sleep %v", d)
		time.Sleep(d)
	}
	return r.compare()
}

func (r *rig) log(format string, args ...any) {
	r.trace = append(r.trace, fmt.Sprintf(format, args...))
}

func (r *rig) start(p Permit, err error) {
	mp, ok := r.m.allow()
	r.log("allow=%v trial=%v", err == nil, p.Trial())
	if ok != (err == nil) || mp.trial != p.Trial() {
		r.log("MISMATCH: the model says allow=%v trial=%v", ok, mp.trial)
		r.m.state = 99 // makes compare fail with this trace
		return
	}
	if ok {
		r.running = append(r.running, running{p, mp, r.m.epoch})
	}
}

func (r *rig) tryTrial() {
	free := r.m.state == HalfOpen && !r.m.trial
	p, ok := r.b.TryTrial()
	r.log("trial=%v", ok)
	if ok != free {
		r.m.state = 99
		return
	}
	if ok {
		r.m.trial = true
		r.running = append(r.running, running{p, modelPermit{r.m.period, true}, r.m.epoch})
	}
}

func (r *rig) finish(rng *rand.Rand) {
	i := rng.IntN(len(r.running))
	q := r.running[i]
	r.running = append(r.running[:i], r.running[i+1:]...)
	outcome := []Outcome{Neutral, Answered, Failed, Failed, Failed, Failed}[rng.IntN(6)]
	if rng.IntN(2) == 0 {
		q.epoch = r.m.epoch // its last attempt began just now
	}
	r.log("done outcome=%d trial=%v epoch=%d", outcome, q.permit.Trial(), q.epoch)
	q.permit.Done(context.Background(), outcome, q.epoch)
	r.m.done(q.model, outcome, q.epoch)
}

func (r *rig) reach() {
	r.log("reached %d", r.m.epoch+1)
	r.b.DatabaseReached(r.m.epoch + 1)
	r.m.epoch++
	r.m.lost = false
	if r.m.state == Open {
		r.m.move(HalfOpen)
	}
}

func (r *rig) compare() error {
	if got, want := r.b.State(), r.m.state; got != want {
		return fmt.Errorf("state: got %v, want %v", got, want)
	}
	if got, want := r.b.Failures(), r.m.failures; got != want {
		return fmt.Errorf("failures: got %d, want %d", got, want)
	}
	if got, want := r.b.trial, r.m.trial; got != want {
		return fmt.Errorf("place taken: got %v, want %v", got, want)
	}
	return nil
}

// TestModel runs random interleavings of queries, stragglers, cancelled calls, trials, losses, recoveries and time
// against the reference model, hystrix-go included.
func TestModel(t *testing.T) { //nolint:tparallel // the shards are, one level below
	t.Parallel()
	interleavings := 120_000
	if testing.Short() {
		interleavings = 6_000
	}
	const shards, steps = 2, 40
	var reached [shards]map[State]int
	t.Run("Shards", func(t *testing.T) {
		for shard := range shards {
			// The circuit's goroutine belongs to the process: it must be there before the bubble is.
			c, err := newCircuit("model", time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(strconv.Itoa(shard), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					reached[shard] = explore(t, c, uint64(shard), interleavings/shards, steps)
				})
			})
		}
	})
	total := map[State]int{}
	for _, r := range reached {
		for s, n := range r {
			total[s] += n
		}
	}
	t.Logf("%d interleavings of %d steps; steps spent CLOSED %d, OPEN %d, HALF_OPEN %d",
		interleavings, steps, total[Closed], total[Open], total[HalfOpen])
	if total[Open] < interleavings || total[HalfOpen] < interleavings {
		t.Errorf("the walk hardly leaves CLOSED: %v", total)
	}
}

func explore(t *testing.T, c *circuit, seed uint64, interleavings, steps int) map[State]int {
	t.Helper()
	visits := map[State]int{}
	for i := range interleavings {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		c.close()
		threshold := 1 + rng.IntN(3)
		if rng.IntN(4) == 0 {
			threshold = 5
		}
		r := &rig{
			b: &Breaker{cfg: Config{Name: "model", Threshold: threshold, Timeout: time.Minute}, circuit: c},
			m: &model{threshold: threshold, timeout: time.Minute},
		}
		for range steps {
			if err := r.step(rng); err != nil {
				t.Fatalf("seed %d/%d: %v\nafter %q", seed, i, err, r.trace)
			}
			visits[r.m.state]++
		}
	}
	return visits
}
