package localstack

import (
	"context"
	"log/slog"
)

// FindDebian is Debian with another apt-get, lock and sign of systemd.
func FindDebian(ctx context.Context, aptGet, lockDir, systemd, program, pkg string) (string, error) {
	return debian{aptGet: aptGet, lockDir: lockDir, systemd: systemd}.find(ctx, program, pkg)
}

// Build builds Alertmanager into a directory, with another go command.
func Build(ctx context.Context, dir, command string) (string, error) {
	return builder{dir: dir, command: command, log: slog.New(slog.DiscardHandler)}.build(ctx, alertmanagerModule())
}

// FindPrometheus finds it with another Debian and another go command.
func FindPrometheus(ctx context.Context, packaged func(ctx context.Context, program, pkg string) (string, error), dir, command string) (string, string, error) {
	return findPrometheus(ctx, packaged, builder{dir: dir, command: command, log: slog.New(slog.DiscardHandler)})
}
