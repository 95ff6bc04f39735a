package localstack

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"speedybites/internal/demo"
	"speedybites/internal/postgres"
	"speedybites/internal/postgres/retry"
)

// startInstances starts the service, and waits until all instances want traffic.
func (s *Stack) startInstances(ctx context.Context) error {
	for i := range s.cfg.Instances {
		if err := s.startInstance(ctx, i, "/readyz"); err != nil {
			return err
		}
		if i == 0 && s.cfg.Demo { // It has made the schema.
			if err := s.loadDemo(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// startInstance starts an instance and waits until it answers on a path.
func (s *Stack) startInstance(ctx context.Context, i int, path string) error {
	name := instanceName(i)
	p, err := s.run(ctx, program{
		name: name, path: s.cfg.Service, dir: s.cfg.Dir, args: []string{"serve"}, env: s.environ(i),
		ready: "http://" + loopback(s.cfg.Ports.API[i]) + path,
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instances[i] = p
	return nil
}

// environ is the environment of an instance; later entries win.
func (s *Stack) environ(i int) []string {
	dir, replicas := s.home.path(instanceName(i)), ""
	if s.replica != nil {
		replicas = s.databaseURL()
	}
	return append([]string{
		"DATABASE_REPLICA_URL=" + replicas,
		"APP_ENV=development", "HOST=127.0.0.1", fmt.Sprint("PORT=", s.cfg.Ports.API[i]),
		"METRICS_ADDR=" + loopback(s.cfg.Ports.Metrics[i]), "DATABASE_URL=" + s.databaseURL(), "TOKEN_SECRET=" + s.secret,
		"LOG_DIR=" + dir + "/logs", "UPLOADS_DIR=" + dir + "/uploads",
		"SHUTDOWN_DRAIN_MS=0", // no load balancer has to notice
	}, s.cfg.Environ...)
}

// databaseURL names every server. Whichever of them is not the primary is a replica.
func (s *Stack) databaseURL() string {
	if s.replica == nil {
		return s.db.URL()
	}
	return strings.Replace(s.db.URL(), s.db.Addr(), s.db.Addr()+","+s.replica.Addr(), 1)
}

// KillInstance ends an instance, counted from 0, with SIGKILL, and returns when it has ended.
func (s *Stack) KillInstance(i int) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	p, err := s.instance(i)
	if err != nil {
		return err
	}
	return p.kill()
}

// StartInstance starts an instance that has ended, on the ports it had, and returns when it is alive: also without a
// database. One that is running stays as it is.
func (s *Stack) StartInstance(ctx context.Context, i int) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	p, err := s.instance(i)
	if err != nil {
		return err
	}
	if !p.gone() {
		return nil
	}
	if len(s.closers) == 0 {
		return fmt.Errorf("start %s: the stack is stopped", p.name)
	}
	return s.startInstance(ctx, i, "/livez")
}

func (s *Stack) instance(i int) (*process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i < 0 || i >= len(s.instances) {
		return nil, fmt.Errorf("there is no instance %d, only %d", i, len(s.instances))
	}
	return s.instances[i], nil
}

// loadDemo loads the demo restaurants, which an instance with a database of its own would do itself.
func (s *Stack) loadDemo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	db, err := postgres.Open(postgres.Config{
		URL: s.db.URL(), PoolMax: 1, IdleTimeout: time.Minute, ConnectTimeout: 10 * time.Second, MaxConnAge: time.Hour,
		StatementTimeout: 30 * time.Second, HealthCheckInterval: 30 * time.Second,
		Retry: retry.Policy{Attempts: 3, Base: 100 * time.Millisecond}, BreakerThreshold: 5, BreakerTimeout: time.Minute,
		OutageGrace: 10 * time.Second, MaxWaiting: 1,
	}, postgres.Deps{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer db.Close(ctx)
	_, err = demo.Load(ctx, db)
	return err
}
