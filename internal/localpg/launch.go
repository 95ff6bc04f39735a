package localpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// initdb makes the data directory. It is made under another name and renamed, so that an interruption leaves nothing
// that looks like data; what it leaves is cleared away here.
func (s *Server) initdb(ctx context.Context) error {
	if _, err := s.home.secret(); err != nil {
		return err
	}
	return s.makeData(ctx, func(tmp string) error {
		password, err := os.ReadFile(s.home.password())
		if err != nil {
			return err
		}
		pwfile := filepath.Join(tmp, "password")
		err = os.WriteFile(pwfile, password, 0o600) //nolint:gosec // G703: the path is in the directory we were given.
		if err := errors.Join(err, os.Chown(pwfile, s.account.uid, s.account.gid)); err != nil {
			return err
		}
		args := []string{
			"--pgdata", filepath.Join(tmp, "data"), "--username", Admin, "--pwfile", pwfile, "--auth", "scram-sha-256",
			"--encoding", "UTF8", "--locale", "C",
		}
		if s.cfg.Ephemeral {
			args = append(args, "--no-sync", "--wal-segsize", "1")
		}
		// Sorting by bytes is the same everywhere, but upper and lower case are to work for all letters: where the system
		// has no such locale, only ASCII letters are.
		for _, ctype := range []string{"C.UTF-8", "en_US.UTF-8", "C"} {
			if err = s.run(ctx, s.command(ctx, s.bin.Initdb, append(args, "--lc-ctype", ctype)...)); err == nil || ctx.Err() != nil {
				return err
			}
		}
		return err
	})
}

// makeData has fill make a directory "data" in the one it is given, and puts it in place.
func (s *Server) makeData(ctx context.Context, fill func(tmp string) error) error {
	const prefix = "unfinished-"
	left, err := filepath.Glob(filepath.Join(string(s.home), prefix+"*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	tmp, err := os.MkdirTemp(string(s.home), prefix)
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) // If that does not work now, the next start will do it.
	if err := os.Chown(tmp, s.account.uid, s.account.gid); err != nil {
		return err
	}
	begin := time.Now()
	if err := fill(tmp); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(tmp, "data"), s.home.data()); err != nil {
		return err
	}
	s.log.InfoContext(ctx, "made a data directory for postgresql", "dir", s.home.data(), "took", time.Since(begin))
	return s.home.write(marker{Major: s.bin.Major})
}

// command prepares one of PostgreSQL's programs, to run as the server does.
func (s *Server) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := command(ctx, path, args...)
	cmd.Dir = string(s.home)
	cmd.SysProcAttr = s.account.sysProcAttr()
	return cmd
}

// run runs a program to its end. If ctx, also of the command, ends first, it is asked to clean up.
func (s *Server) run(ctx context.Context, cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	p, err := startProcess(cmd)
	if err == nil {
		<-p.ended
		err = p.err
	}
	if err != nil && ctx.Err() != nil {
		err = ctx.Err() // That it was interrupted then is no news.
	}
	if err != nil {
		return fmt.Errorf("%s as %s: %w: %s", filepath.Base(cmd.Path), s.account.name, err, lastLines(out.Bytes()))
	}
	return nil
}

// launch starts the server on s.port and waits until it accepts logins. If it does not come to that, it is ended.
func (s *Server) launch(ctx context.Context) error {
	if err := s.clearStale(ctx); err != nil {
		return err
	}
	if err := s.writeSettings(s.cfg.Settings); err != nil {
		return err
	}
	logFile, begin, err := s.openLog()
	if err != nil {
		return err
	}
	defer logFile.Close() // The server has a descriptor of its own.

	// The server's life ends with a signal, not with the context of its start.
	cmd := s.command(context.WithoutCancel(ctx), s.bin.Postgres, "-D", s.home.data(), "-c", "config_file="+s.home.conf())
	cmd.Stdout, cmd.Stderr = logFile, logFile
	p, err := startProcess(cmd)
	if err != nil {
		return fmt.Errorf("as %s: %w", s.account.name, err)
	}
	s.setProcess(p)
	if err := s.WaitReady(ctx); err != nil {
		err = fmt.Errorf("%w; its log (%s) ends with:\n%s", err, s.home.log(), logSince(s.home.log(), begin))
		return errors.Join(err, s.abandon(ctx))
	}
	return nil
}

// abandon ends a server that did not become what it should. It keeps the lock: launch may be tried again.
func (s *Server) abandon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	err := s.killProcesses(ctx)
	s.setProcess(nil)
	if errors.Is(err, ErrNotRunning) {
		return nil
	}
	return err
}

func (s *Server) setProcess(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proc, s.paused = p, false
}

// adopt takes over a server that runs on the data already, and reports whether there was one.
func (s *Server) adopt(ctx context.Context) (bool, error) {
	f, p, err := s.findRunning()
	if err != nil || p == nil {
		return false, err
	}
	s.port = f.port
	s.setProcess(p)
	// A server whose parent was killed is told to stop, but that may be a moment after the lock of the parent has gone.
	// So it has to be there twice.
	if err = s.WaitReady(ctx); err == nil {
		again, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		_ = p.wait(again) // Whatever this waited for, the next line finds out.
		cancel()
		err = s.WaitReady(ctx)
	}
	if err == nil {
		s.log.InfoContext(ctx, "adopted the postgresql that was running", "dir", s.cfg.Dir, "pid", p.Pid, "port", s.port)
		if s.cfg.Port != 0 && s.cfg.Port != s.port {
			s.log.WarnContext(ctx, "the adopted postgresql keeps its port", "port", s.port, "configured_port", s.cfg.Port)
		}
		return true, nil
	}
	s.setProcess(nil)
	if errors.Is(err, ErrNotRunning) {
		s.log.InfoContext(ctx, "waited for the previous postgresql to stop", "dir", s.cfg.Dir, "pid", p.Pid)
		return false, nil
	}
	return false, fmt.Errorf("postgresql runs there already, as process %d: %w", p.Pid, err)
}

// findRunning returns the server that runs on the data, with what it says in its pid file.
func (s *Server) findRunning() (pidFile, *process, error) {
	f := s.home.readPidFile()
	if f.pid == 0 {
		return f, nil, nil
	}
	on, err := processesOn(s.home.data())
	if err != nil {
		return f, nil, err
	}
	for _, pid := range on {
		if pid == f.pid {
			found, err := os.FindProcess(pid)
			return f, &process{Process: found}, err
		}
	}
	return f, nil, nil
}

// clearStale removes what a server that was killed left behind and PostgreSQL itself might stumble over: processes
// that have not yet noticed the end of their parent, and a pid file whose pid another program has by now.
func (s *Server) clearStale(ctx context.Context) error {
	var on []int
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := until(limited, func() (done bool, err error) {
		on, err = processesOn(s.home.data())
		return len(on) == 0, err
	})
	if err != nil {
		return fmt.Errorf("wait for the processes %v on %s to end: %w", on, s.home.data(), err)
	}
	f := s.home.readPidFile()
	if seesEveryProcess && f.pid != 0 && syscall.Kill(f.pid, 0) == nil {
		s.log.DebugContext(ctx, "removing a postmaster.pid that names a process of something else", "pid", f.pid)
		return os.Remove(s.home.pidFile())
	}
	return nil
}

// openLog opens the server's log to append to it, and returns its size so far.
func (s *Server) openLog() (*os.File, int64, error) {
	const most = 8 << 20 // bytes, before it is put aside
	if info, err := os.Stat(s.home.log()); err == nil && info.Size() > most {
		if err := os.Rename(s.home.log(), s.home.log()+".1"); err != nil {
			return nil, 0, err
		}
	}
	f, err := os.OpenFile(s.home.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

// logSince returns the end of what was written to a log after begin.
func logSince(path string, begin int64) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, begin, 1<<20))
	if err != nil {
		return err.Error()
	}
	return lastLines(text)
}
