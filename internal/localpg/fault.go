package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Stop shuts the server down as it should be: sessions are ended, everything is written. It waits for the end, and for
// standbys to have received everything; if ctx ends first, the shutdown goes on. A paused server is resumed for it.
func (s *Server) Stop(ctx context.Context) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	return s.named("stop", s.stop(ctx, syscall.SIGINT))
}

// StopImmediate ends the server at once, without writing anything. The next start does crash recovery.
func (s *Server) StopImmediate(ctx context.Context) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	return s.named("stop", s.stop(ctx, syscall.SIGQUIT))
}

// Kill sends SIGKILL to all processes of the server, and returns when they are gone. [Server.StartAgain] brings it back,
// with crash recovery.
func (s *Server) Kill(ctx context.Context) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	err := s.killProcesses(ctx)
	if err == nil || errors.Is(err, ErrNotRunning) {
		s.release()
	}
	return s.named("kill", err)
}

// StartAgain starts a server that was stopped or killed, or has ended by itself, on its port, and returns when it
// accepts logins. A server that is running stays as it is.
func (s *Server) StartAgain(ctx context.Context) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	return s.named("start", s.startAgain(ctx))
}

// Restart is Stop and StartAgain.
func (s *Server) Restart(ctx context.Context) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if err := s.stop(ctx, syscall.SIGINT); err != nil && !errors.Is(err, ErrNotRunning) {
		return s.named("restart", err)
	}
	return s.named("restart", s.startAgain(ctx))
}

// Pause stops all processes of the server with SIGSTOP: connections stay, new ones are accepted by the kernel, and
// nothing answers.
func (s *Server) Pause(ctx context.Context) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	return s.named("pause", s.pause(ctx))
}

// Resume lets a paused server go on. One that is not paused stays as it is.
func (s *Server) Resume() error {
	s.turn.Lock()
	defer s.turn.Unlock()
	return s.named("resume", s.resume())
}

// Remove ends the server in whatever state it is, and deletes its directory.
func (s *Server) Remove(ctx context.Context) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	soon, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := s.stop(soon, syscall.SIGQUIT); err != nil && !errors.Is(err, ErrNotRunning) {
		if err := s.killProcesses(ctx); err != nil && !errors.Is(err, ErrNotRunning) {
			return s.named("remove", err)
		}
	}
	// A server that ends by itself gives its shared memory back, one that was killed leaves that to the next start.
	if f := s.home.readPidFile(); f.shmID != 0 {
		removeSharedMemory(f.shmID)
	}
	s.release()
	return s.named("remove", os.RemoveAll(string(s.home)))
}

func (s *Server) named(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s postgresql on port %d: %w", what, s.port, err)
	}
	return nil
}

func (s *Server) stop(ctx context.Context, sig syscall.Signal) error {
	p, err := s.running()
	if err != nil {
		s.release()
		return err
	}
	if err := s.resume(); err != nil {
		return err
	}
	if err := p.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if err := p.wait(ctx); err != nil {
		return err
	}
	s.release()
	return nil
}

func (s *Server) killProcesses(ctx context.Context) error {
	p, err := s.running()
	if err != nil {
		return err
	}
	// The first process would otherwise react to the death of its children, and start new ones.
	victims, err := p.freeze(ctx)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if err := errors.Join(signalAll(victims, syscall.SIGKILL), p.Kill()); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if err := p.wait(ctx); err != nil {
		return err
	}
	return untilAll(ctx, victims, func(processInfo) bool { return false })
}

func (s *Server) startAgain(ctx context.Context) error {
	if _, err := s.running(); err == nil {
		return nil
	}
	s.release()
	lock, err := s.home.acquire(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.lock = lock
	s.mu.Unlock()
	if err := s.launch(ctx); err != nil {
		s.release()
		return err
	}
	return nil
}

func (s *Server) pause(ctx context.Context) error {
	p, err := s.running()
	if err != nil {
		return err
	}
	// Set before the first signal: a pause that was interrupted half way needs its resume too.
	s.setPaused(true)
	children, err := p.freeze(ctx)
	if err != nil {
		return err
	}
	if err := signalAll(children, syscall.SIGSTOP); err != nil {
		return err
	}
	return untilAll(ctx, children, func(p processInfo) bool { return p.stopped })
}

func (s *Server) resume() error {
	p, err := s.running()
	if err != nil || !s.pausedNow() {
		return err
	}
	children, err := p.children()
	if err != nil {
		return err
	}
	// The first process last: until then no pid of its children can be anybody else's.
	if err := errors.Join(signalAll(children, syscall.SIGCONT), p.Signal(syscall.SIGCONT)); err != nil {
		return err
	}
	s.setPaused(false)
	return nil
}

func (s *Server) pausedNow() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.paused
}

func (s *Server) setPaused(paused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = paused
}
