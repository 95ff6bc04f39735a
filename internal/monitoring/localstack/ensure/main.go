// Command ensure sees to it that the programs of the monitoring are on this machine, before many test programs look for
// them at the same time.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"speedybites/internal/monitoring/localstack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	p, err := localstack.Find(ctx, localstack.Options{Logger: log})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // stop has nothing left to do.
	}
	for _, path := range []string{p.Prometheus, p.Promtool, p.Alertmanager, p.Amtool, p.PostgresExporter} {
		if path != "" {
			fmt.Fprintln(os.Stderr, path)
		}
	}
}
