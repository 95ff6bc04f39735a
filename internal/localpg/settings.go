package localpg

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// SetSettings adds settings to those of the server, and returns when they are in force for all its processes, or at the
// next start if the server is not running or a setting needs one. A wrong name or value is an error and changes nothing.
//
// With synchronous_standby_names = 'nobody', for example, every COMMIT is made durable and then waits, unanswered.
func (s *Server) SetSettings(ctx context.Context, settings map[string]string) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if err := checkSettings(settings); err != nil {
		return fmt.Errorf("set postgresql's settings: %w", err)
	}
	merged := maps.Clone(s.cfg.Settings)
	maps.Copy(merged, settings)
	if err := s.applySettings(ctx, merged); err != nil {
		return fmt.Errorf("set postgresql's settings: %w", errors.Join(err, s.writeSettings(s.cfg.Settings)))
	}
	s.cfg.Settings = merged
	return nil
}

func (s *Server) applySettings(ctx context.Context, merged map[string]string) error {
	if err := s.writeSettings(merged); err != nil {
		return err
	}
	p, err := s.running()
	if errors.Is(err, ErrNotRunning) {
		return nil
	}
	before, err := s.query(ctx, `SELECT pg_conf_load_time(), string_agg(f.name || ': ' || f.error, ', ')
			FILTER (WHERE f.error IS NOT NULL AND s.context IS DISTINCT FROM 'postmaster')
		FROM pg_file_settings f LEFT JOIN pg_settings s ON lower(s.name) = lower(f.name)`)
	if err != nil {
		return err
	}
	if mistakes := before[0][1]; mistakes != "" {
		return errors.New(mistakes)
	}
	if err := p.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	// A new session inherits the settings of the first process, so it tells when that has them.
	err = until(ctx, func() (bool, error) {
		now, err := s.query(ctx, "SELECT pg_conf_load_time()")
		return err == nil && now[0][0] != before[0][0], err
	})
	if err != nil {
		return err
	}
	// Whether COMMIT waits is decided by the checkpointer, which may read its new settings later than others; it does
	// before it begins a checkpoint.
	_, err = s.query(ctx, "CHECKPOINT")
	return err
}

// writeSettings writes postgresql.conf: the one initdb made, what keeps the server private, and the given settings.
func (s *Server) writeSettings(settings map[string]string) error {
	all := map[string]string{
		"listen_addresses": "127.0.0.1", "port": strconv.Itoa(s.port), "unix_socket_directories": "",
		"logging_collector": "off", "log_destination": "stderr", "log_line_prefix": "%m [%p] %q%u@%d %a ",
		"timezone": "UTC", "log_timezone": "UTC", "max_connections": "100",
	}
	if s.cfg.Ephemeral {
		maps.Copy(all, map[string]string{
			"fsync": "off", "full_page_writes": "off", "shared_buffers": "32MB",
			// Shared memory in files of the data directory goes with it, also after Kill.
			"dynamic_shared_memory_type": "mmap",
		})
	}
	maps.Copy(all, settings)
	var text strings.Builder
	fmt.Fprintf(&text, "# Written at every start. To change a setting for good, use data/postgresql.conf.\ninclude %s\n",
		quoteSetting(s.home.data()+"/postgresql.conf"))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&text, "%s = %s\n", name, quoteSetting(all[name]))
	}
	return replaceFile(s.home.conf(), []byte(text.String()), 0o644)
}

func quoteSetting(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", "''", "\n", `\n`).Replace(value) + "'"
}
