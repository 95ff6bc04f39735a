// Package proctest runs programs for tests: until the test ends, on the loopback interface, with the end of what they say
// shown if the test fails.
package proctest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"speedybites/internal/localpg"
)

// Patience is how long a test waits for what is bound to happen, on a busy machine too.
const Patience = 30 * time.Second

// shown is how much of what a program said is shown if the test fails, in bytes.
const shown = 16 << 10

// Process is a program that a test has started.
type Process struct {
	cmd    *exec.Cmd
	output *output
	ended  chan struct{}
	err    error // set before ended is closed
}

// output is what a program has said so far.
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

// Start runs a program until the test ends, also if the test is killed then (see [Tie]).
//
// It is waited for on a thread of its own: Linux takes the end of the thread that forked for ours (golang/go#27505).
func Start(tb testing.TB, cmd *exec.Cmd) *Process {
	tb.Helper()
	p := &Process{cmd: cmd, output: &output{}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	if cmd.SysProcAttr == nil {
		Tie(cmd, syscall.SIGKILL)
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		p.Stop(tb, syscall.SIGKILL)
		if tb.Failed() {
			said := p.Output()
			tb.Logf("%s said, at the end:\n%s", filepath.Base(cmd.Path), said[max(0, len(said)-shown):])
		}
	})
	return p
}

// Output is what the program has said so far.
func (p *Process) Output() string { return p.output.String() }

// Stop sends the program a signal and waits for its end.
func (p *Process) Stop(tb testing.TB, signal syscall.Signal) {
	tb.Helper()
	_ = p.cmd.Process.Signal(signal) // It may have ended by itself.
	select {
	case <-p.ended:
	case <-time.After(Patience):
		tb.Errorf("%s does not end", p.cmd.Path)
	}
}

// Err is how the program ended, nil with exit code 0; it waits for the end.
func (p *Process) Err() error {
	<-p.ended
	return p.err
}

// Until waits for f to return nil. A program that has ended cannot make it so any more.
func (p *Process) Until(tb testing.TB, f func() error) {
	tb.Helper()
	if err := Eventually(p.ended, f); err != nil {
		tb.Fatal(err)
	}
}

// Eventually waits for f to return nil, unless something comes from gone before.
func Eventually[T any](gone <-chan T, f func() error) error {
	deadline := time.After(Patience)
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
			return fmt.Errorf("it is over: %w", err)
		case <-deadline:
			return fmt.Errorf("after %v: %w", Patience, err)
		}
	}
}

// Answers is a condition for Until: the URL is answered with 200.
func Answers(url string) func() error {
	return func() error {
		_, status, err := Get(url)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%s: status %d", url, status)
		}
		return err
	}
}

// Get fetches a URL.
func Get(url string) (body string, status int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	var b bytes.Buffer
	_, err = b.ReadFrom(resp.Body)
	return b.String(), resp.StatusCode, err
}

// Program is the path that a finder returns.
func Program(tb testing.TB, find func() (string, error)) string {
	tb.Helper()
	path, err := find()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// FreePort is a port of the loopback interface that was free just now, and that no outgoing connection gets.
func FreePort(tb testing.TB) string {
	tb.Helper()
	port, err := localpg.FreePort()
	if err != nil {
		tb.Fatal(err)
	}
	return strconv.Itoa(port)
}
