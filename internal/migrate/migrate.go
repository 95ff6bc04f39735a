// Package migrate brings a database to the schema of this program, or one step back. Every call opens a short-lived
// connection of its own: it runs before the pool exists, or from the command line.
package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"speedybites/migrations"
)

// Migration is one change of the schema.
type Migration struct {
	// Version is the number that the file's name begins with.
	Version int64
	// Name is the file's name.
	Name string
	// AppliedAt is when the migration was applied, in UTC; the zero time while it is pending.
	AppliedAt time.Time
}

// Applied reports whether the migration has been applied.
func (m Migration) Applied() bool { return !m.AppliedAt.IsZero() }

// Up applies all pending migrations to the database at url and returns how many it applied, also when one fails.
// Instances that call it at the same time take turns; the later ones find nothing to do.
func Up(ctx context.Context, url string, log *slog.Logger) (applied int, err error) {
	err = with(ctx, url, func(p *goose.Provider) error {
		results, err := p.Up(ctx)
		if partial, ok := errors.AsType[*goose.PartialError](err); ok {
			results = partial.Applied
		}
		applied = len(results)
		for _, r := range results {
			logResult(ctx, log, "migration applied", r)
		}
		return err
	})
	if err != nil {
		return applied, fmt.Errorf("apply migrations: %w", err)
	}
	return applied, nil
}

// Down takes back the migration that was applied last and returns its version, or 0 when none is applied.
func Down(ctx context.Context, url string, log *slog.Logger) (version int64, err error) {
	err = with(ctx, url, func(p *goose.Provider) error {
		result, err := p.Down(ctx)
		if errors.Is(err, goose.ErrNoNextVersion) {
			return nil
		}
		if err != nil {
			return err
		}
		version = result.Source.Version
		logResult(ctx, log, "migration taken back", result)
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("take back the last migration: %w", err)
	}
	return version, nil
}

// Status returns all migrations that this program knows, oldest first.
func Status(ctx context.Context, url string) ([]Migration, error) {
	var list []Migration
	err := with(ctx, url, func(p *goose.Provider) error {
		status, err := p.Status(ctx)
		for _, s := range status {
			m := Migration{Version: s.Source.Version, Name: path.Base(s.Source.Path)}
			if s.State == goose.StateApplied {
				m.AppliedAt = s.AppliedAt.UTC()
			}
			list = append(list, m)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("migration status: %w", err)
	}
	return list, nil
}

// Version returns the newest version that the database at url has, 0 for none, and the newest that this program knows.
// It neither writes nor waits for a migration that is under way, so a starting server may ask. A database that is ahead
// belongs to a newer release, which is fine: see package migrations.
func Version(ctx context.Context, url string) (current, latest int64, err error) {
	db, err := open(url)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = db.Close() }()
	p, err := newProvider(db, migrations.FS)
	if err != nil {
		return 0, 0, err
	}
	sources := p.ListSources()
	latest = sources[len(sources)-1].Version

	var migrated bool
	err = db.QueryRowContext(ctx, "SELECT to_regclass($1) IS NOT NULL", goose.DefaultTablename).Scan(&migrated)
	if err != nil {
		return 0, latest, fmt.Errorf("read schema version: %w", err)
	}
	if !migrated {
		return 0, latest, nil
	}
	current, _, err = p.GetVersions(ctx)
	if err != nil {
		return 0, latest, fmt.Errorf("read schema version: %w", err)
	}
	return current, latest, nil
}

// lockWaitSeconds is how long to wait for another instance that is migrating. Longer than any migration should take,
// and short enough that a deployment that hangs is noticed.
const lockWaitSeconds = 300

func with(ctx context.Context, url string, fn func(*goose.Provider) error) error {
	db, err := open(url)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	// One attempt to connect first: its error says more than goose's.
	if err := db.PingContext(ctx); err != nil {
		return err
	}
	p, err := newProvider(db, migrations.FS)
	if err != nil {
		return err
	}
	return fn(p)
}

// open accepts what the pool accepts: a URL may carry pool_… settings, which a plain connection would send to the
// server as parameters.
func open(url string) (*sql.DB, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("parse database URL: %w", err)
	}
	// Nothing is worth preparing, and behind a pooler a statement of this name may be there from somebody else.
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	return stdlib.OpenDB(*cfg.ConnConfig), nil
}

func newProvider(db *sql.DB, files fs.FS) (*goose.Provider, error) {
	// goose polls for the lock instead of queueing on it, so a session that waits cannot block one that migrates.
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, lockWaitSeconds))
	if err != nil {
		return nil, fmt.Errorf("prepare migration lock: %w", err)
	}
	// The logger of this package says what happened; goose's own would say it again.
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker),
		goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("load migrations: %w", err)
	}
	return p, nil
}

func logResult(ctx context.Context, log *slog.Logger, msg string, r *goose.MigrationResult) {
	if r.Error != nil {
		return
	}
	log.InfoContext(ctx, msg, slog.Int64("version", r.Source.Version), slog.String("file", path.Base(r.Source.Path)),
		slog.Int64("duration_ms", r.Duration.Milliseconds()))
}
