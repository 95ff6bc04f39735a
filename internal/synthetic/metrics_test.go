package synthetic_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"speedybites/internal/dbtest"
	"speedybites/internal/pgtest"
	"speedybites/internal/synthetic"
)

// TestMetricsFromTheStart: all series exist before the first probe.
func TestMetricsFromTheStart(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	_, err := synthetic.New(synthetic.Config{
		DB: dbtest.OpenDefault(t, pgtest.DB(t)), Interval: time.Second, Registerer: reg,
		Logger: slog.New(slog.DiscardHandler), Instance: "here",
	})
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("got %v, %v, want nothing to complain about", problems, err)
	}
	want := `
# HELP speedybites_synthetic_probe_last_success_timestamp_seconds When the test query was last answered, in seconds since the epoch; 0 for never.
# TYPE speedybites_synthetic_probe_last_success_timestamp_seconds gauge
speedybites_synthetic_probe_last_success_timestamp_seconds{probe="db_read"} 0
speedybites_synthetic_probe_last_success_timestamp_seconds{probe="db_write"} 0
# HELP speedybites_synthetic_probe_runs_total Runs of test queries by result: disconnected is a run that made no query, or gave one up, because the database was away, and rejected one that the circuit breaker or the full queue refused.
# TYPE speedybites_synthetic_probe_runs_total counter
speedybites_synthetic_probe_runs_total{probe="db_read",result="disconnected"} 0
speedybites_synthetic_probe_runs_total{probe="db_read",result="failure"} 0
speedybites_synthetic_probe_runs_total{probe="db_read",result="rejected"} 0
speedybites_synthetic_probe_runs_total{probe="db_read",result="success"} 0
speedybites_synthetic_probe_runs_total{probe="db_read",result="timeout"} 0
speedybites_synthetic_probe_runs_total{probe="db_write",result="disconnected"} 0
speedybites_synthetic_probe_runs_total{probe="db_write",result="failure"} 0
speedybites_synthetic_probe_runs_total{probe="db_write",result="rejected"} 0
speedybites_synthetic_probe_runs_total{probe="db_write",result="success"} 0
speedybites_synthetic_probe_runs_total{probe="db_write",result="timeout"} 0
# HELP speedybites_synthetic_probe_success 1 if the latest run of the test query was answered, 0 if it was not or none has ended yet.
# TYPE speedybites_synthetic_probe_success gauge
speedybites_synthetic_probe_success{probe="db_read"} 0
speedybites_synthetic_probe_success{probe="db_write"} 0
`
	err = testutil.GatherAndCompare(reg, strings.NewReader(want), "speedybites_synthetic_probe_success",
		"speedybites_synthetic_probe_runs_total", "speedybites_synthetic_probe_last_success_timestamp_seconds")
	if err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(reg, "speedybites_synthetic_probe_duration_seconds"); err != nil || n != 2 {
		t.Errorf("durations: got %d series, %v, want 2", n, err)
	}
}
