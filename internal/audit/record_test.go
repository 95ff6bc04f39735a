package audit_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"speedybites/internal/audit"
	"speedybites/internal/dbtest"
	"speedybites/internal/pgtest"
)

// outage puts a proxy between the bench's database and its users, and returns what begins and ends an outage.
func (b *bench) outage(t *testing.T) (begin, end func()) {
	t.Helper()
	u, err := url.Parse(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	proxy := pgtest.Proxy(t, u.Host)
	b.db = dbtest.OpenDefault(t, proxy.URL(b.dsn))
	connected := func(want bool) {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			if got, err := b.db.Verdict(t.Context()); err != nil || got == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the database is not seen to be connected=%v", want)
			}
		}
	}
	return func() { proxy.Refuse(); proxy.Cut(); connected(false) }, func() { proxy.Accept(); connected(true) }
}

func transition(n int) audit.Entry {
	return audit.Entry{
		At: time.Date(2026, 2, 3, 4, 5, n, 0, time.UTC), Actor: audit.Actor{Role: audit.System}, Action: "open",
		Entity: "circuitBreaker", EntityID: uuid.New(), After: map[string]any{"state": "OPEN"},
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()

	t.Run("WhileTheDatabaseIsAway", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		begin, end := b.outage(t)
		b.add(t, 1)
		begin()
		reg := prometheus.NewRegistry()
		cfg := b.config(b.healthy())
		cfg.Registerer = reg
		r, err := audit.NewRelay(cfg)
		if err != nil {
			t.Fatal(err)
		}
		const recorded = 3
		for i := range recorded {
			e := transition(i)
			e.OperationID = uuid.New()
			b.want = append(b.want, e.OperationID)
			r.Record(e)
		}
		if err := r.Drain(t.Context()); err == nil {
			t.Fatal("got no error without a database")
		}
		if got := value(t, reg, "speedybites_audit_pending_entries"); got != recorded {
			t.Errorf("pending: got %v, want %v", got, recorded)
		}
		if got := value(t, reg, "speedybites_audit_lag_seconds"); got < 1 {
			t.Errorf("lag: got %v, want the age of the recorded entry", got)
		}
		if got := sum(t, reg, "speedybites_audit_failures_total"); got != 0 {
			t.Errorf("failures: got %v, want none for an outage", got)
		}
		end()
		for range 2 {
			if err := r.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		b.check(t)
		rows, err := b.raw.Query(t.Context(), `SELECT extract(second FROM at)::int FROM audit_log WHERE action = 'open' ORDER BY 1`)
		if err != nil {
			t.Fatal(err)
		}
		got, err := pgx.CollectRows(rows, pgx.RowTo[int])
		if diff := cmp.Diff([]int{0, 1, 2}, got); err != nil || diff != "" {
			t.Errorf("times, %v (-want +got):\n%s", err, diff)
		}
		if got := value(t, reg, "speedybites_audit_lag_seconds"); got != 0 {
			t.Errorf("lag in the end: got %v, want 0", got)
		}
	})

	t.Run("AnswerLostAndSentAgain", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		// A deferred trigger lets the first COMMIT fail, which the relay cannot tell from a lost answer.
		if _, err := b.raw.Exec(t.Context(), `
			CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$;
			CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON audit_log DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW EXECUTE FUNCTION refuse()`); err != nil {
			t.Fatal(err)
		}
		r := b.relay(b.healthy())
		e := transition(1)
		e.OperationID = uuid.New()
		r.Record(e)
		if err := r.Drain(t.Context()); err == nil {
			t.Fatal("got no error from the refused insert")
		}
		allowMarks(t, b)
		b.want = append(b.want, e.OperationID)
		batch := &pgx.Batch{}
		if err := audit.Queue(batch, e); err != nil {
			t.Fatal(err)
		}
		if err := b.raw.SendBatch(t.Context(), batch).Close(); err != nil {
			t.Fatal(err)
		}
		if err := r.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.check(t)
	})

	t.Run("InvalidOnesAreDropped", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		reg := prometheus.NewRegistry()
		cfg := b.config(b.healthy())
		cfg.Registerer = reg
		r, err := audit.NewRelay(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			e := transition(i)
			switch i {
			case 1:
				e.Action = "a\x00b"
			case 3:
				e.After = func() {}
			default:
				e.OperationID = uuid.New()
				b.want = append(b.want, e.OperationID)
			}
			r.Record(e)
		}
		if err := r.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.check(t)
		if got := value(t, reg, "speedybites_audit_failures_total", "record"); got != 2 {
			t.Errorf("dropped: got %v, want 2", got)
		}
	})

	t.Run("NoMoreThanFit", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		reg := prometheus.NewRegistry()
		cfg := b.config(b.healthy())
		cfg.Registerer = reg
		r, err := audit.NewRelay(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for range 1010 {
			r.Record(audit.Entry{Actor: audit.Actor{Role: audit.System}, Action: "open", Entity: "circuitBreaker", EntityID: uuid.New()})
		}
		if err := r.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := value(t, reg, "speedybites_audit_failures_total", "record"); got != 10 {
			t.Errorf("dropped: got %v, want 10", got)
		}
		if got := value(t, reg, "speedybites_audit_records_total"); got != 1001 {
			t.Errorf("lines: got %v, want 1001", got)
		}
		if report := b.verify(t); report.Break != nil || report.Lines != 1001 {
			t.Errorf("got %v, %+v", report.Break, report)
		}
	})
}

func TestMetrics(t *testing.T) {
	t.Parallel()

	t.Run("FromTheStart", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		reg := prometheus.NewRegistry()
		cfg := b.config(b.healthy())
		cfg.Registerer = reg
		if _, err := audit.NewRelay(cfg); err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for _, f := range gather(t, reg) {
			got[f.GetName()] = len(f.GetMetric())
			if !strings.HasSuffix(f.GetHelp(), ".") {
				t.Errorf("%s: the help is no sentence: %s", f.GetName(), f.GetHelp())
			}
		}
		want := map[string]int{
			"speedybites_audit_records_total": 1, "speedybites_audit_lag_seconds": 1, "speedybites_audit_pending_entries": 1,
			"speedybites_audit_fsync_duration_seconds": 1, "speedybites_audit_chain_sequence": 1,
			"speedybites_audit_failures_total": 8,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("series (-want +got):\n%s", diff)
		}
		if _, err := audit.NewRelay(cfg); err == nil {
			t.Error("got no error from registering twice")
		}
	})

	t.Run("Counted", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		reg := prometheus.NewRegistry()
		sink := b.healthy()
		sink.syncs = 0
		cfg := b.config(sink)
		cfg.Registerer = reg
		r, err := audit.NewRelay(cfg)
		if err != nil {
			t.Fatal(err)
		}
		b.add(t, 2)
		if _, err := b.raw.Exec(t.Context(), `UPDATE audit_log SET at = at - interval '1 hour'`); err != nil {
			t.Fatal(err)
		}
		if err := r.Drain(t.Context()); err == nil {
			t.Fatal("got no error from the sync")
		}
		for name, want := range map[string]float64{
			"speedybites_audit_records_total": 3, "speedybites_audit_pending_entries": 2,
			"speedybites_audit_fsync_duration_seconds": 0, "speedybites_audit_chain_sequence": 3,
		} {
			if got := value(t, reg, name); got != want {
				t.Errorf("%s: got %v, want %v", name, got, want)
			}
		}
		if got := value(t, reg, "speedybites_audit_failures_total", "sync"); got != 1 {
			t.Errorf("failed syncs: got %v, want 1", got)
		}
		if got := value(t, reg, "speedybites_audit_lag_seconds"); got < 3600 || got > 3900 {
			t.Errorf("lag: got %v, want an hour", got)
		}
		sink.syncs = -1
		b.add(t, 1)
		if err := r.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]float64{
			"speedybites_audit_records_total": 4, "speedybites_audit_pending_entries": 0, "speedybites_audit_lag_seconds": 0,
			"speedybites_audit_fsync_duration_seconds": 1, "speedybites_audit_chain_sequence": 4,
		} {
			if got := value(t, reg, name); got != want {
				t.Errorf("in the end, %s: got %v, want %v", name, got, want)
			}
		}
		b.check(t)
	})
}

func gather(t *testing.T, reg *prometheus.Registry) []*dto.MetricFamily {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// value returns the value of a series, or the count of a histogram.
func value(t *testing.T, reg *prometheus.Registry, name string, label ...string) float64 {
	t.Helper()
	for _, f := range gather(t, reg) {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (len(label) == 0 || m.GetLabel()[0].GetValue() == label[0]) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	t.Fatalf("no series %s %v", name, label)
	return 0
}

// sum returns the sum of all series of a counter.
func sum(t *testing.T, reg *prometheus.Registry, name string) (total float64) {
	t.Helper()
	for _, f := range gather(t, reg) {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				total += m.GetCounter().GetValue()
			}
		}
	}
	return total
}
