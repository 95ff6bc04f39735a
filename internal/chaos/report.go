package chaos

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"speedybites/internal/load"
)

// Report is what a run found.
type Report struct {
	Config Config
	// Steps is the number of steps played.
	Steps int
	// Result is the ledger's comparison with the database.
	Result load.Result
	// AuditRows and AuditLines count what the changes left behind, AuditInBoth the rows with a line in both files.
	AuditRows, AuditLines, AuditInBoth int

	world         *world
	ledger        *load.Ledger
	judged        int
	began         time.Time
	lasted        time.Duration
	outcomes      map[outcome]int
	took          []time.Duration
	before, after [instances]usage
	health        [instances]look
	slowestHealth time.Duration
}

// OK reports whether nothing was wrong.
func (r *Report) OK() bool { return len(r.Discrepancies()) == 0 }

// Discrepancies returns all that was wrong.
func (r *Report) Discrepancies() []Discrepancy {
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	return slices.Clone(r.world.wrong)
}

func (r *Report) count(o outcome, e load.Entry) {
	if r.outcomes == nil {
		r.outcomes = map[outcome]int{}
	}
	r.outcomes[o]++
	for _, try := range e.Tries {
		r.took = append(r.took, try.Took())
	}
}

// Print writes the closing tables.
func (r *Report) Print(out io.Writer) {
	fmt.Fprintln(out)
	r.printFaults(out)
	fmt.Fprintln(out)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	row("seed", "%d", r.Config.Seed)
	row("load", "%d requests in %v, %d/s", r.judged, r.lasted.Round(time.Second), r.Config.Rate)
	row("faults", "%d, in %d steps", len(r.world.happened), r.Steps)
	for _, o := range outcomes() {
		if n := r.outcomes[o]; n > 0 {
			row("", "%d %s", n, o)
		}
	}
	row("waits", "%s", r.percentiles())
	row("orders", "%d acknowledged, %d stored: %d lost, %d doubled, %d with other content, %d not asked for",
		r.Result.Acknowledged, r.Result.Stored, len(r.Result.Lost), len(r.Result.Doubled), len(r.Result.Wrong), r.Result.Strange)
	row("", "%d more of which the client never learned: %d are stored", r.Result.Unknown, r.Result.Placed)
	row("audit", "%d rows, %d lines, %d rows with a line of both instances", r.AuditRows, r.AuditLines, r.AuditInBoth)
	for i, s := range r.world.services {
		row(fmt.Sprint("instance ", i+1), "started %d times; breaker %s, health %s; goroutines %d → %d, at most %d; memory %.0f → %.0f MB, at most %.0f",
			s.starts, cmp.Or(r.health[i].CircuitBreaker.State, "?"), cmp.Or(r.health[i].Status, "?"),
			r.before[i].goroutines, r.after[i].goroutines, r.after[i].mostGoroutines,
			r.before[i].resident/1e6, r.after[i].resident/1e6, r.after[i].mostResident/1e6)
	}
	row("slowest health", "%v", r.slowestHealth.Round(time.Millisecond))
	verdict := "everything that was promised"
	if n := len(r.Discrepancies()); n > 0 {
		verdict = fmt.Sprintf("%d DISCREPANCIES; again with: %s", n, r.Config.again())
	}
	row("verdict", "%s", verdict)
	_ = t.Flush() // To a terminal or a test's log.
}

func (r *Report) percentiles() string {
	slices.Sort(r.took)
	var s []string
	for _, p := range []float64{50, 95, 99, 99.9, 100} {
		if len(r.took) > 0 {
			s = append(s, fmt.Sprintf("p%g %v", p, r.took[int(float64(len(r.took)-1)*p/100)].Round(time.Millisecond)))
		}
	}
	return strings.Join(s, ", ")
}

// tally is what happened during the faults of one kind, and the recovery from them.
type tally struct {
	times, requests, refused, cut, struck int
	longest, recovery                     time.Duration
}

func (r *Report) printFaults(out io.Writer) {
	tallies := map[string]*tally{}
	for _, h := range r.world.happened {
		t := tallies[h.kind.name]
		if t == nil {
			t = &tally{}
			tallies[h.kind.name] = t
		}
		t.times++
		t.recovery = max(t.recovery, h.took)
		t.struck += h.struck
	}
	for _, e := range r.ledger.Entries() {
		for _, name := range r.world.during(e) {
			tallies[name].add(e)
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "fault\ttimes\tmessages hit\trequests\t503\tcut\tlongest wait\tlongest recovery")
	for _, k := range kinds() {
		if t := tallies[k.name]; t != nil {
			fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%v\t%v\n", k.name, t.times, t.struck, t.requests, t.refused, t.cut,
				t.longest.Round(time.Millisecond), t.recovery.Round(time.Millisecond))
		}
	}
	_ = table.Flush() // As above.
}

// during returns the names of the faults that a request has met.
func (w *world) during(e load.Entry) (names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.happened {
		if h.on(e.Start, e.End) && !slices.Contains(names, h.kind.name) {
			names = append(names, h.kind.name)
		}
	}
	return names
}

func (t *tally) add(e load.Entry) {
	t.requests++
	for _, try := range e.Tries {
		t.longest = max(t.longest, try.Took())
		switch try.Status {
		case 0:
			t.cut++
		case 503:
			t.refused++
		}
	}
}
