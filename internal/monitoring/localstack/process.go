package localstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// readyLimit bounds the time from a start to an answer; the first one on a busy machine is slow.
	readyLimit = time.Minute
	// stopLimit is how long a process may take to end when it is asked to. The service's own limit is 15 s.
	stopLimit = 20 * time.Second
)

// process is a running program.
type process struct {
	name   string
	cmd    *exec.Cmd
	output string // path of the file with what it says
	begin  int64  // size of that file when it started
	ended  chan struct{}
	err    error // how it ended, set before ended is closed

	mu     sync.Mutex
	wanted bool // we have asked for its end
}

// start starts a program, whose output is added to a file. If it ends without having been asked to, died is told.
//
// It is waited for on a thread of its own: Linux delivers Pdeathsig when the thread that forked ends, not the program
// (golang/go#27505), so that thread has to live as long as the child.
func start(name, output string, cmd *exec.Cmd, died func(*process)) (*process, error) {
	f, err := os.OpenFile(output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close() // The program has a descriptor of its own.
	begin, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = sysProcAttr()
	p := &process{name: name, cmd: cmd, output: output, begin: begin, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.ended)
		if !p.endWanted() {
			died(p)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *process) endWanted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wanted
}

// signal asks for the end of the process, which is no surprise from then on.
func (p *process) signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone() {
		return nil
	}
	p.wanted = true
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// kill ends the process at once.
func (p *process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.ended
	return nil
}

// stop ends the process in its own way, and by force when that takes too long or ctx ends.
func (p *process) stop(ctx context.Context) error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
	}
	err := p.kill()
	return errors.Join(fmt.Errorf("%s did not end when it was asked to, and was killed: %w", p.name, ctx.Err()), err)
}

// failure is the error of a process that has ended by itself.
func (p *process) failure() error {
	how := "exit status 0"
	if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Errorf("%s has ended (%s); its output (%s) ends with:\n%s", p.name, how, p.output, p.lastLines())
}

// lastLines is the end of what the process has said.
func (p *process) lastLines() string {
	f, err := os.Open(p.output)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	const window = 64 << 10
	begin := max(p.begin, info.Size()-window)
	text, err := io.ReadAll(io.NewSectionReader(f, begin, window))
	if err != nil {
		return err.Error()
	}
	return lastLines(text)
}

// lastLines shortens the output of a program to what fits into an error.
func lastLines(out []byte) string {
	const most = 10
	lines := strings.Split(string(bytes.TrimSpace(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}

// ready waits until the process answers with 200 on url.
func (p *process) ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		last := ask(ctx, url)
		if last == nil {
			return nil
		}
		select {
		case <-p.ended:
			return p.failure()
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w (%w); its output (%s) ends with:\n%s",
				p.name, ctx.Err(), last, p.output, p.lastLines())
		case <-tick.C:
		}
	}
}

// client talks to the stack and to nothing else, so no proxy is asked.
var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 10, IdleConnTimeout: time.Minute}}

// ask returns an error unless the answer is 200.
func ask(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}

// rotate puts the output of the previous run aside.
func rotate(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := os.Rename(file, file+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// acquire takes a lock file, waiting for it as long as ctx lives, or not at all. It is free again when the returned file
// is closed, or this process ends.
func acquire(ctx context.Context, path string, wait bool) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) || !wait {
			_ = f.Close()
			return nil, err
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}
