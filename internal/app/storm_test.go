package app_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"speedybites/internal/pgtest"
	"speedybites/internal/postgres"
	"speedybites/internal/postgres/breaker"
	"speedybites/observability/otlptest"
)

// brief is how long something goes on in a quick run of the tests.
func brief(d time.Duration) time.Duration {
	if testing.Short() {
		return d / 3
	}
	return d
}

// phase runs a load for a while, and returns the 99th percentile of its requests' times. None may fail.
func phase(t *testing.T, s *observed, token, name string, length time.Duration) time.Duration {
	t.Helper()
	g := newLoad(s.base, token, 100)
	stop := make(chan struct{})
	time.AfterFunc(brief(length), func() { close(stop) })
	g.Run(t.Context(), stop)
	entries := g.Ledger().Entries()
	took := make([]time.Duration, 0, len(entries))
	for _, e := range entries {
		if e.Failed() {
			t.Errorf("%s: request failed: %+v", name, e)
		}
		took = append(took, e.Took())
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	t.Logf("%s: %d requests, p99 %v, longest %v", name, len(took), p99, took[len(took)-1])
	return p99
}

// TestTelemetryFailsOpen has the collector stall and refuse, and the log directory vanish, under load. It does not run
// beside other tests: it compares response times.
func TestTelemetryFailsOpen(t *testing.T) {
	pgtest.Slow(t)
	receiver := otlptest.Start(t)
	server := pgtest.Server(t)
	s := observe(t, server.URL(), append(grpcTo(receiver), "OTEL_BSP_MAX_QUEUE_SIZE=256", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=64",
		"OTEL_BSP_EXPORT_TIMEOUT=500", "OTEL_EXPORTER_OTLP_TIMEOUT=500")...)
	s.withDemo()
	token := s.customer()
	phase(t, s, token, "warming up", time.Second)
	healthy := phase(t, s, token, "accepting", 3*time.Second)
	limit := max(3*healthy, 250*time.Millisecond) // a busy machine's pauses are no fault of the collector
	check := func(name string, p99 time.Duration) {
		t.Helper()
		if p99 > limit {
			t.Errorf("%s: p99 %v, want at most %v", name, p99, limit)
		}
	}

	receiver.Set(otlptest.Stall)
	check("stalling", phase(t, s, token, "stalling", 4*time.Second))
	full := s.scrape().sum(t, "speedybites_telemetry_spans_dropped_total", "reason", "queue_full")
	receiver.Set(otlptest.Refuse)
	check("refusing", phase(t, s, token, "refusing", 3*time.Second))
	failed := s.scrape().sum(t, "speedybites_telemetry_spans_dropped_total", "reason", "export_failed")
	if full == 0 || failed == 0 {
		t.Errorf("%v spans dropped for a full queue, %v for failed exports, want some", full, failed)
	}
	receiver.Set(otlptest.Accept)
	exported := func() float64 { return s.scrape().sum(t, "speedybites_telemetry_spans_exported_total") }
	before := exported()
	s.call("GET", "/api/restaurants", nil)
	eventually(t, "spans to be exported again", func() bool { return exported() > before })

	// Whoever runs as root is not held up by permissions, but by a file where the directory should be.
	if err := errors.Join(os.Rename(s.logs, s.logs+".away"), os.WriteFile(s.logs, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	check("without logs", phase(t, s, token, "without logs", 3*time.Second))
	metrics := s.scrape()
	for _, file := range []string{"app.log", "audit.log"} {
		if n := metrics.sum(t, "speedybites_log_write_errors_total", "file", file); n == 0 {
			t.Errorf("no failed write to %s was counted", file)
		}
	}
	if err := errors.Join(os.Remove(s.logs), os.Rename(s.logs+".away", s.logs)); err != nil {
		t.Fatal(err)
	}
	phase(t, s, token, "with logs again", time.Second)
	eventually(t, "the audit log to catch up", func() bool {
		return s.scrape().sum(t, "speedybites_audit_pending_entries") == 0
	})
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(s.log(t, "app.log"), "log file is written again") && !strings.Contains(s.stderr.String(), "log file is written again") {
		t.Error("nobody was told that the logs are written again")
	}
	verifyAudit(t, s)
}

// hammer has clients make requests, one after the other, until the time is over. It returns the number of answers by
// status and the 99th percentile of their times.
func hammer(t *testing.T, target string, clients int, length time.Duration) (statuses map[int]int, p99 time.Duration) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	var (
		mu   sync.Mutex
		took []time.Duration
		wg   sync.WaitGroup
	)
	statuses = map[int]int{}
	end := time.Now().Add(length)
	for range clients {
		wg.Go(func() {
			for time.Now().Before(end) {
				begin := time.Now()
				resp, err := client.Get(target)
				if err != nil {
					t.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, resp.Body)
				if err = errors.Join(err, resp.Body.Close()); err != nil {
					t.Error(err)
				}
				mu.Lock()
				statuses[resp.StatusCode]++
				took = append(took, time.Since(begin))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	p99 = took[len(took)*99/100]
	t.Logf("%v: %d requests a second, by status %v, p99 %v", length, len(took)*int(time.Second)/int(length), statuses, p99)
	return statuses, p99
}

// size returns the size in bytes of a log file and its backups.
func (o *observed) size(name string) (bytes int64) {
	o.t.Helper()
	base := strings.TrimSuffix(name, ".log")
	files, err := filepath.Glob(o.logs + "/" + base + "*")
	if err != nil {
		o.t.Fatal(err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if errors.Is(err, fs.ErrNotExist) { // a backup that was deleted since
			continue
		}
		if err != nil {
			o.t.Fatal(err)
		}
		bytes += info.Size()
	}
	return bytes
}

// storming is the environment of a log storm: nothing but the log is in the way of failing calls, and little may be kept.
var storming = []string{
	"DB_BREAKER_THRESHOLD=10000", "DB_OUTAGE_GRACE_MS=0", "DB_RETRY_BASE_MS=1",
	"LOG_MAX_SIZE_MB=1", "LOG_MAX_BACKUPS=2", "LOG_COMPRESS=false",
}

// stormLength is how long a storm goes on.
func stormLength() time.Duration { return brief(5 * time.Second) }

// records returns the number of records logged at a level.
func (o *observed) records(level string) float64 {
	return o.scrape().sum(o.t, "speedybites_log_records_total", "level", level)
}

// TestLogStorm makes as many calls fail as the machine can. The subtests do not run beside each other or other tests.
func TestLogStorm(t *testing.T) {
	pgtest.Slow(t)
	t.Run("Unavailable", stormOfUnavailable)
	t.Run("Errors", stormOfErrors)
	t.Run("Losses", stormOfLosses)
	t.Run("Conflicts", stormOfConflicts)
}

// stormOfUnavailable has every request answered with 503: one WARN each, its access log line.
func stormOfUnavailable(t *testing.T) {
	server := pgtest.Server(t)
	s := observe(t, server.URL(), append(storming, "DB_RETRY_ATTEMPTS=1")...)
	s.withDemo()
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	// What the loss itself is told with is over then.
	eventually(t, "the loss to be noticed", func() bool { h, _ := s.health(); return h.Database.Status == "Disconnected" })
	s.call("GET", "/api/restaurants", nil)
	time.Sleep(500 * time.Millisecond)
	warnings, failures := s.records("warn"), s.records("error")
	statuses, p99 := hammer(t, s.base+"/api/restaurants", 32, stormLength())
	if len(statuses) != 1 || statuses[http.StatusServiceUnavailable] == 0 {
		t.Errorf("got %v, want only 503", statuses)
	}
	want := warnings + float64(statuses[http.StatusServiceUnavailable])
	eventually(t, "all to be counted", func() bool { return s.records("warn") >= want })
	if got := s.records("warn"); got != want {
		t.Errorf("%v warnings were counted, want %v", got-warnings, want-warnings)
	}
	opened := s.scrape().sum(t, "speedybites_circuit_breaker_transitions_total", "to", "open")
	if got := s.records("error") - failures; got != opened {
		t.Errorf("%v errors were counted, the breaker opened %v times", got, opened)
	}
	checkStorm(t, s, p99)
}

// stormOfErrors has every request answered with 500: one ERROR each, and a WARN in the access log.
func stormOfErrors(t *testing.T) {
	server := pgtest.Server(t)
	s := observe(t, server.URL(), storming...)
	s.withDemo()
	if _, err := connect(t, server.AdminURL("")).Exec(t.Context(), "alter table restaurants rename to gone"); err != nil {
		t.Fatal(err)
	}
	warnings, failures := s.records("warn"), s.records("error")
	statuses, p99 := hammer(t, s.base+"/api/restaurants", 32, stormLength())
	if len(statuses) != 1 || statuses[http.StatusInternalServerError] == 0 {
		t.Errorf("got %v, want only 500", statuses)
	}
	requests := float64(statuses[http.StatusInternalServerError])
	eventually(t, "all to be counted", func() bool { return s.records("warn") >= warnings+requests })
	if e, w := s.records("error")-failures, s.records("warn")-warnings; e != requests || w != requests {
		t.Errorf("%v errors and %v warnings were counted for %v requests", e, w, requests)
	}
	thinned := s.scrape().sum(t, "speedybites_log_thinned_total")
	checkStorm(t, s, p99)
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	written := float64(strings.Count(s.log(t, "error.log"), `"msg":"request failed"`))
	t.Logf("%v lines written, %v thinned", written, thinned)
	if written+thinned != requests {
		t.Errorf("%v lines were written and %v thinned, of %v", written, thinned, requests)
	}
	// 100 a second and every 100th further one; the storm touches up to two seconds more than it lasts.
	if limit := 100*(math.Ceil(stormLength().Seconds())+2) + requests/100; written > limit {
		t.Errorf("%v lines were written, want at most %v", written, limit)
	}
}

// checkStorm checks that the logs did not grow beyond what they may keep, and requests waited no longer than they must.
func checkStorm(t *testing.T, s *observed, p99 time.Duration) {
	t.Helper()
	const mib = 1 << 20
	eventually(t, "old backups to be deleted", func() bool { return s.size("app.log") <= 3*mib && s.size("error.log") <= 3*mib })
	t.Logf("app.log has %d KiB with its backups, error.log %d KiB", s.size("app.log")>>10, s.size("error.log")>>10)
	if p99 > time.Second {
		t.Errorf("p99 %v, want at most 1s", p99)
	}
}

// callers calls the database layer itself, from many goroutines until the time is over, and returns the number of
// errors by what told says they are.
func callers(t *testing.T, s *observed, length time.Duration, query func() error, told func(error) string) map[string]int {
	t.Helper()
	var (
		mu     sync.Mutex
		counts = map[string]int{}
		wg     sync.WaitGroup
	)
	end := time.Now().Add(length)
	for range 128 {
		wg.Go(func() {
			mine := map[string]int{}
			for time.Now().Before(end) {
				mine[told(s.app.DB().Read(t.Context(), "catalog.menu", func(context.Context, postgres.Querier) error { return query() }))]++
			}
			mu.Lock()
			defer mu.Unlock()
			for what, n := range mine {
				counts[what] += n
			}
		})
	}
	wg.Wait()
	t.Logf("%v: %v calls", length, counts)
	return counts
}

// checkCalls compares what the callers were told with what was counted: one WARN for each failed call, for its second
// attempt, and none for a refused one.
func checkCalls(t *testing.T, s *observed, before scraped, failed, refused int) {
	t.Helper()
	after := s.scrape()
	more := func(name string, labels ...string) int {
		return int(after.sum(t, name, labels...) - before.sum(t, name, labels...))
	}
	calls := func(result string) int {
		return more("speedybites_db_calls_total", "db_query_summary", "catalog.menu", "result", result)
	}
	got := []int{calls("failed_after_retry"), calls("refused_breaker"), more("speedybites_log_records_total", "level", "warn")}
	if want := []int{failed, refused, failed}; !slices.Equal(got, want) {
		t.Errorf("failed calls, refused calls and warnings: got %v, want %v", got, want)
	}
	thinned := more("speedybites_log_thinned_total")
	checkStorm(t, s, 0)
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	written := 0 // a machine that is fast fills more than one file
	files, err := filepath.Glob(filepath.Join(s.logs, "app*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		for line := range strings.Lines(s.log(t, filepath.Base(file))) { // the relay may have retried something as well
			if strings.Contains(line, `"msg":"query retried"`) && strings.Contains(line, `"query":"catalog.menu"`) {
				written++
			}
		}
	}
	t.Logf("%d lines written, %d thinned", written, thinned)
	if written+thinned != failed {
		t.Errorf("%d lines were written and %d thinned, of %d", written, thinned, failed)
	}
}

// stormOfLosses calls a database that is away until the breaker opens, and then on.
func stormOfLosses(t *testing.T) {
	server := pgtest.Server(t)
	s := observe(t, server.URL(), append(storming, "DB_RETRY_ATTEMPTS=2")...)
	s.withDemo()
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss to be noticed", func() bool { h, _ := s.health(); return h.Database.Status == "Disconnected" })
	time.Sleep(500 * time.Millisecond)
	before := s.scrape()
	counts := callers(t, s, stormLength(), func() error { return nil }, func(err error) string {
		switch {
		case errors.Is(err, breaker.ErrOpen):
			return "refused"
		case errors.Is(err, postgres.ErrUnavailable):
			return "failed"
		}
		return fmt.Sprint(err)
	})
	if len(counts) != 2 {
		t.Errorf("got %v, want only failed and refused calls", counts)
	}
	checkCalls(t, s, before, counts["failed"], counts["refused"])
}

// stormOfConflicts has calls fail that the breaker has nothing against, as fast as the machine can, while a customer
// makes a request now and then.
func stormOfConflicts(t *testing.T) {
	server := pgtest.Server(t)
	s := observe(t, server.URL(), append(storming, "DB_RETRY_ATTEMPTS=2", "DB_MAX_WAITING=1000")...)
	s.withDemo()
	s.call("GET", "/api/restaurants", nil)
	before := s.scrape()
	stop, slowest := make(chan struct{}), make(chan time.Duration)
	go func() {
		longest := time.Duration(0)
		defer func() { slowest <- longest }()
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			a := s.call("GET", "/api/restaurants", nil)
			longest = max(longest, a.took)
			if a.status != http.StatusOK {
				t.Errorf("a customer got %d %s", a.status, a.body)
			}
		}
	}()
	conflict := &pgconn.PgError{Code: "40001", Message: "could not serialize access"}
	counts := callers(t, s, 2*stormLength(), func() error { return conflict }, func(err error) string {
		if errors.Is(err, postgres.ErrConflict) {
			return "failed"
		}
		return fmt.Sprint(err)
	})
	close(stop)
	if longest := <-slowest; longest > 2*time.Second {
		t.Errorf("a customer waited %v", longest)
	}
	if len(counts) != 1 {
		t.Errorf("got %v, want only conflicts", counts)
	}
	checkCalls(t, s, before, counts["failed"], 0)
}
