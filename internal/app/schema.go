package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"speedybites/internal/config"
	"speedybites/internal/demo"
	"speedybites/internal/localpg"
	"speedybites/internal/migrate"
	"speedybites/internal/postgres"
)

// defaultDataDir is where the private PostgreSQL lives.
const defaultDataDir = ".data"

// schemaPause is the time between attempts to bring the schema up to date.
const schemaPause = time.Second

// firstLook bounds how long the start waits to learn whether the database is there: long enough for a login, short
// enough that a start without a database is a start.
const firstLook = 2 * time.Second

// startPrivate starts the PostgreSQL of a first run and returns its URL.
func (a *App) startPrivate(ctx context.Context) (string, error) {
	dir := a.opts.DataDir
	if dir == "" {
		dir = defaultDataDir
	}
	server, err := localpg.Start(ctx, localpg.Config{Dir: dir, Logger: a.log})
	if err != nil {
		return "", fmt.Errorf("start a private PostgreSQL, as DATABASE_URL is not set: %w", err)
	}
	a.private = server
	a.onClose("private PostgreSQL", func(ctx context.Context) error {
		if err := server.Stop(ctx); !errors.Is(err, localpg.ErrNotRunning) { // somebody may have tried an outage on it
			return err
		}
		return nil
	})
	return server.URL(), nil
}

// prepareSchema brings the schema up to date, outside production: at once where the database is there, else in the
// background loop that it returns, because a database that is down must not keep the service from starting. Production
// never migrates by itself, it is only told when the schema is behind.
func (a *App) prepareSchema(ctx context.Context) (later func(context.Context), err error) {
	look, cancel := context.WithTimeout(ctx, firstLook)
	defer cancel()
	if connected, _ := a.db.Verdict(look); connected {
		err := a.updateSchema(ctx)
		if !errors.Is(err, postgres.ErrUnavailable) {
			return nil, err
		}
	}
	return a.updateSchemaLater, nil
}

func (a *App) updateSchemaLater(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if a.db.Status().Connected {
			err := a.updateSchema(ctx)
			if err == nil {
				return
			}
			a.log.LogAttrs(ctx, slog.LevelError, "schema not up to date, trying again", slog.Any("error", err))
		}
		timer.Reset(schemaPause)
	}
}

func (a *App) updateSchema(ctx context.Context) error {
	dsn, err := a.db.PrimaryDSN()
	if err != nil {
		return err
	}
	if a.cfg.Env == config.Production {
		current, latest, err := migrate.Version(ctx, dsn)
		if err != nil {
			return err
		}
		if current < latest {
			a.log.LogAttrs(ctx, slog.LevelError, "the schema is behind this release: run speedy-bites migrate up",
				slog.Int64("schema", current), slog.Int64("release", latest))
		}
		return nil
	}
	if _, err := migrate.Up(ctx, dsn, a.log); err != nil {
		return err
	}
	if a.private == nil {
		return nil
	}
	loaded, err := demo.Load(ctx, a.db)
	if err != nil {
		return err
	}
	if loaded {
		a.log.LogAttrs(ctx, slog.LevelInfo, "demo restaurants loaded")
	}
	return nil
}
