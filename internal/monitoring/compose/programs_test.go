package compose_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"speedybites/internal/monitoring/localstack"
)

// patience is how long a test waits for what is bound to happen, on a busy machine too.
const patience = 30 * time.Second

// running is a program that a test has started.
type running struct {
	cmd    *exec.Cmd
	output *lockedBuffer
	ended  chan struct{}
	err    error // set before ended is closed
}

// lockedBuffer is what a program has said so far.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// start runs a program until the test ends. What it says is shown if the test fails.
func start(t *testing.T, cmd *exec.Cmd) *running {
	t.Helper()
	r := &running{cmd: cmd, output: &lockedBuffer{}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = r.output, r.output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		r.err = cmd.Wait()
		close(r.ended)
	}()
	t.Cleanup(func() {
		r.stop(t, syscall.SIGKILL)
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(cmd.Path), r.output)
		}
	})
	return r
}

// stop ends the program with a signal.
func (r *running) stop(t *testing.T, signal syscall.Signal) {
	t.Helper()
	_ = r.cmd.Process.Signal(signal) // It may have ended by itself.
	select {
	case <-r.ended:
	case <-time.After(patience):
		t.Errorf("%s does not end", r.cmd.Path)
	}
}

// until waits for f to return nil. A program that has ended cannot make it so any more.
func (r *running) until(t *testing.T, f func() error) {
	t.Helper()
	if err := eventually(r.ended, f); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for f to return nil, unless gone is closed before.
func eventually[T any](gone <-chan T, f func() error) error {
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-gone:
			return fmt.Errorf("the program has ended: %w", err)
		case <-deadline:
			return fmt.Errorf("after %v: %w", patience, err)
		}
	}
}

// answers is a condition for until: the URL is answered with 200.
func answers(url string) func() error {
	return func() error {
		_, status, err := get(url)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%s: status %d", url, status)
		}
		return err
	}
}

func get(url string) (body string, status int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(resp.Body)
	return b.String(), resp.StatusCode, err
}

// haproxy is the path of the program.
var haproxy = sync.OnceValues(func() (string, error) {
	const elsewhere = "/usr/sbin/haproxy" // where Debian has it, which is not in everybody's PATH
	if _, err := os.Stat(elsewhere); err == nil {
		return elsewhere, nil
	}
	return localstack.Debian(context.Background(), "haproxy", "haproxy")
})

// collector is the path of the collector, built if there is none or its source has changed. That takes two minutes once.
var collector = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs(filepath.Join(root, ".tools"))
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "otelcol")
	cmd := exec.CommandContext(context.Background(), "go", "build", "-o", path, ".")
	cmd.Dir = "otelcol"
	// Linked on the file system that it goes to, it is renamed into place: another test, or one that is cut off, never
	// leaves a part of it there.
	cmd.Env = append(os.Environ(), "GOTMPDIR="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the collector: %w: %s", err, out)
	}
	return path, nil
})

// program is the path that a finder returns.
func program(t *testing.T, find func() (string, error)) string {
	t.Helper()
	path, err := find()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// freePort is a port of the loopback interface that was free just now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}

// run runs a program to its end.
func run(t *testing.T, cmd *exec.Cmd) (output string, code int) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
