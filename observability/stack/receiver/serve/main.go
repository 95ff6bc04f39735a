// Command serve runs the receiver of notifications of the local stack. It ends with code 0 after SIGTERM or SIGINT.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"speedybites/observability/stack/receiver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // The second signal ends the process.
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run returns the exit code: 2 for a mistake in the command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:9096", "`address` to listen on")
	runbooks := flags.String("runbooks", "", "`directory` with NAME.md for each alert")
	silent := flags.Duration("silent-after", 3*time.Minute, "age from which the latest word of the Watchdog counts as none")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if err := check(flags.Args(), *runbooks, *silent); err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	log := slog.New(slog.NewTextHandler(stdout, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg := receiver.Config{SilentAfter: *silent, Logger: log}
	if *runbooks != "" {
		cfg.Runbooks = os.DirFS(*runbooks)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	fmt.Fprintf(stderr, "listening on http://%s\n", l.Addr())
	if err := receiver.Serve(ctx, l, receiver.New(cfg)); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

// check returns the mistake in the command line, if there is one.
func check(rest []string, runbooks string, silent time.Duration) error {
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	if silent <= 0 {
		return fmt.Errorf("-silent-after %v is not positive", silent)
	}
	if runbooks == "" {
		return nil
	}
	info, err := os.Stat(runbooks)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no directory", runbooks)
	}
	if err != nil {
		return fmt.Errorf("-runbooks: %w", err)
	}
	return nil
}
