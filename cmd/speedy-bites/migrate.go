package main

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"speedybites/internal/app"
	"speedybites/internal/config"
	"speedybites/internal/migrate"
)

var errNoDatabase = errors.New("DATABASE_URL is not set: without it, serve starts a private PostgreSQL and migrates it by itself")

func newMigrate(load loadFunc) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate up|down|status",
		Short: "Bring the database schema up to date, or one step back",
		Args:  cobra.MinimumNArgs(1), // only reached when the argument is none of the commands below
		RunE: func(cmd *cobra.Command, args []string) error {
			return usageError{fmt.Errorf("unknown command %q\n\n%s", args[0], cmd.UsageString())}
		},
	}
	cmd.AddCommand(
		&cobra.Command{Use: "up", Short: "Apply all pending migrations", Args: cobra.NoArgs, RunE: withDSN(load, migrateUp)},
		&cobra.Command{Use: "down", Short: "Take the latest migration back", Args: cobra.NoArgs, RunE: withDSN(load, migrateDown)},
		&cobra.Command{Use: "status", Short: "List the migrations", Args: cobra.NoArgs, RunE: withDSN(load, migrateStatus)},
	)
	return cmd
}

// withDSN runs f on the configured database.
func withDSN(load loadFunc, f func(cmd *cobra.Command, dsn string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		if cfg.Database.URL.IsZero() {
			return errNoDatabase
		}
		dsn, err := app.DatabaseDSN(cmd.Context(), cfg.Database)
		if err != nil {
			return err
		}
		return f(cmd, dsn)
	}
}

func stderrLogger(cmd *cobra.Command, cfg config.Log) *slog.Logger {
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: cfg.Level}))
}

func migrateUp(cmd *cobra.Command, dsn string) error {
	applied, err := migrate.Up(cmd.Context(), dsn, stderrLogger(cmd, config.Log{}))
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d migrations applied\n", applied)
	return nil
}

func migrateDown(cmd *cobra.Command, dsn string) error {
	version, err := migrate.Down(cmd.Context(), dsn, stderrLogger(cmd, config.Log{}))
	if err != nil {
		return err
	}
	if version == 0 {
		fmt.Fprintln(cmd.OutOrStdout(), "nothing to take back")
		return nil
	}
	fmt.Fprintf(cmd.OutOrStdout(), "migration %d taken back\n", version)
	return nil
}

func migrateStatus(cmd *cobra.Command, dsn string) error {
	list, err := migrate.Status(cmd.Context(), dsn)
	if err != nil {
		return err
	}
	for _, m := range list {
		state := "pending"
		if m.Applied() {
			state = m.AppliedAt.Format(time.RFC3339)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%-28s %s\n", m.Name, state)
	}
	return nil
}
