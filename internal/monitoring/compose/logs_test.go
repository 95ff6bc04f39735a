package compose_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace"
	collectorlogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"

	"speedybites/observability"
)

// line is one that has come to the store of logs.
type line struct {
	labels map[string]string
	*logsv1.LogRecord
}

// lines is a store of logs.
type lines struct {
	store *store
	mu    sync.Mutex
	list  []line
}

func newLines(t *testing.T) *lines {
	t.Helper()
	s := &lines{}
	s.store = newStore(t, "/otlp/v1/logs", func(body []byte) error {
		var m collectorlogs.ExportLogsServiceRequest
		if err := proto.Unmarshal(body, &m); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, r := range m.GetResourceLogs() {
			labels := texts(r.GetResource().GetAttributes())
			for _, scope := range r.GetScopeLogs() {
				for _, record := range scope.GetLogRecords() {
					s.list = append(s.list, line{labels, record})
				}
			}
		}
		return nil
	})
	return s
}

func texts(attrs []*common.KeyValue) map[string]string {
	m := map[string]string{}
	for _, kv := range attrs {
		m[kv.GetKey()] = kv.GetValue().GetStringValue()
	}
	return m
}

// of are the lines of one file of an instance, so far.
func (s *lines) of(instance, file string) []line {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []line
	for _, l := range s.list {
		if l.labels["instance"] == instance && l.labels["file"] == file {
			list = append(list, l)
		}
	}
	return list
}

// service has the log files of an instance of the API, written by the API's own code and, but for their size, as in the
// container.
func service(t *testing.T, c *collecting, name string) *observability.Logs {
	t.Helper()
	environment := shipped(t).Services[name].Environment
	compress, err := strconv.ParseBool(*environment["LOG_COMPRESS"])
	if err != nil {
		t.Fatal(err)
	}
	backups, err := strconv.Atoi(*environment["LOG_MAX_BACKUPS"])
	if err != nil {
		t.Fatal(err)
	}
	logs, err := observability.OpenLogs(observability.LogConfig{
		Dir: filepath.Join(c.logs, name), MaxSizeMB: 1, MaxBackups: backups, Compress: compress,
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = logs.Close(context.Background()) })
	return logs
}

// TestLogLine: what a line has on its arrival.
func TestLogLine(t *testing.T) {
	t.Parallel()
	got := newLines(t)
	c := newCollector(t, got.store.URL, got.store.URL)
	logs := service(t, c, "api-2")
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1, 2, 3}, SpanID: trace.SpanID{4, 5}})
	logs.Logger().WarnContext(trace.ContextWithSpanContext(t.Context(), span), "database lost", "attempt", 3)
	logs.Logger().ErrorContext(t.Context(), "no trace here")
	logs.Logger().InfoContext(t.Context(), "the last")

	c.Until(t, func() error {
		if n := len(got.of("api-2:9464", "app.log")); n != 3 {
			return fmt.Errorf("got %d lines of app.log, want 3", n)
		}
		if n := len(got.of("api-2:9464", "error.log")); n != 1 {
			return fmt.Errorf("got %d lines of error.log, want 1", n)
		}
		return nil
	})
	l := got.of("api-2:9464", "app.log")[0]
	labels := map[string]string{"job": "speedy-bites", "instance": "api-2:9464", "file": "app.log", "service.name": "speedy-bites"}
	if diff := cmp.Diff(labels, l.labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{}, texts(l.GetAttributes())); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if hex.EncodeToString(l.GetTraceId()) != span.TraceID().String() || hex.EncodeToString(l.GetSpanId()) != span.SpanID().String() {
		t.Errorf("got trace %x and span %x, want %s and %s", l.GetTraceId(), l.GetSpanId(), span.TraceID(), span.SpanID())
	}
	if l.GetSeverityNumber() != logsv1.SeverityNumber_SEVERITY_NUMBER_WARN || l.GetSeverityText() != "WARN" {
		t.Errorf("got severity %v %q", l.GetSeverityNumber(), l.GetSeverityText())
	}
	var body struct {
		Time    time.Time
		Msg     string
		Attempt int
	}
	if err := json.Unmarshal([]byte(l.GetBody().GetStringValue()), &body); err != nil || body.Msg != "database lost" || body.Attempt != 3 {
		t.Errorf("the line is %q (%v)", l.GetBody().GetStringValue(), err)
	}
	if stamp := time.Unix(0, int64(l.GetTimeUnixNano())); !stamp.Equal(body.Time) {
		t.Errorf("its time is %v, want %v", stamp, body.Time)
	}
	if second := got.of("api-2:9464", "app.log")[1]; len(second.GetTraceId()) != 0 {
		t.Errorf("a line without a trace has trace %x", second.GetTraceId())
	}
}

// TestLogTorn: what is no JSON comes through, too.
func TestLogTorn(t *testing.T) {
	t.Parallel()
	got := newLines(t)
	c := newCollector(t, got.store.URL, got.store.URL)
	dir := filepath.Join(c.logs, "api-1")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	want := []string{`{"time":"2026-01-02T03:04:05Z","level":"INFO","msg":"to`, `goroutine 1 [running]:`, `{"time":"never","level":"WEIRD","msg":"odd"}`}
	if err := os.WriteFile(filepath.Join(dir, "app.log"), []byte(strings.Join(want, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Until(t, func() error {
		var bodies []string
		for _, l := range got.of("api-1:9464", "app.log") {
			bodies = append(bodies, l.GetBody().GetStringValue())
		}
		if diff := cmp.Diff(want, bodies); diff != "" {
			return fmt.Errorf("lines (-want +got):\n%s", diff)
		}
		return nil
	})
}

// numbered are lines with a number in a log file of an instance, and what came of them.
type numbered struct {
	logs    *observability.Logs
	arrived *lines
	written int
}

// write writes n more lines, of some 390 bytes each.
func (l *numbered) write(t *testing.T, n int) {
	t.Helper()
	padding := strings.Repeat("x", 300)
	for range n {
		l.logs.Logger().LogAttrs(t.Context(), slog.LevelInfo, "request", slog.Int("number", l.written), slog.String("padding", padding))
		l.written++
	}
}

// missing is how many lines have not come, and how many came more than once.
func (l *numbered) missing() (lost, twice int, err error) {
	counts := make([]int, l.written)
	for _, got := range l.arrived.of("api-1:9464", "app.log") {
		var body struct{ Number int }
		if err := json.Unmarshal([]byte(got.GetBody().GetStringValue()), &body); err != nil {
			return 0, 0, fmt.Errorf("line %q: %w", got.GetBody().GetStringValue(), err)
		}
		counts[body.Number]++
	}
	for _, n := range counts {
		switch {
		case n == 0:
			lost++
		case n > 1:
			twice++
		}
	}
	return lost, twice, nil
}

// once is a condition: every line came once.
func (l *numbered) once() error {
	lost, twice, err := l.missing()
	if err == nil && lost+twice > 0 {
		err = fmt.Errorf("of %d lines, %d are lost and %d came twice", l.written, lost, twice)
	}
	return err
}

// TestLogsWhole: each line comes once, over rotations, while the store is away, and over a restart of the collector.
func TestLogsWhole(t *testing.T) {
	t.Parallel()
	got := newLines(t)
	c := newCollector(t, got.store.URL, got.store.URL)
	l := &numbered{logs: service(t, c, "api-1"), arrived: got}

	l.write(t, 9000) // about 3.5 MB: three rotations
	c.Until(t, l.once)

	got.store.away.Store(true)
	l.write(t, 3000)
	c.Until(t, func() error {
		if got.store.refused.Load() == 0 {
			return errors.New("the store has refused nothing yet")
		}
		return nil
	})
	got.store.away.Store(false)
	c.Until(t, l.once)

	c.end(t)
	l.write(t, 3000) // a rotation that it does not see
	c.begin(t)
	c.Until(t, l.once)
	if rotated, err := filepath.Glob(filepath.Join(c.logs, "api-1", "app-*")); err != nil || len(rotated) < 4 {
		t.Errorf("there were %d rotations (%v), want 4 or more", len(rotated), err)
	}
}
