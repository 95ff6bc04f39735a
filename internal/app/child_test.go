package app_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// child is the service as a process of its own, built as it is shipped: what it takes of memory is all its own, and not
// the test's or the race detector's.
type child struct {
	service

	ops string
	pid int
}

var (
	apiListens = regexp.MustCompile(`"msg":"listening","addr":"([^"]+)"`)
	opsListens = regexp.MustCompile(`"msg":"operators' pages listening","addr":"([^"]+)"`)
)

// startChild builds the service and runs it on a database.
func startChild(t *testing.T, databaseURL string, env ...string) *child {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "speedy-bites")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", binary, "speedybites/cmd/speedy-bites")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), binary)
	cmd.Dir = dir
	cmd.Env = append([]string{
		"APP_ENV=test", "HOST=127.0.0.1", "PORT=0", "METRICS_ADDR=127.0.0.1:0", "DATABASE_URL=" + databaseURL,
		"TOKEN_SECRET=" + strings.Repeat("s", 32), "PATH=" + os.Getenv("PATH"),
	}, env...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := <-ended; err != nil {
			t.Errorf("the service ended with %v", err)
		}
	})
	found := make(chan string, 2)
	go func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			for _, r := range []*regexp.Regexp{opsListens, apiListens} {
				if m := r.FindStringSubmatch(lines.Text()); m != nil {
					found <- m[1]
				}
			}
		}
		_, _ = io.Copy(io.Discard, stderr)
		ended <- cmd.Wait()
	}()
	c := &child{pid: cmd.Process.Pid, service: service{t: t, logs: filepath.Join(dir, "logs")}}
	for _, base := range []*string{&c.ops, &c.base} {
		select {
		case addr := <-found:
			*base = "http://" + addr
		case <-time.After(time.Minute):
			t.Fatal("the service does not listen")
		}
	}
	return c
}

// resident returns what the process takes of the machine's memory in MB, now ("VmRSS") or at most so far ("VmHWM").
func (c *child) resident(field string) float64 {
	c.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pid))
	if err != nil {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			if err != nil {
				c.t.Fatal(err)
			}
			return kb * 1024 / 1e6
		}
	}
	c.t.Fatalf("no %s in %s", field, status)
	return 0
}

// collect has the process collect its garbage, by asking for a profile that wants it so. It goes on to hand memory back
// to the system by itself.
func (c *child) collect() {
	c.t.Helper()
	if a, err := call(c.t.Context(), "GET", c.ops+"/debug/pprof/heap?gc=1", nil); err != nil || a.status != http.StatusOK {
		c.t.Fatal(a.status, err)
	}
}
