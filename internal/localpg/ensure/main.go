// Command ensure sees to it that PostgreSQL's programs are on this machine, before many test programs look for them at
// the same time: apt-get can only run once.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"speedybites/internal/localpg"
)

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	found, err := localpg.Find(context.Background(), localpg.Options{Logger: log})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "PostgreSQL", found.Version, "at", found.Postgres)
}
