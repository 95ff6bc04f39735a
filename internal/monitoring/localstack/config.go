package localstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"speedybites/internal/localpg"
)

// Config says what a stack is made of. Only Dir is required.
type Config struct {
	// Dir holds everything of the stack. It is created if missing; what it has from an earlier run is used again.
	Dir string
	// RepoRoot is the repository, from which the service is built. Default: see [RepoRoot].
	RepoRoot string
	// Files is a directory with alerts/ and observability/stack/, as the repository has them. Default: RepoRoot.
	Files string
	// Instances of the service. Default 2.
	Instances int
	// Ports to listen on. Default: free ones.
	Ports Ports
	// Environ is added to the environment of the instances, "NAME=value" each. They get nothing of ours.
	Environ []string
	// Replica adds a standby, which DATABASE_URL and DATABASE_REPLICA_URL name as well: the service reads there, and writes
	// there once it is promoted. After that the directory cannot be started again.
	Replica bool
	// Demo fills an empty database with the demo restaurants.
	Demo bool
	// Ephemeral trades PostgreSQL's safety from power cuts for speed, see package localpg.
	Ephemeral bool
	// SilentAfter is the age from which the Watchdog counts as silent, see package receiver.
	SilentAfter time.Duration
	// Programs to run. Default: what [Find] finds.
	Programs Programs
	// Service is the service's program. Default: it is built.
	Service string
	// Logger hears what is started and stopped, and which processes have ended by themselves. Default: nobody.
	Logger *slog.Logger
}

// Ports of a stack, all on 127.0.0.1. 0 is any free one.
type Ports struct {
	// API and Metrics are those of the instances, in their order; those that are missing are 0.
	API, Metrics                                         []int
	PostgresExporter, Prometheus, Alertmanager, Receiver int
	// ReplicaExporter is that of the exporter of the replica, where there is one.
	ReplicaExporter int
	// Postgres is by default the port of the run before, see package localpg.
	Postgres int
}

// PortError is a port that cannot be had.
type PortError struct {
	// Of is what was to listen there: api-1, api-1-metrics, postgres-exporter, prometheus, alertmanager or receiver.
	Of   string
	Port int
	Err  error
}

// Error says which port of what it is, and why.
func (e *PortError) Error() string { return fmt.Sprintf("port %d of %s: %v", e.Port, e.Of, e.Err) }

// Unwrap returns why it cannot be had: [ErrPortTaken] or the system's error.
func (e *PortError) Unwrap() error { return e.Err }

// ErrPortTaken means that another program listens there.
var ErrPortTaken = errors.New("is taken by another program")

// complete returns the configuration with its defaults filled in.
func (c Config) complete(ctx context.Context) (Config, error) {
	if c.Dir == "" {
		return c, errors.New("dir is empty")
	}
	if c.Instances == 0 {
		c.Instances = 2
	}
	if c.Instances < 0 || len(c.Ports.API) > c.Instances || len(c.Ports.Metrics) > c.Instances {
		return c, fmt.Errorf("%d instances, with %d and %d ports", c.Instances, len(c.Ports.API), len(c.Ports.Metrics))
	}
	var err error
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return c, err
	}
	if c.RepoRoot == "" {
		if c.RepoRoot, err = RepoRoot(); err != nil {
			return c, err
		}
	}
	if c.Files == "" {
		c.Files = c.RepoRoot
	}
	c.Logger = orDiscard(c.Logger)
	if c.Programs == (Programs{}) {
		c.Programs, err = Find(ctx, Options{RepoRoot: c.RepoRoot, Logger: c.Logger})
	}
	return c, err
}

// complete returns the ports with free ones in place of 0, PostgreSQL's aside, or all that cannot be had.
func (p Ports) complete(instances int) (Ports, error) {
	p.API = append(slices.Clip(p.API), make([]int, instances-len(p.API))...)
	p.Metrics = append(slices.Clip(p.Metrics), make([]int, instances-len(p.Metrics))...)
	type want struct {
		of   string
		port *int
	}
	wanted := []want{
		{"receiver", &p.Receiver},
		{"alertmanager", &p.Alertmanager},
		{"prometheus", &p.Prometheus},
		{"postgres-exporter", &p.PostgresExporter},
		{"postgres-replica-exporter", &p.ReplicaExporter},
	}
	for i := range instances {
		wanted = append(wanted, want{instanceName(i), &p.API[i]}, want{instanceName(i) + "-metrics", &p.Metrics[i]})
	}
	var errs []error
	taken := map[int]string{}
	for _, w := range wanted {
		if *w.port == 0 {
			continue
		}
		err := free(*w.port)
		if other := taken[*w.port]; other != "" {
			err = fmt.Errorf("is that of %s, too", other)
		}
		if err != nil {
			errs = append(errs, &PortError{Of: w.of, Port: *w.port, Err: err})
		}
		taken[*w.port] = w.of
	}
	for _, w := range wanted {
		for *w.port == 0 {
			port, err := localpg.FreePort()
			if err != nil {
				return p, err
			}
			if taken[port] == "" {
				*w.port, taken[port] = port, w.of
			}
		}
	}
	return p, errors.Join(errs...)
}

// free returns an error if nobody can listen on the port.
func free(port int) error {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", loopback(port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return ErrPortTaken
	}
	if err != nil {
		return err
	}
	return l.Close()
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func instanceName(i int) string { return "api-" + strconv.Itoa(i+1) }
