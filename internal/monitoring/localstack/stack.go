package localstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"

	"speedybites/internal/localpg"
	"speedybites/observability/stack/receiver"
)

// ErrInUse means that another process runs a stack in the directory.
var ErrInUse = errors.New("directory is in use by another stack")

// Stack is a running stack. Its methods may be called concurrently; those that change its processes take turns.
type Stack struct {
	cfg      Config
	home     home
	log      *slog.Logger
	secret   string
	db       *localpg.Server
	replica  *localpg.Server // nil without one
	receiver *receiver.Receiver
	api      v1.API

	// turn is held by a method that starts or ends processes, for as long as that takes.
	turn sync.Mutex
	// closers end what was started, and are called last to first.
	closers []func(context.Context) error

	mu        sync.Mutex // guards what follows, and is never held while waiting
	processes []*process // those that were started, in that order
	instances []*process
	failures  []error
}

// Start starts a stack, and returns when all of it is ready. If that fails, or ctx ends before, nothing of it goes on.
//
// The error wraps [ErrInUse] for a directory that has a stack running, and a [PortError] for each port that was asked for
// and is taken.
func Start(ctx context.Context, cfg Config) (*Stack, error) {
	cfg, err := cfg.complete(ctx)
	if err != nil {
		return nil, fmt.Errorf("start a stack: %w", err)
	}
	s := &Stack{cfg: cfg, home: home(cfg.Dir), log: cfg.Logger, instances: make([]*process, cfg.Instances)}
	s.turn.Lock()
	err = s.start(ctx)
	s.turn.Unlock()
	if err != nil {
		err = errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
		return nil, fmt.Errorf("start a stack in %s: %w", cfg.Dir, err)
	}
	return s, nil
}

// start is the order in which things start; they end in the reverse order.
func (s *Stack) start(ctx context.Context) error {
	begin := time.Now()
	if err := s.prepare(ctx); err != nil {
		return err
	}
	if err := s.startDatabase(ctx); err != nil {
		return err
	}
	if err := s.startReceiver(ctx); err != nil {
		return err
	}
	if err := s.startInstances(ctx); err != nil {
		return err
	}
	if err := s.startMonitoring(ctx); err != nil {
		return err
	}
	s.log.InfoContext(ctx, "the stack is running", "dir", s.cfg.Dir, "took", time.Since(begin).Round(time.Millisecond))
	return nil
}

// prepare takes the directory and the ports, and writes what the processes read.
func (s *Stack) prepare(ctx context.Context) error {
	// PostgreSQL runs as another user, who must be able to enter.
	for _, dir := range []string{s.cfg.Dir, s.home.path("output"), s.home.path("bin")} {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // G301: what is secret in it is closed.
			return err
		}
	}
	lock, err := acquire(ctx, s.home.path("lock"), false)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrInUse
	}
	if err != nil {
		return err
	}
	s.onStop(func(context.Context) error { return lock.Close() })
	if s.cfg.Ports, err = s.cfg.Ports.complete(s.cfg.Instances); err != nil {
		return err
	}
	if err := rotate(s.home.path("output")); err != nil {
		return err
	}
	if s.secret, err = s.home.secret(); err != nil {
		return err
	}
	if err := s.home.lay(s.cfg.Files, s.cfg.Ports); err != nil {
		return fmt.Errorf("lay out the configuration: %w", err)
	}
	if s.cfg.Service == "" {
		s.cfg.Service = s.home.path("bin", "speedy-bites")
		return s.buildService(ctx)
	}
	return nil
}

func (s *Stack) buildService(ctx context.Context) error {
	//nolint:gosec // G204: the path is in the directory we were given.
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", s.cfg.Service, "./cmd/speedy-bites")
	cmd.Dir = s.cfg.RepoRoot
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the service: %w: %s", err, lastLines(out))
	}
	return nil
}

func (s *Stack) startDatabase(ctx context.Context) error {
	db, err := localpg.Start(ctx, localpg.Config{
		Dir: s.home.path("postgres"), Port: s.cfg.Ports.Postgres, Ephemeral: s.cfg.Ephemeral, Logger: s.log,
	})
	if err != nil {
		return err
	}
	s.db = db
	s.onStop(stopDatabase(db))
	if !s.cfg.Replica {
		return nil
	}
	s.replica, err = db.Standby(ctx, localpg.Config{Dir: s.home.path("postgres-replica"), StandbyName: "replica"})
	if err != nil {
		return err
	}
	s.onStop(stopDatabase(s.replica))
	return nil
}

func stopDatabase(db *localpg.Server) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := db.Stop(ctx); !errors.Is(err, localpg.ErrNotRunning) { // Somebody may have killed it, that is its purpose.
			return err
		}
		return nil
	}
}

func (s *Stack) startReceiver(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", loopback(s.cfg.Ports.Receiver))
	if err != nil {
		return fmt.Errorf("listen for notifications: %w", err)
	}
	s.receiver = receiver.New(receiver.Config{
		Runbooks: os.DirFS(s.cfg.Files + "/alerts/runbooks"), SilentAfter: s.cfg.SilentAfter, Logger: s.log,
	})
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- receiver.Serve(serving, l, s.receiver) }()
	s.onStop(func(context.Context) error {
		stop()
		return <-served
	})
	return nil
}

// startMonitoring starts what looks at the service.
func (s *Stack) startMonitoring(ctx context.Context) error {
	p := s.cfg.Ports
	if err := s.startExporters(ctx); err != nil {
		return err
	}
	// Its configuration has paths that are relative to the working directory. Without an address for a cluster it needs
	// no other port.
	_, err := s.run(ctx, program{
		name: "alertmanager", path: s.cfg.Programs.Alertmanager, dir: s.home.path("alertmanager"),
		args: []string{
			"--config.file=alertmanager.yml", "--storage.path=data", "--cluster.listen-address=",
			"--web.listen-address=" + loopback(p.Alertmanager), "--web.external-url=" + s.URLs().Alertmanager,
		},
		ready: "http://" + loopback(p.Alertmanager) + "/-/ready",
	})
	if err != nil {
		return err
	}
	_, err = s.run(ctx, program{
		name: "prometheus", path: s.cfg.Programs.Prometheus, dir: s.home.path("prometheus"),
		args: []string{
			"--config.file=prometheus.yml", "--storage.tsdb.path=data", "--enable-feature=exemplar-storage",
			"--web.enable-lifecycle", "--web.listen-address=" + loopback(p.Prometheus),
			"--web.external-url=" + s.URLs().Prometheus,
		},
		ready: "http://" + loopback(p.Prometheus) + "/-/ready",
	})
	if err != nil {
		return err
	}
	c, err := api.NewClient(api.Config{Address: "http://" + loopback(p.Prometheus), Client: client})
	s.api = v1.NewAPI(c)
	return err
}

// startExporters starts an exporter for each server, if there is the program. What they tell goes by the server's name.
func (s *Stack) startExporters(ctx context.Context) error {
	if s.cfg.Programs.PostgresExporter == "" {
		return nil
	}
	var list []target
	start := func(name string, port int, db *localpg.Server) error {
		list = append(list, target{port, db.Addr()})
		_, err := s.run(ctx, program{
			name: name, path: s.cfg.Programs.PostgresExporter, dir: s.cfg.Dir,
			args:  []string{"--web.listen-address=" + loopback(port)},
			env:   []string{"DATA_SOURCE_NAME=" + db.AdminURL("")},
			ready: "http://" + loopback(port) + "/metrics",
		})
		return err
	}
	err := start("postgres-exporter", s.cfg.Ports.PostgresExporter, s.db)
	if err == nil && s.replica != nil {
		err = start("postgres-replica-exporter", s.cfg.Ports.ReplicaExporter, s.replica)
	}
	if err != nil {
		return err
	}
	return s.home.writeTargets("postgres", list...)
}

// program is how a process is started.
type program struct {
	name, path, dir string
	args, env       []string
	ready           string // address that answers with 200 as soon as it is ready
}

// run starts a program that ends with the stack, and waits until it is ready.
func (s *Stack) run(ctx context.Context, g program) (*process, error) {
	// Its life ends with a signal, not with the context of its start.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), g.path, g.args...) //nolint:gosec // G204: so we were configured.
	cmd.Dir = g.dir
	cmd.Env = append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + g.dir}, g.env...)
	p, err := start(g.name, s.home.output(g.name), cmd, s.died)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.processes = append(s.processes, p)
	s.mu.Unlock()
	s.onStop(p.stop)
	if err := p.ready(ctx, g.ready); err != nil {
		return nil, errors.Join(err, p.kill())
	}
	s.log.DebugContext(ctx, "started", "name", g.name, "pid", p.pid())
	return p, nil
}

// died hears of a process that has ended by itself.
func (s *Stack) died(p *process) {
	err := p.failure()
	s.log.Error("a process has ended by itself", "name", p.name, "error", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, err)
}

func (s *Stack) onStop(f func(context.Context) error) { s.closers = append(s.closers, f) }

// Stop ends everything in the reverse order of the start, and returns when it has ended. What does not end in time, or
// before ctx ends, is killed, and that is an error. The directory stays. A second Stop does nothing.
func (s *Stack) Stop(ctx context.Context) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	var errs []error
	for len(s.closers) > 0 {
		last := len(s.closers) - 1
		errs = append(errs, s.closers[last](ctx))
		s.closers = s.closers[:last]
	}
	client.CloseIdleConnections()
	return errors.Join(errs...)
}

// Err returns an error for every process that has ended by itself, with the last lines of its output. Those that
// KillInstance or Stop have ended are none of them, nor is PostgreSQL.
func (s *Stack) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.failures...)
}
