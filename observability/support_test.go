package observability_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"speedybites/observability"
)

// screen is a stderr.
type screen struct {
	mu     sync.Mutex
	text   bytes.Buffer
	writes atomic.Int64
}

func (s *screen) Write(p []byte) (int, error) {
	s.writes.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// open opens logs in a directory of their own, and closes them after the test.
func open(tb testing.TB, cfg observability.LogConfig, stderr io.Writer) (*observability.Logs, string) {
	tb.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(tb.TempDir(), "logs")
	}
	if cfg.MaxSizeMB == 0 {
		cfg.MaxSizeMB = 1
	}
	logs, err := observability.OpenLogs(cfg, stderr)
	if err != nil {
		tb.Fatalf("OpenLogs: %v", err)
	}
	tb.Cleanup(func() { shut(tb, logs) })
	return logs, cfg.Dir
}

// shut closes logs; their lines are on the disk then.
func shut(tb testing.TB, logs *observability.Logs) {
	tb.Helper()
	// A context of its own, for t.Context ends before the cleanups.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := logs.Close(ctx); err != nil {
		tb.Errorf("Close: %v", err)
	}
}

func read(tb testing.TB, path string) string {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

// parse checks that text is lines of JSON, and returns them.
func parse(tb testing.TB, text string) []map[string]any {
	tb.Helper()
	if text != "" && !strings.HasSuffix(text, "\n") {
		tb.Errorf("the last line is cut off: %.200q", text[max(0, len(text)-200):])
	}
	var lines []map[string]any
	for line := range strings.Lines(text) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			tb.Errorf("line %d is not JSON: %v: %.200q", len(lines)+1, err, line)
		}
		lines = append(lines, fields)
	}
	return lines
}

func messages(lines []map[string]any) []string {
	var list []string
	for _, line := range lines {
		list = append(list, fmt.Sprint(line["msg"]))
	}
	return list
}

// eventually waits until ok holds.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("gave up waiting for %s", what)
		}
	}
}

// statsOf returns the counts of one file.
func statsOf(tb testing.TB, logs *observability.Logs, name string) observability.FileStats {
	tb.Helper()
	list := logs.Stats()
	i := slices.IndexFunc(list, func(s observability.FileStats) bool { return s.Name == name })
	if i < 0 {
		tb.Fatalf("no stats of %s in %v", name, list)
	}
	return list[i]
}
