package localpg

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
)

const (
	// Admin is the superuser of every server. It is for taking care of the server, see [Server.AdminURL].
	Admin = "postgres"
	// User is the ordinary role that owns the database, see [Server.URL]. It is no superuser, so the connections
	// PostgreSQL reserves for superusers stay free for the care of a server whose users have taken all others.
	User = "speedybites"
)

// Config says where a private PostgreSQL lives and how it runs. Only Dir is required.
type Config struct {
	// Dir holds everything of one server: data, settings, password, log. It is created if missing; else it must be
	// empty or one that this package made.
	Dir string
	// Port to listen on, always on 127.0.0.1. 0 takes the port of the directory's previous run, or a free one where
	// there was none or it is taken. A server keeps its port however often it is stopped, killed and started again.
	Port int
	// Database that [Server.URL] points to, created if missing. Default "speedybites".
	Database string
	// Settings are added to postgresql.conf, by name. Those that keep the server private cannot be set.
	Settings map[string]string
	// Ephemeral trades safety from power cuts for speed (fsync off, small files): for servers that a test throws away.
	// Killing the processes of such a server still loses nothing, the pages written are the kernel's by then.
	Ephemeral bool
	// StandbyName is the application_name and the replication slot of a server made by [Server.Standby]: lower case
	// letters, digits and underscores. Default "standby".
	StandbyName string
	// Binaries to run. Default: what [Find] finds.
	Binaries Binaries
	// CacheDir keeps downloaded binaries, see [Options].
	CacheDir string
	// Logger hears what Start does, and why. Default: nobody.
	Logger *slog.Logger
}

// Validate reports every mistake in the configuration at once.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("dir is empty"))
	}
	if c.Port < 0 || c.Port > 65535 {
		errs = append(errs, fmt.Errorf("port %d is not between 0 and 65535", c.Port))
	}
	if c.StandbyName != "" && !regexp.MustCompile(`^[a-z0-9_]{1,63}$`).MatchString(c.StandbyName) {
		errs = append(errs, fmt.Errorf("standby name %q has other characters than a-z, 0-9 and _, or too many", c.StandbyName))
	}
	return errors.Join(append(errs, checkSettings(c.Settings))...)
}

// complete returns the configuration with its defaults filled in and a directory that does not depend on the working
// directory: PostgreSQL changes its own.
func (c Config) complete() (Config, error) {
	if err := c.Validate(); err != nil {
		return c, err
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return c, err
	}
	c.Dir = dir
	if c.Database == "" {
		c.Database = "speedybites"
	}
	if c.StandbyName == "" {
		c.StandbyName = "standby"
	}
	c.Logger = orDiscard(c.Logger)
	c.Settings = maps.Clone(c.Settings)
	if c.Settings == nil {
		c.Settings = map[string]string{}
	}
	return c, nil
}

func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}

// checkSettings rejects names that are none, and those that would open the server to others or move it.
func checkSettings(settings map[string]string) error {
	var errs []error
	name := regexp.MustCompile(`^[a-z_][a-z0-9_.]*$`)
	for k := range settings {
		switch k {
		case "listen_addresses", "port", "unix_socket_directories", "data_directory", "config_file", "hba_file",
			"ident_file", "external_pid_file", "log_destination", "logging_collector":
			errs = append(errs, fmt.Errorf("setting %s is not for callers to choose", k))
		default:
			if !name.MatchString(k) {
				errs = append(errs, fmt.Errorf("setting %q is no name of a setting", k))
			}
		}
	}
	return errors.Join(errs...)
}

// cacheDir is where downloaded binaries are kept. Root's own cache is of no use: the unprivileged user that runs the
// server for root could not read it.
func cacheDir(dir string) (string, error) {
	if dir != "" {
		return filepath.Abs(dir)
	}
	if os.Geteuid() == 0 {
		return "/var/cache/speedy-bites", nil
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("choose a cache directory: %w", err)
	}
	return filepath.Join(base, "speedy-bites"), nil
}
