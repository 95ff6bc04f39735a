package observability_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"speedybites/observability"
)

// TestRotation writes from many goroutines through rotations, and wants each
// line once and whole.
func TestRotation(t *testing.T) {
	t.Parallel()
	const writers, each = 8, 2500
	logs, dir := open(t, observability.LogConfig{}, io.Discard)
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			log, pad := logs.Logger().With("writer", w), strings.Repeat("x", 150+w)
			for i := range each {
				level := slog.LevelInfo
				if i%10 == 0 {
					level = slog.LevelError
				}
				log.Log(t.Context(), level, "line", "i", i, "pad", pad)
				if _, err := fmt.Fprintf(logs.Audit(), `{"writer":%d,"i":%d,"pad":%q}`+"\n", w, i, pad); err != nil {
					t.Errorf("audit: %v", err)
				}
				if i%500 == 0 {
					if err := logs.Audit().Sync(); err != nil {
						t.Errorf("sync: %v", err)
					}
				}
			}
		})
	}
	group.Wait()
	shut(t, logs)

	for stream, want := range map[string]int{"app": writers * each, "error": writers * each / 10, "audit": writers * each} {
		paths, err := filepath.Glob(filepath.Join(dir, stream+"*.log"))
		if err != nil || (stream != "error" && len(paths) < 3) {
			t.Fatalf("%s: got files %v, %v, want at least two rotations", stream, paths, err)
		}
		seen := make(map[string]int)
		for _, path := range paths {
			text := read(t, path)
			if len(text) > 1<<20 {
				t.Errorf("%s has %d bytes, want at most 1 MiB", path, len(text))
			}
			for _, line := range parse(t, text) {
				seen[fmt.Sprint(line["writer"], "/", line["i"])]++
			}
		}
		if len(seen) != want {
			t.Errorf("%s: got %d lines, want %d", stream, len(seen), want)
		}
		for id, count := range seen {
			if count != 1 {
				t.Errorf("%s: got line %s %d times", stream, id, count)
			}
		}
	}
	for _, stats := range logs.Stats() {
		if stats.WriteErrors != 0 || stats.LostLines != 0 {
			t.Errorf("got %+v, want no errors", stats)
		}
	}
}

// TestRotationAtFullSpeed rotates with every write: names made of milliseconds
// would collide.
func TestRotationAtFullSpeed(t *testing.T) {
	t.Parallel()
	logs, dir := open(t, observability.LogConfig{}, io.Discard)
	line := []byte(strings.Repeat("x", 600<<10) + "\n")
	const lines = 20
	for range lines {
		if _, err := logs.Audit().Write(line); err != nil {
			t.Fatalf("Write: %v", err)
		}
	}
	paths, err := filepath.Glob(filepath.Join(dir, "audit*.log"))
	if err != nil || len(paths) != lines {
		t.Errorf("got %d files, %v, want %d", len(paths), err, lines)
	}
}

func TestEnormousLines(t *testing.T) {
	t.Parallel()
	var stderr screen
	logs, dir := open(t, observability.LogConfig{}, &stderr)
	pad := strings.Repeat("x", 3<<20)
	logs.Logger().Info("before")
	logs.Logger().Info(pad)
	logs.Logger().Error(pad)
	logs.Logger().Info("after")
	for range 2 {
		if n, err := fmt.Fprintf(logs.Audit(), "{\"pad\":%q}\n", pad); err != nil || n != len(pad)+len("{\"pad\":\"\"}\n") {
			t.Errorf("audit: got %d, %v", n, err)
		}
	}
	shut(t, logs)
	for stream, want := range map[string]int{"app": 4, "error": 1, "audit": 2} {
		paths, err := filepath.Glob(filepath.Join(dir, stream+"*.log"))
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, path := range paths {
			got += len(parse(t, read(t, path)))
		}
		if got != want {
			t.Errorf("%s: got %d lines in %d files, want %d", stream, got, len(paths), want)
		}
	}
	if got := len(parse(t, stderr.String())); got != 4 {
		t.Errorf("stderr: got %d lines, want 4", got)
	}
}

func TestCompressAndDelete(t *testing.T) {
	t.Parallel()
	logs, dir := open(t, observability.LogConfig{MaxBackups: 2, Compress: true}, io.Discard)
	pad := strings.Repeat("x", 100<<10)
	for range 100 {
		logs.Logger().Info(pad)
	}
	shut(t, logs)
	eventually(t, "two compressed files", func() bool {
		packed, err1 := filepath.Glob(dir + "/app-*.log.gz")
		plain, err2 := filepath.Glob(dir + "/app-*.log")
		return errors.Join(err1, err2) == nil && len(packed) == 2 && len(plain) == 0
	})
}
