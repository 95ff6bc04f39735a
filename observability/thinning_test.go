package observability_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"speedybites/observability"
)

func thinning() observability.Thinning {
	return observability.Thinning{First: 100, Every: 100, KeepAttrs: []string{"transition_id"}, KeepMessages: []string{"request"}}
}

// counts returns how often each message is in the lines, and the sum of what
// the summaries say was not written.
func counts(lines []map[string]any) (written map[string]int, missing int) {
	written = make(map[string]int)
	for _, line := range lines {
		if line["msg"] == "lines like this were not written" {
			missing += int(line["count"].(float64))
			continue
		}
		written[fmt.Sprint(line["msg"])]++
	}
	return written, missing
}

// readAll returns the text of a file and of those it was rotated to.
func readAll(tb testing.TB, pattern string) string {
	tb.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		tb.Fatal(err)
	}
	var text strings.Builder
	for _, path := range paths {
		text.WriteString(read(tb, path))
	}
	return text.String()
}

func register(tb testing.TB, logs *observability.Logs) *prometheus.Registry {
	tb.Helper()
	registry := prometheus.NewRegistry()
	if err := registry.Register(logs); err != nil {
		tb.Fatalf("Register: %v", err)
	}
	return registry
}

// TestStorm logs 10,000 equal errors in each of ten seconds, which it makes
// up, among them lines of other kinds.
func TestStorm(t *testing.T) {
	t.Parallel()
	logs, dir := open(t, observability.LogConfig{Thin: thinning()}, io.Discard)
	registry := register(t, logs)
	handler := logs.Logger().Handler()
	kept := handler.WithAttrs([]slog.Attr{slog.String("transition_id", "t-1")})
	began := time.Now().Truncate(time.Second).Add(time.Hour) // where the clock's own seconds do not interfere
	const seconds, each = 10, 10_000
	for second := range seconds {
		for i := range each {
			at := began.Add(time.Duration(second)*time.Second + time.Duration(i)*time.Second/each)
			log := func(to slog.Handler, level slog.Level, msg string, attrs ...slog.Attr) {
				r := slog.NewRecord(at, level, msg, 0)
				r.AddAttrs(attrs...)
				if err := to.Handle(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			log(handler, slog.LevelError, "query failed", slog.Int("i", i))
			if i%200 == 0 { // 50 a second of each
				log(handler, slog.LevelError, fmt.Sprint("rare ", second), slog.Int("i", i))
				log(handler, slog.LevelWarn, "query failed") // the level tells them apart
			}
			if i%50 == 0 { // 200 a second of each
				log(handler, slog.LevelWarn, "breaker", slog.String("transition_id", "t-2"))
				log(kept, slog.LevelWarn, "breaker opened")
				log(kept.WithGroup("g"), slog.LevelWarn, "breaker closed")
				log(handler, slog.LevelInfo, "request")
			}
		}
	}
	shut(t, logs)

	const perSecond = 100 + 9_900/100
	want := map[string]int{
		"query failed": seconds * (perSecond + 50), "breaker": seconds * 200, "breaker opened": seconds * 200,
		"breaker closed": seconds * 200, "request": seconds * 200,
	}
	for second := range seconds {
		want[fmt.Sprint("rare ", second)] = 50
	}
	written, missing := counts(parse(t, readAll(t, dir+"/app*.log")))
	if diff := cmp.Diff(want, written); diff != "" {
		t.Errorf("app.log (-want +got):\n%s", diff)
	}
	if want := seconds * (each - perSecond); missing != want {
		t.Errorf("summaries: got %d lines, want %d", missing, want)
	}
	if _, missing := counts(parse(t, read(t, dir+"/error.log"))); missing != seconds*(each-perSecond) {
		t.Errorf("summaries in error.log: got %d lines", missing)
	}
	for level, want := range map[string]int{
		"error": seconds * (each + 50), "warn": seconds * (50 + 3*200), "info": seconds * 200, "debug": 0,
	} {
		if got := value(t, registry, "speedybites_log_records_total", map[string]string{"level": level}); got != float64(want) {
			t.Errorf("%s: got %v, want %d", level, got, want)
		}
	}
	if got := value(t, registry, "speedybites_log_thinned_total", nil); got != float64(missing) {
		t.Errorf("thinned: got %v, want %d", got, missing)
	}
}

// TestStormInRealTime logs as fast as it can from many goroutines.
func TestStormInRealTime(t *testing.T) {
	t.Parallel()
	logs, dir := open(t, observability.LogConfig{Thin: thinning(), MaxSizeMB: 100}, io.Discard)
	registry := register(t, logs)
	const writers, each = 8, 10_000
	began := time.Now()
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for i := range each {
				logs.Logger().ErrorContext(t.Context(), "query failed", "i", i)
			}
		})
	}
	group.Wait()
	seconds := int(time.Since(began)/time.Second) + 2
	logs.Logger().Info("quiet")
	eventually(t, "the summary of a storm that has stopped", func() bool {
		written, missing := counts(parse(t, read(t, dir+"/app.log")))
		return written["query failed"]+missing == writers*each
	})
	if got := value(t, registry, "speedybites_log_records_total", map[string]string{"level": "error"}); got != writers*each {
		t.Errorf("records: got %v, want %d", got, writers*each)
	}
	written, _ := counts(parse(t, read(t, dir+"/error.log")))
	// The second is that of the record: two of them can be open at once.
	if most := seconds*200 + writers*each/100; written["query failed"] > most {
		t.Errorf("error.log: got %d lines in %d s, want at most %d", written["query failed"], seconds, most)
	}
}

// TestManyMessages must not make the table of messages grow.
func TestManyMessages(t *testing.T) {
	t.Parallel()
	logs, dir := open(t, observability.LogConfig{Thin: thinning()}, io.Discard)
	at := time.Now().Truncate(time.Second).Add(time.Hour)
	for i := range 20_000 {
		if err := logs.Logger().Handler().Handle(t.Context(), slog.NewRecord(at, slog.LevelInfo, fmt.Sprint("message ", i), 0)); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, logs)
	written, missing := counts(parse(t, readAll(t, dir+"/app*.log")))
	if len(written) < 1024 || len(written) > 3000 || len(written)+missing != 20_000 {
		t.Errorf("got %d lines and %d missing, want the first of them and 20000 in all", len(written), missing)
	}
}

func TestLogMetrics(t *testing.T) {
	t.Parallel()
	logs, dir := open(t, observability.LogConfig{}, io.Discard)
	other, _ := open(t, observability.LogConfig{}, io.Discard)
	registry, second := register(t, logs), register(t, other)
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: got %v, %v", problems, err)
	}
	for _, level := range []string{"debug", "info", "warn", "error"} {
		if got := value(t, registry, "speedybites_log_records_total", map[string]string{"level": level}); got != 0 {
			t.Errorf("%s: got %v, want 0", level, got)
		}
	}
	logs.Logger().Log(context.Background(), slog.LevelDebug-1, "below the level is no record")
	logs.Logger().Error("one")
	for _, file := range []string{"app.log", "error.log", "audit.log"} {
		label := map[string]string{"file": file}
		if got, want := value(t, registry, "speedybites_log_file_size_bytes", label), len(read(t, filepath.Join(dir, file))); got != float64(want) {
			t.Errorf("%s: got %v bytes, want %d", file, got, want)
		}
		for _, name := range []string{"speedybites_log_write_errors_total", "speedybites_log_lost_lines_total"} {
			if got := value(t, registry, name, label); got != 0 {
				t.Errorf("%s of %s: got %v, want 0", name, file, got)
			}
		}
	}
	if a, b := value(t, registry, "speedybites_log_records_total", nil), value(t, second, "speedybites_log_records_total", nil); a != 1 || b != 0 {
		t.Errorf("got %v and %v records, want 1 and 0", a, b)
	}
}

// TestDiskFree compares the metric with what df says, to a tenth: others write to the same disk.
func TestDiskFree(t *testing.T) {
	t.Parallel()
	logs, dir := open(t, observability.LogConfig{}, io.Discard)
	got := value(t, register(t, logs), "speedybites_log_disk_free_bytes", nil)
	out, err := exec.Command("df", "-Pk", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(strings.Split(string(out), "\n")[1])
	kib, err := strconv.ParseFloat(fields[3], 64)
	if err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if want := kib * 1024; math.Abs(got-want) > want/10 {
		t.Errorf("got %v bytes, df says %v", got, want)
	}
}

// TestUnwritableFolder has writes fail: the lines are on stderr, and counted.
func TestUnwritableFolder(t *testing.T) {
	t.Parallel()
	var stderr screen
	logs, dir := open(t, observability.LogConfig{}, &stderr)
	registry := register(t, logs)
	// The directory becomes a file: nothing can be created, whoever asks.
	if err := errors.Join(os.Rename(dir, dir+".away"), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		logs.Logger().Error("query failed")
	}
	if got := strings.Count(stderr.String(), `"msg":"query failed"`); got != 5 {
		t.Errorf("stderr: got the line %d times, want 5", got)
	}
	for file, want := range map[string]float64{"app.log": 5, "error.log": 5, "audit.log": 0} {
		for _, name := range []string{"speedybites_log_write_errors_total", "speedybites_log_lost_lines_total"} {
			if got := value(t, registry, name, map[string]string{"file": file}); got != want {
				t.Errorf("%s of %s: got %v, want %v", name, file, got, want)
			}
		}
	}
}
