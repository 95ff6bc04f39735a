package synthetic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"speedybites/internal/postgres"
)

const (
	defaultTimeout = 5 * time.Second
	maxInstance    = 255 // characters, the table's limit
)

// Config is the configuration of a Prober. DB, Interval, Logger and Instance are required.
type Config struct {
	DB *postgres.DB
	// Interval is the time from the end of a probe to the next one, jittered by a tenth.
	Interval time.Duration
	// Timeout ends a probe that takes longer. Only its COMMIT, once it was sent, is waited for as long as the database
	// layer waits for any: up to the statement limit. Default 5 s.
	Timeout time.Duration
	// Registerer takes the metrics; nil means that they are shown nowhere.
	Registerer prometheus.Registerer
	// Tracers makes each probe a trace of its own; nil means none.
	Tracers trace.TracerProvider
	// Logger gets a line when a probe begins to fail, and when it succeeds again.
	Logger *slog.Logger
	// Instance names the row that this process writes, 1 to 255 characters. It should be the same after a restart.
	Instance string
}

// Validate reports every setting that makes no sense.
func (c Config) Validate() error {
	var errs []error
	if c.DB == nil || c.Logger == nil {
		errs = append(errs, errors.New("no database or no logger"))
	}
	if c.Interval <= 0 || c.Timeout < 0 {
		errs = append(errs, errors.New("an interval that is not positive, or a negative timeout"))
	}
	if n := utf8.RuneCountInString(c.Instance); n < 1 || n > maxInstance {
		errs = append(errs, fmt.Errorf("instance name outside 1 to %d characters", maxInstance))
	}
	return errors.Join(errs...)
}

// Prober runs the probes. Create it with New.
type Prober struct {
	cfg    Config
	tracer trace.Tracer
	probes []*probe
}

// New returns a Prober whose series exist, at 0. It does nothing until Run.
func New(cfg Config) (*Prober, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("synthetic probes: %w", err)
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	if cfg.Tracers == nil {
		cfg.Tracers = noop.NewTracerProvider()
	}
	p := &Prober{cfg: cfg, tracer: cfg.Tracers.Tracer("speedybites/internal/synthetic")}
	p.probes = []*probe{
		{name: "db_read", query: p.read, metrics: m.of("db_read")},
		{name: "db_write", query: p.write, metrics: m.of("db_write")},
	}
	return p, nil
}

// Run probes until ctx ends, from the moment on that the database layer knows whether its database is there. It must be
// called once.
func (p *Prober) Run(ctx context.Context) {
	p.awaitVerdict(ctx)
	var loops sync.WaitGroup
	for _, pr := range p.probes { // each on its own: a write that hangs must not hide that reads work
		loops.Go(func() { p.loop(ctx, pr) })
	}
	loops.Wait()
}

// awaitVerdict keeps the first probe from finding "disconnected" only because nobody has looked yet.
func (p *Prober) awaitVerdict(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	_, _ = p.cfg.DB.Verdict(ctx) // without one, the probe says so
}

func (p *Prober) loop(ctx context.Context, pr *probe) {
	for ctx.Err() == nil {
		p.run(ctx, pr)
		timer := time.NewTimer(jitter(p.cfg.Interval))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// jitter returns a random duration within a tenth of d.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1) //nolint:gosec // jitter needs no secrecy
}
