// Command up runs the whole stack without containers, as `make stack-local`: PostgreSQL, two instances of the service,
// Prometheus, Alertmanager and the receiver of notifications. It prints where everything is and how to break it, and
// goes on until Ctrl-C.
//
// Settings of the service whose names begin with DB_, LOG_LEVEL, OTEL_ or SYNTHETIC_ are taken from the environment.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"speedybites/internal/monitoring/localstack"
)

// stopLimit bounds the stop; every process has a limit of its own, too.
const stopLimit = 2 * time.Minute

func main() {
	// The first signal asks for the graceful way, the second ends the process: stop gives the signal its default back.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	signal.Ignore(syscall.SIGTTIN) // In the background nobody types; that must not stop us.
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// run returns the exit code: 2 for a mistake in the command line.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root, err := localstack.RepoRoot()
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	o, err := parse(args, root, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	o.cfg.Logger, o.cfg.Environ = log, settings(environ)
	s, err := localstack.Start(ctx, o.cfg)
	if err != nil {
		fmt.Fprintln(stderr, err)
		if hint := portHint(err); hint != "" {
			fmt.Fprintln(stderr, hint)
		}
		return 1
	}
	fmt.Fprint(stdout, guide(s, o.rate))

	var working sync.WaitGroup
	if o.rate > 0 {
		working.Go(func() { load(ctx, s.URLs().API, o.rate) })
	}
	go obey(ctx, s, stdin, stdout) // It ends with the process: reading cannot be interrupted.
	<-ctx.Done()
	fmt.Fprintln(stdout, "stopping")
	working.Wait()

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

// options are what the command line says.
type options struct {
	cfg  localstack.Config
	rate int
}

func parse(args []string, root string, stderr io.Writer) (options, error) {
	o := options{cfg: localstack.Config{
		RepoRoot: root, Demo: true, Instances: 2,
		Ports: localstack.Ports{API: make([]int, 2), Metrics: make([]int, 2)},
	}}
	p := &o.cfg.Ports
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.cfg.Dir, "dir", filepath.Join(root, ".data", "stack-local"), "`directory` of all data")
	flags.IntVar(&o.rate, "load", 5, "`requests` a second that are sent to the instances; 0 sends none")
	// The names are those of localstack.PortError.
	flags.IntVar(&p.API[0], "api-1", 4000, "`port` of the first instance; 0 is any free one, here and below")
	flags.IntVar(&p.API[1], "api-2", 4001, "`port` of the second instance")
	flags.IntVar(&p.Metrics[0], "api-1-metrics", 9464, "`port` of its metrics")
	flags.IntVar(&p.Metrics[1], "api-2-metrics", 9465, "`port` of its metrics")
	flags.IntVar(&p.Prometheus, "prometheus", 9090, "`port` of Prometheus")
	flags.IntVar(&p.Alertmanager, "alertmanager", 9093, "`port` of Alertmanager")
	flags.IntVar(&p.Receiver, "receiver", 9096, "`port` of the page with the notifications")
	flags.IntVar(&p.PostgresExporter, "postgres-exporter", 9187, "`port` of the metrics of PostgreSQL")
	flags.IntVar(&p.Postgres, "postgres", 0, "`port` of PostgreSQL; 0 is that of the last time")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var err error
	switch {
	case flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.rate < 0 || o.rate > mostRate:
		err = fmt.Errorf("-load %d is not between 0 and %d", o.rate, mostRate)
	}
	flags.VisitAll(func(f *flag.Flag) {
		if port, ok := f.Value.(flag.Getter).Get().(int); ok && f.Name != "load" && (port < 0 || port > 65535) {
			err = errors.Join(err, fmt.Errorf("-%s %d is not between 0 and 65535", f.Name, port))
		}
	})
	if err != nil {
		fmt.Fprintln(stderr, err)
	}
	return o, err
}

// settings are those of the service that the caller's environment has.
func settings(environ []string) []string {
	var list []string
	for _, entry := range environ {
		for _, prefix := range []string{"DB_", "LOG_LEVEL=", "OTEL_", "SYNTHETIC_"} {
			if strings.HasPrefix(entry, prefix) {
				list = append(list, entry)
			}
		}
	}
	return list
}

// portHint says how to go around the ports that are taken, "" if none is.
func portHint(err error) string {
	taken := portErrors(err)
	if len(taken) == 0 {
		return ""
	}
	arguments := make([]string, 0, len(taken))
	for _, e := range taken {
		arguments = append(arguments, fmt.Sprintf("-%s=0", e.Of))
	}
	list := strings.Join(arguments, " ")
	return fmt.Sprintf("Stop what listens there, or choose others, 0 being any free one:\n  make stack-local ARGS='%s'", list)
}

// portErrors returns all in a tree of joined errors.
func portErrors(err error) []*localstack.PortError {
	switch e := err.(type) { //nolint:errorlint // It goes through the tree itself.
	case *localstack.PortError:
		return []*localstack.PortError{e}
	case interface{ Unwrap() []error }:
		var list []*localstack.PortError
		for _, err := range e.Unwrap() {
			list = append(list, portErrors(err)...)
		}
		return list
	case interface{ Unwrap() error }:
		return portErrors(e.Unwrap())
	default:
		return nil
	}
}
