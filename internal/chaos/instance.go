package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"speedybites/internal/localpg"
)

// instances of the service.
const instances = 2

// instance is one of them: a process that is killed and started again.
type instance struct {
	index   int
	program string
	dir     string
	base    string // its address, always the same
	env     []string

	mu     sync.Mutex
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the process has ended
	err    error         // how it ended, set before ended is closed
	starts int
}

func newInstance(index int, program, dir string, env []string) (*instance, error) {
	port, err := localpg.FreePort()
	if err != nil {
		return nil, err
	}
	i := &instance{index: index, program: program, dir: filepath.Join(dir, fmt.Sprint("instance-", index+1))}
	i.base = "http://127.0.0.1:" + strconv.Itoa(port)
	i.env = append(slices.Clone(env), "PORT="+strconv.Itoa(port), "LOG_DIR="+i.logs(), "UPLOADS_DIR="+filepath.Join(i.dir, "uploads"))
	return i, os.MkdirAll(i.dir, 0o700)
}

// logs is the directory of the instance's log files, output the file with what it says besides.
func (i *instance) logs() string   { return filepath.Join(i.dir, "logs") }
func (i *instance) output() string { return filepath.Join(i.dir, "output") }

// command prepares the program with the instance's environment and no other.
func (i *instance) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, i.program, args...) //nolint:gosec // G204: the program is the one that was built for this
	cmd.Dir, cmd.Env, cmd.SysProcAttr = i.dir, i.env, sysProcAttr()
	return cmd
}

// start starts the process and returns when it is alive, whether or not it has a database.
func (i *instance) start(ctx context.Context) error {
	out, err := os.OpenFile(i.output(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close() // The process has a descriptor of its own.
	cmd := i.command(context.WithoutCancel(ctx), "serve")
	cmd.Stdout, cmd.Stderr = out, out
	ended, started := make(chan struct{}), make(chan error)
	go func() {
		// Linux delivers the signal of sysProcAttr when the thread that forked ends, so it has to live as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			err = cmd.Wait()
			i.mu.Lock()
			i.err = err
			i.mu.Unlock()
			close(ended)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	i.mu.Lock()
	i.cmd, i.ended = cmd, ended
	i.starts++
	i.mu.Unlock()
	alive, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = until(alive, 20*time.Millisecond, func() bool {
		code, _, _ := get(alive, i.base+"/livez", 2*time.Second)
		return code == http.StatusOK || i.gone()
	})
	if i.gone() {
		return fmt.Errorf("instance %d has ended instead of serving: %w; see %s", i.index+1, i.how(), i.output())
	}
	if err != nil {
		return fmt.Errorf("instance %d is not alive: %w; see %s", i.index+1, err, i.output())
	}
	return nil
}

// gone reports whether the process has ended.
func (i *instance) gone() bool {
	i.mu.Lock()
	ended := i.ended
	i.mu.Unlock()
	select {
	case <-ended:
		return true
	default:
		return false
	}
}

func (i *instance) how() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err == nil {
		return errors.New("exit status 0")
	}
	return i.err
}

// kill ends the process with SIGKILL.
func (i *instance) kill() {
	i.mu.Lock()
	cmd, ended := i.cmd, i.ended
	i.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill() // It fails only for a process that has ended.
	<-ended
}

// shutdownLimit is more than the service's own.
const shutdownLimit = 20 * time.Second

// terminate ends the process with SIGTERM. Any other end than a graceful one in time is an error.
func (i *instance) terminate(ctx context.Context) error {
	i.mu.Lock()
	cmd, ended := i.cmd, i.ended
	i.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("SIGTERM to instance %d: %w", i.index+1, err)
	}
	ctx, cancel := context.WithTimeout(ctx, shutdownLimit)
	defer cancel()
	select {
	case <-ended:
	case <-ctx.Done():
		i.kill()
		return fmt.Errorf("instance %d did not end %v after SIGTERM, and was killed", i.index+1, shutdownLimit)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err != nil {
		return fmt.Errorf("instance %d after SIGTERM: %w; see %s", i.index+1, i.err, i.output())
	}
	return nil
}
