package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"speedybites/internal/load"
)

// Config is what a run does.
type Config struct {
	// For is how long things go wrong under load.
	For time.Duration
	// Seed decides what goes wrong.
	Seed uint64
	// Rate is the number of requests each second.
	Rate int
	// Race has the service look for data races of its own.
	Race bool
	// Noise is what the machine may add to a time before it is held against the service: one machine carries the load, two
	// instances and two servers. Default 1 s.
	Noise time.Duration
	// Keep keeps the directory with all logs, which is kept anyway when something was wrong.
	Keep bool
}

// Discrepancy is something that the service, or the database after it, did not do as promised.
type Discrepancy struct {
	At     time.Time
	What   string
	Faults []string    // what was going on
	Entry  *load.Entry // the request it is about, if it is about one
}

// String tells all that is known.
func (d Discrepancy) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "DISCREPANCY at %s: %s\n", d.At.Format(clock), d.What)
	if d.Entry != nil {
		fmt.Fprintf(&s, "  request %d: %s, key %q\n", d.Entry.Number, d.Entry.What, d.Entry.Key)
		for i, t := range d.Entry.Tries {
			fmt.Fprintf(&s, "    attempt %d at %s to instance %d: ", i+1, t.Start.Format(clock), t.Instance+1)
			if t.Err != nil {
				fmt.Fprintf(&s, "no answer after %v: %v\n", t.Took(), t.Err)
			} else {
				fmt.Fprintf(&s, "%d after %v %s\n", t.Status, t.Took(), strings.TrimSpace(t.Body))
			}
		}
	}
	for _, f := range d.Faults {
		fmt.Fprintf(&s, "  going on: %s\n", f)
	}
	return s.String()
}

// clock is how times of day are shown: those of the log files, to compare.
const clock = "15:04:05.000"

// report notes that something is wrong.
func (w *world) report(what string, e *load.Entry) {
	d := Discrepancy{At: time.Now(), What: what, Entry: e}
	from := d.At
	if e != nil {
		d.At, from = e.End, e.Start
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.happened {
		if h.on(from, d.At) {
			d.Faults = append(d.Faults, fmt.Sprintf("%s, since %s", h.Fault, h.begin.Format(clock)))
		}
	}
	w.wrong = append(w.wrong, d)
	const most = 20 // printed at once; all are counted
	if len(w.wrong) <= most {
		fmt.Fprint(w.out, d)
	}
}

func (w *world) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintf(w.out, format, args...)
}

// Run lets things go wrong for as long as cfg says, and reports. What it prints meanwhile goes to out. The error is of
// the setting, in which case the report is incomplete; what the service did wrong is in the report.
func Run(ctx context.Context, cfg Config, out io.Writer) (r *Report, err error) {
	cfg.Noise = cmp.Or(cfg.Noise, time.Second)
	fmt.Fprintf(out, "seed %d, %v at %d requests/s; again with: %s\n", cfg.Seed, cfg.For, cfg.Rate, cfg.again())
	w, err := newWorld(ctx, cfg, out)
	r = &Report{Config: cfg, world: w}
	defer func() {
		keep := cfg.Keep || err != nil || !r.OK()
		err = errors.Join(err, w.close(ctx, keep))
		if keep {
			fmt.Fprintln(out, "logs are in", w.dir)
		}
	}()
	if err != nil {
		return r, err
	}
	reads := "reads go to the primary"
	if cfg.replicas() {
		reads = "reads go to the standby where they may"
	}
	fmt.Fprintf(out, "two instances, a primary and a standby are running; %s; logs are in %s\n", reads, w.dir)
	return r, w.play(ctx, r)
}

// replicas reports whether the standby is used as a read replica. The seed decides it.
func (cfg Config) replicas() bool { return cfg.Seed%2 == 0 }

func (cfg Config) again() string {
	s := fmt.Sprintf("make chaos SEED=%d MINUTES=%g RATE=%d", cfg.Seed, cfg.For.Minutes(), cfg.Rate)
	if cfg.Race {
		s += " ARGS=-race"
	}
	return s
}

// play puts the load on, plays the schedule, and does the sums.
func (w *world) play(ctx context.Context, r *Report) error {
	g := load.New(load.Config{
		Instances: []string{w.services[0].base, w.services[1].base}, Pick: w.pick, Token: w.menu.token,
		RestaurantID: w.menu.restaurant, MenuItemID: w.menu.item,
		Rate: w.cfg.Rate, ReadBack: true, Retry: true, Timeout: time.Minute,
	})
	r.ledger = g.Ledger()
	if err := w.measureBaseline(ctx, r); err != nil {
		return err
	}
	sending, abandon := context.WithCancel(ctx)
	defer abandon()
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		g.Run(sending, stop)
	}()
	r.began = time.Now()
	err := w.schedule(ctx, r)
	err = errors.Join(err, pause(ctx, calm))
	close(stop)
	r.lasted = time.Since(r.began)
	select {
	case <-ended:
	case <-time.After(time.Minute):
		w.report("requests are not answered a minute after the last fault", nil)
	}
	abandon()
	<-ended
	w.judgeNew(r)
	if err != nil {
		return err
	}
	return w.settle(ctx, r)
}

// calm is the time before the first fault, and after the last.
const calm = 3 * time.Second

func (w *world) schedule(ctx context.Context, r *Report) error {
	if err := pause(ctx, calm); err != nil {
		return err
	}
	s := NewSchedule(w.cfg.Seed)
	for {
		step := s.Next()
		if time.Since(r.began)+step.Gap >= w.cfg.For {
			return nil
		}
		if err := pause(ctx, step.Gap); err != nil {
			return err
		}
		w.say("%s %v\n", time.Now().Format(clock), step)
		if err := w.step(ctx, step); err != nil {
			return err
		}
		r.Steps++
		w.judgeNew(r)
	}
}

// judgeNew judges the requests that have ended since the last time. What is allowed is known once a step is over.
func (w *world) judgeNew(r *Report) {
	for _, e := range r.ledger.After(r.judged) {
		r.judged++
		o, wrong := w.allowed.judge(e)
		r.count(o, e)
		for _, what := range wrong {
			w.report(what, &e)
		}
	}
}
