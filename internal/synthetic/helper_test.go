package synthetic_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"speedybites/internal/dbtest"
	"speedybites/internal/localpg"
	"speedybites/internal/migrate"
	"speedybites/internal/pgtest"
	"speedybites/internal/postgres"
	"speedybites/internal/synthetic"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }

// patience bounds the wait for what must happen.
const patience = time.Minute

// fixture is a prober that runs.
type fixture struct {
	t   *testing.T
	db  *postgres.DB
	reg *prometheus.Registry
	log *lines
}

// start runs a prober until the test ends.
func start(t *testing.T, cfg postgres.Config, change func(*synthetic.Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, reg: prometheus.NewPedanticRegistry(), log: &lines{}}
	f.db = dbtest.Open(t, cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	c := synthetic.Config{
		DB: f.db, Interval: 20 * time.Millisecond, Timeout: patience, Registerer: f.reg,
		Logger: slog.New(slog.NewJSONHandler(f.log, nil)), Instance: "here",
	}
	if change != nil {
		change(&c)
	}
	prober, err := synthetic.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { prober.Run(ctx) })
	t.Cleanup(func() { // before the database closes
		cancel()
		running.Wait()
	})
	return f
}

// server starts a server of the test's own, with the service's schema.
func server(t *testing.T, configure ...func(*localpg.Config)) *localpg.Server {
	t.Helper()
	s := pgtest.Server(t, configure...)
	if _, err := migrate.Up(t.Context(), s.URL(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return s
}

// value returns a series: a gauge's or counter's value, or the number of a histogram's observations. It must exist.
func (f *fixture) value(name string, labels ...string) float64 {
	f.t.Helper()
	families, err := f.reg.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "speedybites_synthetic_probe_"+name {
			continue
		}
		for _, m := range family.GetMetric() {
			var have []string // sorted: probe, result
			for _, label := range m.GetLabel() {
				have = append(have, label.GetValue())
			}
			if slices.Equal(have, labels) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	f.t.Fatalf("no series %s%v", name, labels)
	return 0
}

// both reports whether a condition holds for the read and for the write probe.
func (f *fixture) both(condition func(probe string) bool) func() bool {
	return func() bool { return condition("db_read") && condition("db_write") }
}

func (f *fixture) succeeds(probe string) bool { return f.value("success", probe) == 1 }

func (f *fixture) eventually(what string, condition func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			f.t.Fatalf("waited %v for %s; status: %+v", patience, what, f.db.Status())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// lines collects a log.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// of returns the level, message and result of each line about a probe.
func (l *lines) of(t *testing.T, probe string) (list []string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for text := range strings.Lines(l.buf.String()) {
		var line struct{ Level, Msg, Probe, Result string }
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		if line.Probe == probe {
			list = append(list, strings.TrimSpace(line.Level+" "+line.Msg+" "+line.Result))
		}
	}
	return list
}
