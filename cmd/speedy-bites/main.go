// Command speedy-bites is the Speedy Bites API server and its tools.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"speedybites/internal/config"
)

// Exit codes, as the README documents them.
const (
	exitFailure = 1
	exitUsage   = 2 // a wrong setting or command line
)

func main() {
	// The first signal asks for the graceful way, the second ends the process: stop gives the signal its default back.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and returns the process's exit code.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot(environ)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, err)
	if _, ok := errors.AsType[*config.Error](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return exitFailure
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func newRoot(environ []string) *cobra.Command {
	// Commands that do not serve must not leave log files, so each loads the settings itself.
	load := func() (config.Config, error) { return config.Load(environ, os.ReadFile) }
	getenv := func(name string) string { return lookup(environ, name) }
	root := &cobra.Command{
		Use:           "speedy-bites",
		Short:         "A food-ordering API that keeps working when PostgreSQL does not",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return serve(cmd, load, getenv) },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w\n\n%s", err, cmd.UsageString())}
	})
	root.AddCommand(newServe(load, getenv), newMigrate(load), newUser(load), newAudit(load), newCheck(load), newVersion())
	for _, cmd := range append(root.Commands(), root) {
		asUsageErrors(cmd)
	}
	return root
}

// lookup returns a variable of an environment in the form of os.Environ.
func lookup(environ []string, name string) string {
	for _, entry := range environ {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// asUsageErrors has cmd and those below it report wrong arguments as mistakes in the command line.
func asUsageErrors(cmd *cobra.Command) {
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if check == nil {
			check = cobra.ArbitraryArgs
		}
		if err := check(cmd, args); err != nil {
			return usageError{fmt.Errorf("%w\n\n%s", err, cmd.UsageString())}
		}
		return nil
	}
	for _, sub := range cmd.Commands() {
		if cmd.HasParent() {
			asUsageErrors(sub)
		}
	}
}
