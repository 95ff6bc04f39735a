package observability_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"speedybites/observability"
)

func TestMain(m *testing.M) {
	// lumberjack's goroutine that compresses and deletes never ends.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"))
}

func TestLogs(t *testing.T) {
	t.Parallel()

	t.Run("LevelsAndFiles", func(t *testing.T) {
		t.Parallel()
		var stderr screen
		logs, dir := open(t, observability.LogConfig{Level: slog.LevelInfo}, &stderr)
		log := logs.Logger()
		log.Debug("debug")
		log.Info("info")
		log.Warn("warn")
		log.Error("error", "error", errors.New("because"))
		log.Log(t.Context(), slog.LevelError+4, "worse")
		shut(t, logs)

		app, failed := parse(t, read(t, dir+"/app.log")), parse(t, read(t, dir+"/error.log"))
		if diff := cmp.Diff([]string{"info", "warn", "error", "worse"}, messages(app)); diff != "" {
			t.Errorf("app.log (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"error", "worse"}, messages(failed)); diff != "" {
			t.Errorf("error.log (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(app, parse(t, stderr.String())); diff != "" {
			t.Errorf("stderr differs from app.log (-want +got):\n%s", diff)
		}
		if failed[0]["level"] != "ERROR" || failed[0]["error"] != "because" {
			t.Errorf("got %v", failed[0])
		}
		for _, line := range app {
			at, err := time.Parse(time.RFC3339, fmt.Sprint(line["time"]))
			if err != nil || !strings.HasSuffix(fmt.Sprint(line["time"]), "Z") || time.Since(at).Abs() > time.Hour {
				t.Errorf("time: got %v (%v), want now in UTC", line["time"], err)
			}
		}
		for name, want := range map[string]os.FileMode{"": 0o750 | os.ModeDir, "app.log": 0o600, "error.log": 0o600, "audit.log": 0o600} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil || info.Mode() != want {
				t.Errorf("%q: got %v, %v, want %v", name, info.Mode(), err, want)
			}
		}
	})

	t.Run("Terminal", func(t *testing.T) {
		t.Parallel()
		var stderr screen
		logs, dir := open(t, observability.LogConfig{Terminal: true}, &stderr)
		logs.Logger().Error("listening", "port", 4000, "token", "t0ps3cret")
		shut(t, logs)
		if got := stderr.String(); !strings.Contains(got, "level=ERROR msg=listening port=4000 token=[redacted]\n") {
			t.Errorf("stderr: got %q", got)
		}
		if got := parse(t, read(t, dir+"/app.log")); len(got) != 1 || got[0]["port"] != 4000.0 {
			t.Errorf("app.log: got %v", got)
		}
	})

	t.Run("ErrorsAreThereAtOnce", func(t *testing.T) {
		t.Parallel()
		var stderr screen
		logs, dir := open(t, observability.LogConfig{}, &stderr)
		logs.Logger().Info("before")
		logs.Logger().Error("now")
		for place, text := range map[string]string{
			"app.log": read(t, dir+"/app.log"), "error.log": read(t, dir+"/error.log"), "stderr": stderr.String(),
		} {
			if !strings.Contains(text, `"msg":"now"`) || (place != "error.log" && !strings.Contains(text, `"msg":"before"`)) {
				t.Errorf("%s: got %q", place, text)
			}
		}
	})

	t.Run("OthersAreThereSoon", func(t *testing.T) {
		t.Parallel()
		logs, dir := open(t, observability.LogConfig{}, io.Discard)
		logs.Logger().Info("soon")
		eventually(t, "the line", func() bool { return strings.Contains(read(t, dir+"/app.log"), "soon") })
	})

	t.Run("LinesAreWrittenTogether", func(t *testing.T) {
		t.Parallel()
		var stderr screen
		logs, _ := open(t, observability.LogConfig{}, &stderr)
		const lines = 20_000
		for i := range lines {
			logs.Logger().Info("request", "i", i)
		}
		shut(t, logs)
		if got := len(parse(t, stderr.String())); got != lines {
			t.Errorf("got %d lines, want %d", got, lines)
		}
		// A full buffer has some 800 lines; a slow machine flushes before that.
		const most = lines / 20
		if got := stderr.writes.Load(); got > most {
			t.Errorf("got %d writes, want at most %d", got, most)
		}
	})

	t.Run("UnusableDir", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := observability.OpenLogs(observability.LogConfig{Dir: file, MaxSizeMB: 1}, io.Discard)
		if want := "open log directory " + file; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	})

	t.Run("UnusableFile", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		if err := os.Mkdir(dir+"/error.log", 0o700); err != nil {
			t.Fatal(err)
		}
		_, err := observability.OpenLogs(observability.LogConfig{Dir: dir, MaxSizeMB: 1}, io.Discard)
		if err == nil || !strings.Contains(err.Error(), "error.log") {
			t.Errorf("got %v, want it to name error.log", err)
		}
	})
}

func TestHandler(t *testing.T) {
	t.Parallel()
	type key struct{}
	cfg := observability.LogConfig{AttrsFromContext: func(ctx context.Context) []slog.Attr {
		if id, ok := ctx.Value(key{}).(string); ok {
			return []slog.Attr{slog.String("requestId", id)} //nolint:sloglint // as the program names it
		}
		return nil
	}}
	logs, dir := open(t, cfg, io.Discard)
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	ctx := trace.ContextWithSpanContext(context.WithValue(t.Context(), key{}, "r-1"), span)
	log := logs.Logger()

	log.InfoContext(ctx, "ids", "a", 1)
	log.With("a", 1).WithGroup("g").With("b", 2).WithGroup("h").With("c", 3).ErrorContext(ctx, "groups", "d", 4)
	log.WithGroup("").InfoContext(t.Context(), "no ids")
	//nolint:sloglint // keys of every style must be caught
	log.Info("secrets", "password", "p4ss", "DB_PASSWORD", "p4ss", "Authorization", "p4ss", "tokenSecret", "p4ss",
		"in", slog.GroupValue(slog.String("access_token", "p4ss"), slog.String("user", "u")),
		"token", slog.GroupValue(slog.String("text", "p4ss")), "token_ttl", "1h")
	shut(t, logs)

	lines := parse(t, read(t, dir+"/app.log"))
	for _, line := range lines {
		delete(line, "time")
		delete(line, "level")
	}
	ids := func(line map[string]any) map[string]any {
		line["requestId"], line["traceId"], line["spanId"] = "r-1", span.TraceID().String(), span.SpanID().String()
		return line
	}
	want := []map[string]any{
		ids(map[string]any{"msg": "ids", "a": 1.0}),
		ids(map[string]any{"msg": "groups", "a": 1.0, "g": map[string]any{"b": 2.0, "h": map[string]any{"c": 3.0, "d": 4.0}}}),
		{"msg": "no ids"},
		{
			"msg": "secrets", "password": "[redacted]", "DB_PASSWORD": "[redacted]", "Authorization": "[redacted]",
			"tokenSecret": "[redacted]", "in": map[string]any{"access_token": "[redacted]", "user": "u"},
			"token": "[redacted]", "token_ttl": "1h",
		},
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("app.log (-want +got):\n%s", diff)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()

	t.Run("LaterLinesGoToStderr", func(t *testing.T) {
		t.Parallel()
		var stderr screen
		logs, dir := open(t, observability.LogConfig{}, &stderr)
		logs.Logger().Info("before")
		shut(t, logs)
		shut(t, logs)
		logs.Logger().Info("after")
		logs.Logger().Error("after")
		if diff := cmp.Diff([]string{"before"}, messages(parse(t, read(t, dir+"/app.log")))); diff != "" {
			t.Errorf("app.log (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"before", "after", "after"}, messages(parse(t, stderr.String()))); diff != "" {
			t.Errorf("stderr (-want +got):\n%s", diff)
		}
		if _, err := logs.Audit().Write([]byte("{}\n")); !errors.Is(err, os.ErrClosed) {
			t.Errorf("audit: got %v, want %v", err, os.ErrClosed)
		}
		if err := logs.Audit().Sync(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("sync: got %v, want %v", err, os.ErrClosed)
		}
	})

	t.Run("IsBounded", func(t *testing.T) {
		t.Parallel()
		reader, writer := io.Pipe() // a stderr that nobody reads
		logs, dir := open(t, observability.LogConfig{}, writer)
		logs.Logger().Info("stuck")
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := logs.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
		if got := parse(t, read(t, dir+"/app.log")); len(got) != 1 {
			t.Errorf("app.log: got %v, want the line", got)
		}
		if err := reader.Close(); err != nil {
			t.Fatal(err)
		}
		shut(t, logs)
	})
}

func TestIsTerminal(t *testing.T) {
	t.Parallel()
	if observability.IsTerminal(&bytes.Buffer{}) {
		t.Error("a buffer: got true")
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	if observability.IsTerminal(file) {
		t.Error("a file: got true")
	}
}
