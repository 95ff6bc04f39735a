package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// output collects what is printed while it is read.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// freePorts are the arguments that choose free ports for everything.
func freePorts() []string {
	return []string{
		"-api-1=0", "-api-2=0", "-api-1-metrics=0", "-api-2-metrics=0", "-prometheus=0", "-alertmanager=0", "-receiver=0",
		"-postgres-exporter=0",
	}
}

// newDir returns a directory that PostgreSQL's user can reach.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "stack-local-") //nolint:usetesting // Root's is closed to other users.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestRun does what the printed guide says.
func TestRun(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dir := newDir(t)
	keyboard, typing := io.Pipe()
	defer typing.Close()
	var stdout, stderr output
	ended := make(chan int, 1)
	go func() {
		args := append(freePorts(), "-dir", dir, "-load", "50")
		environ := []string{"DB_OUTAGE_GRACE_MS=0", "DATABASE_URL=postgres://nobody@192.0.2.1/none", "PORT=1"}
		ended <- run(ctx, args, environ, keyboard, &stdout, &stderr)
	}()
	waitFor := func(what string, condition func() bool) {
		t.Helper()
		for deadline := time.Now().Add(2 * time.Minute); !condition(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) || len(ended) > 0 {
				t.Fatalf("%s: not before the end\n%s%s", what, stdout.String(), stderr.String())
			}
		}
	}
	says := func(text string) func() bool { return func() bool { return strings.Contains(stdout.String(), text) } }
	typed := func(key, answer string) {
		t.Helper()
		fmt.Fprintln(typing, key)
		waitFor(key, says(answer))
	}

	waitFor("guide", says("What to watch"))
	health := regexp.MustCompile(`http://localhost:\d+/api/health`).FindString(stdout.String())
	metrics := regexp.MustCompile(`http://localhost:\d+/metrics`).FindString(stdout.String())
	waitFor("load", func() bool {
		return regexp.MustCompile(`_duration_seconds_count\{[^}]*http_route="/api/restaurants"[^}]*\} [1-9]`).MatchString(read(t, metrics))
	})
	typed("what", `"what" is none of k, 1, 2 and s`)
	typed("k", "PostgreSQL is killed")
	waitFor("open breaker", func() bool { return strings.Contains(read(t, health), `"state":"OPEN"`) })
	typed("1", "api-1 is killed")
	typed("2", "api-2 is killed")
	if got := read(t, health); got != "" {
		t.Errorf("a killed instance answers %s", got)
	}
	typed("s", "everything is running")
	waitFor("operational", func() bool { return strings.Contains(read(t, health), `"operational"`) })

	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("got code %d:\n%s", code, stderr.String())
	}
	if got := read(t, health) + read(t, metrics); got != "" {
		t.Errorf("after the end it answers %s", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "postgres", "data", "postmaster.pid")); err == nil {
		t.Error("PostgreSQL goes on")
	}
}

// read returns "" where nobody answers.
func read(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	return string(body)
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	args := append(freePorts(), "-dir", newDir(t), fmt.Sprintf("-prometheus=%d", port), fmt.Sprintf("-api-2-metrics=%d", port))
	var stderr output
	if code := run(t.Context(), args, nil, strings.NewReader(""), io.Discard, &stderr); code != 1 {
		t.Errorf("got code %d, want 1", code)
	}
	for _, want := range []string{
		fmt.Sprintf("port %d of prometheus: is taken by another program", port), "Stop what listens there",
		"make stack-local ARGS='-prometheus=0 -api-2-metrics=0'",
	} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("got %s\nwant it to say %s", stderr.String(), want)
		}
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]struct {
		code int
		says string
	}{
		"-help":                       {0, "-postgres-exporter port"},
		"-port 1":                     {2, "not defined: -port"},
		"there":                       {2, `unexpected argument "there"`},
		"-load -1":                    {2, "-load -1 is not between 0 and 1000"},
		"-prometheus 65536 -api-1 -1": {2, "-prometheus 65536 is not between 0 and 65535"},
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			var stderr output
			code := run(t.Context(), strings.Fields(args), nil, strings.NewReader(""), io.Discard, &stderr)
			if code != want.code || !strings.Contains(stderr.String(), want.says) {
				t.Errorf("got code %d and %s\nwant %d and %s", code, stderr.String(), want.code, want.says)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	got := settings([]string{"HOME=/root", "DB_POOL_MAX=5", "PORT=1", "DATABASE_URL=x", "LOG_LEVEL=debug", "LOG_DIR=/tmp", "OTEL_SDK_DISABLED=true"})
	if want := "DB_POOL_MAX=5 LOG_LEVEL=debug OTEL_SDK_DISABLED=true"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
