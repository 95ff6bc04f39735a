package localpg

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
)

// Standby starts a hot standby that streams from the server, in the directory of cfg, which is made with pg_basebackup
// unless there is data in it. cfg.StandbyName is what synchronous_standby_names calls it, and the name of its replication
// slot. Binaries, database, and settings that cfg does not have are those of the server.
//
// The slot keeps what the standby has not received yet, so a standby that is down for good should be dropped from
// pg_replication_slots.
func (s *Server) Standby(ctx context.Context, cfg Config) (*Server, error) {
	cfg.Binaries, cfg.Database, cfg.Ephemeral = s.bin, s.cfg.Database, s.cfg.Ephemeral
	if cfg.Logger == nil {
		cfg.Logger = s.log
	}
	s.turn.Lock()
	settings := maps.Clone(s.cfg.Settings)
	s.turn.Unlock()
	// A standby must not be stricter than its primary in some, as max_connections; this one would hold every COMMIT
	// after a promotion.
	delete(settings, "synchronous_standby_names")
	maps.Copy(settings, cfg.Settings)
	cfg.Settings = settings

	standby, err := prepare(ctx, cfg, s)
	if err != nil {
		return nil, fmt.Errorf("start a standby of postgresql on port %d in %s: %w", s.port, cfg.Dir, err)
	}
	return standby, nil
}

// copyFrom makes the data directory from that of a running server.
func (s *Server) copyFrom(ctx context.Context, primary *Server) error {
	if s.bin.Basebackup == "" {
		return fmt.Errorf("no pg_basebackup beside %s: a standby needs a complete installation of PostgreSQL", s.bin.Postgres)
	}
	if err := replaceFile(s.home.password(), []byte(primary.password), 0o600); err != nil {
		return err
	}
	name := s.cfg.StandbyName
	_, err := primary.query(ctx, `SELECT pg_create_physical_replication_slot($1, true)
		WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)`, name)
	if err != nil {
		return fmt.Errorf("create the replication slot %s: %w", name, err)
	}
	return s.makeData(ctx, func(tmp string) error {
		source := url.URL{
			Scheme: "postgres", User: url.User(Admin), Host: primary.Addr(),
			RawQuery: url.Values{"application_name": {name}, "sslmode": {"disable"}}.Encode(),
		}
		cmd := s.command(ctx, s.bin.Basebackup, "--pgdata", filepath.Join(tmp, "data"), "--dbname", source.String(),
			"--write-recovery-conf", "--slot", name, "--wal-method", "stream", "--checkpoint", "fast", "--no-sync")
		// Not an argument, as those are for everybody to see; and not a file, as the copy's settings would refer to it.
		cmd.Env = append(cmd.Env, "PGPASSWORD="+primary.password)
		return s.run(ctx, cmd)
	})
}

// Promote makes a standby the primary, and returns when it accepts writes.
func (s *Server) Promote(ctx context.Context) error {
	rows, err := s.query(ctx, "SELECT pg_promote(true, 60)")
	if err == nil && rows[0][0] != "t" {
		err = errors.New("it takes longer than a minute")
	}
	return s.named("promote", err)
}
