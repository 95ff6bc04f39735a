package breaker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// ErrOpen is returned by Allow while the breaker lets nothing through.
var ErrOpen = errors.New("circuit breaker is open")

// State is one of the three states of a circuit breaker.
type State uint32

// The states.
const (
	Closed State = iota
	Open
	HalfOpen
)

// String returns the state's documented name.
func (s State) String() string {
	switch s {
	case Closed:
		return "CLOSED"
	case Open:
		return "OPEN"
	case HalfOpen:
		return "HALF_OPEN"
	default:
		return "UNKNOWN"
	}
}

// Outcome is what a query says about the database.
type Outcome uint8

// The outcomes.
const (
	// Neutral says nothing: the caller gave up, or the query was refused before it began.
	Neutral Outcome = iota
	// Answered means that the server answered, with rows, with none, or with an SQL error.
	Answered
	// Failed means that the database could not be reached, with all retries used up.
	Failed
)

// Transition is one change of state.
type Transition struct {
	// ID is drawn for it, so that log, trace, metric and audit can name the same one.
	ID       uuid.UUID
	From, To State
	At       time.Time
	Reason   string // one of a fixed set of phrases
}

// The reasons of transitions.
const (
	ReasonThreshold   = "consecutive failures"
	ReasonReached     = "database reached"
	ReasonElapsed     = "timeout elapsed"
	ReasonTrialFailed = "test query failed"
	ReasonTrialPassed = "test query answered" //nolint:gosec // no credentials
)

// Config is the configuration of a Breaker.
type Config struct {
	// Name names the circuit in hystrix-go's event stream. A name taken in this process gets a number appended.
	Name string
	// Threshold is the number of failed queries in a row that opens the breaker, at least 1. Default 5.
	Threshold int
	// Timeout is the time in OPEN before a trial when the database was never out of reach, at least 1 ms. Default 60 s.
	Timeout time.Duration
	// OnTransition, when not nil, is told of every change of state in order, under the breaker's lock: it must not block
	// and must not call the breaker.
	// ctx is that of the query whose end was the cause, or the background's.
	OnTransition func(context.Context, Transition)
}

// Validate reports a configuration that makes no sense.
func (c Config) Validate() error {
	if c.Name == "" {
		return errors.New("breaker without a name")
	}
	if c.Threshold < 1 {
		return errors.New("breaker threshold below 1")
	}
	if c.Timeout < time.Millisecond {
		return errors.New("breaker timeout below 1 ms")
	}
	return nil
}

// historyLength bounds the transitions that Transitions returns.
const historyLength = 32

// Breaker is a circuit breaker for one server. It is safe for concurrent use.
type Breaker struct {
	cfg     Config
	circuit *circuit

	// word is generation<<2 | state. It is written under mu and read without: that is the whole cost of a query while
	// the breaker is closed. The generation grows with every transition.
	word     atomic.Uint64
	failures atomic.Int64 // failed queries in a row; written under mu

	mu      sync.Mutex
	trial   bool   // HALF_OPEN: the place is taken
	lost    bool   // the reconnector knows that the database is out of reach
	epoch   uint64 // of the reconnector's latest connection
	history []Transition
	entered time.Time        // when the current state began
	spent   [3]time.Duration // in each state, the current one's not yet
}

// New returns a closed Breaker.
func New(cfg Config) (*Breaker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c, err := newCircuit(cfg.Name, cfg.Timeout)
	if err != nil {
		return nil, err
	}
	return &Breaker{cfg: cfg, circuit: c, entered: time.Now()}, nil
}

// Permit is the leave to run one query. Done must be called on it exactly once.
type Permit struct {
	breaker    *Breaker
	generation uint64
	trial      bool
}

// Trial reports whether the query is the one that decides in HALF_OPEN.
func (p Permit) Trial() bool { return p.trial }

// Allow asks for leave to run a query. The error is ErrOpen.
func (b *Breaker) Allow() (Permit, error) {
	word := b.word.Load()
	if State(word&3) == Closed {
		return Permit{breaker: b, generation: word >> 2}, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.elapse()
	return b.allow()
}

// TryTrial takes the place of the test query, if the breaker is in HALF_OPEN and the place is free.
func (b *Breaker) TryTrial() (Permit, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state() != HalfOpen {
		return Permit{}, false
	}
	p, err := b.allow()
	return p, err == nil
}

// Elapse moves an open breaker to HALF_OPEN when its timeout has passed without any query asking, and reports the state.
func (b *Breaker) Elapse() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.elapse()
	return b.state()
}

// Done ends the query. epoch is the reconnector's epoch when the query's last attempt began: a failure that is older
// than the latest connection does not hold the breaker open. ctx only goes to OnTransition.
func (p Permit) Done(ctx context.Context, outcome Outcome, epoch uint64) {
	b := p.breaker
	if outcome == Neutral && !p.trial {
		return
	}
	if outcome == Answered && !p.trial && b.failures.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.word.Load()>>2 != p.generation {
		return
	}
	if p.trial {
		b.endTrial(ctx, outcome, epoch)
		return
	}
	if outcome == Answered {
		b.failures.Store(0)
		return
	}
	if b.failures.Add(1) >= int64(b.cfg.Threshold) {
		b.open(ctx, ReasonThreshold, epoch)
	}
}

// DatabaseLost tells the breaker that the reconnector cannot reach the database: an open breaker then waits for
// DatabaseReached instead of its timeout.
func (b *Breaker) DatabaseLost() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost = true
}

// DatabaseReached tells the breaker that the reconnector has made the connection numbered epoch: an open breaker goes to
// HALF_OPEN, also when it had lost its session only, and the database never.
func (b *Breaker) DatabaseReached(epoch uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.epoch = epoch
	b.lost = false
	if b.state() == Open {
		b.transition(context.Background(), HalfOpen, ReasonReached)
	}
}

// State returns the current state.
func (b *Breaker) State() State { return State(b.word.Load() & 3) }

// Failures returns the number of failed queries in a row, 0 to Threshold. It keeps its value while the breaker is open.
func (b *Breaker) Failures() int { return int(b.failures.Load()) }

// Threshold returns the number of failed queries in a row that opens the breaker.
func (b *Breaker) Threshold() int { return b.cfg.Threshold }

// Transitions returns the latest changes of state, oldest first, at most 32.
func (b *Breaker) Transitions() []Transition {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Transition(nil), b.history...)
}

// TimeInStates returns the time spent in each state since New.
func (b *Breaker) TimeInStates() map[State]time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	spent := make(map[State]time.Duration, len(b.spent))
	for s, d := range b.spent {
		spent[State(s)] = d
	}
	spent[b.state()] += time.Since(b.entered)
	return spent
}

func (b *Breaker) state() State { return State(b.word.Load() & 3) }

// allow issues a permit in any state. mu is held.
func (b *Breaker) allow() (Permit, error) {
	word := b.word.Load()
	switch State(word & 3) {
	case Closed:
		return Permit{breaker: b, generation: word >> 2}, nil
	case HalfOpen:
		if !b.trial {
			b.trial = true
			return Permit{breaker: b, generation: word >> 2, trial: true}, nil
		}
	case Open:
	}
	return Permit{}, ErrOpen
}

// elapse asks the circuit whether the sleep window has passed. A lost database is not waited for by the clock: the
// reconnector will say when it is back. mu is held.
func (b *Breaker) elapse() {
	if b.state() == Open && !b.lost && b.circuit.allow() {
		b.transition(context.Background(), HalfOpen, ReasonElapsed)
	}
}

// endTrial applies the result of the test query. mu is held.
func (b *Breaker) endTrial(ctx context.Context, outcome Outcome, epoch uint64) {
	b.trial = false
	switch outcome {
	case Answered:
		b.failures.Store(0)
		b.circuit.close()
		b.transition(ctx, Closed, ReasonTrialPassed)
	case Failed:
		b.open(ctx, ReasonTrialFailed, epoch)
	case Neutral:
	}
}

// open opens the breaker for a failure whose last attempt began at epoch. mu is held.
func (b *Breaker) open(ctx context.Context, reason string, epoch uint64) {
	b.circuit.open()
	b.transition(ctx, Open, reason)
	if !b.lost && b.epoch > epoch {
		b.transition(ctx, HalfOpen, ReasonReached)
	}
}

// transition changes the state and starts a generation. mu is held.
func (b *Breaker) transition(ctx context.Context, to State, reason string) {
	word := b.word.Load()
	now := time.Now()
	t := Transition{ID: uuid.Must(uuid.NewV7()), From: State(word & 3), To: to, At: now, Reason: reason}
	b.spent[t.From] += now.Sub(b.entered)
	b.entered = now
	b.trial = false
	b.word.Store((word>>2+1)<<2 | uint64(to))
	if len(b.history) == historyLength {
		copy(b.history, b.history[1:])
		b.history = b.history[:historyLength-1]
	}
	b.history = append(b.history, t)
	if b.cfg.OnTransition != nil {
		b.cfg.OnTransition(ctx, t)
	}
}
