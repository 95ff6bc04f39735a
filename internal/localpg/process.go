package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// processInfo is what the system tells about a process.
type processInfo struct {
	parent  int
	stopped bool // by SIGSTOP
	name    string
}

// process is a server's first process, the postmaster, whose children are all others of the server.
type process struct {
	*os.Process
	// ended is closed when a child of ours has ended, and how is in err. It is nil for an adopted process.
	ended chan struct{}
	err   error
}

// startProcess starts a command and waits for its end, on a thread of its own: Linux delivers Pdeathsig when the
// thread that forked ends, not the program (golang/go#27505), so that thread has to live as long as the child.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		p.Process = cmd.Process
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// gone reports whether the process has ended.
func (p *process) gone() bool {
	if p.ended != nil {
		select {
		case <-p.ended:
			return true
		default:
			return false
		}
	}
	if errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone) {
		return true
	}
	table, err := processes(p.Pid)
	_, alive := table[p.Pid]
	return err == nil && !alive
}

// wait returns when the process has ended, or with the context's error.
func (p *process) wait(ctx context.Context) error {
	return until(ctx, func() (bool, error) { return p.gone(), nil })
}

// children returns the pids of the process's children.
func (p *process) children() ([]int, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	var pids []int
	for pid, info := range all {
		if info.parent == p.Pid {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// freeze stops the process and returns its children. While it is stopped no child is added, and none of their pids
// goes to another process: only their parent can bury them. So it is safe to signal them.
func (p *process) freeze(ctx context.Context) ([]int, error) {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return nil, err
	}
	if err := untilAll(ctx, []int{p.Pid}, func(p processInfo) bool { return p.stopped }); err != nil {
		return nil, err
	}
	return p.children()
}

// signalAll sends a signal to processes, of which some may have ended.
func signalAll(pids []int, sig syscall.Signal) error {
	var errs []error
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("signal %d to process %d: %w", sig, pid, err))
		}
	}
	return errors.Join(errs...)
}

// untilAll waits until every one of the processes has ended or is as wanted.
func untilAll(ctx context.Context, pids []int, wanted func(processInfo) bool) error {
	if len(pids) == 0 {
		return nil
	}
	return until(ctx, func() (bool, error) {
		table, err := processes(pids...)
		for _, info := range table {
			if !wanted(info) {
				return false, err
			}
		}
		return err == nil, err
	})
}

// until asks every few milliseconds until the answer is yes or an error, or the context ends.
func until(ctx context.Context, done func() (bool, error)) error {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
