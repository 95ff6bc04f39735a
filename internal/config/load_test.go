package config_test

import (
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"speedybites/internal/config"
)

const (
	goodSecret = "0123456789abcdef0123456789abcdef"
	goodURL    = "postgres://app:hunter2@db.example:5432/speedy"
)

// files is a readFile over texts by name.
func files(texts map[string]string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		if text, ok := texts[name]; ok {
			return []byte(text), nil
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
}

// load is for settings that must be right.
func load(t *testing.T, environ []string, texts map[string]string) config.Config {
	t.Helper()
	cfg, err := config.Load(environ, files(texts))
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return cfg
}

// mistakes is for settings that must be wrong.
func mistakes(t *testing.T, environ []string, texts map[string]string) string {
	t.Helper()
	_, err := config.Load(environ, files(texts))
	if err == nil {
		t.Fatal("Load: got no error")
	}
	return err.Error()
}

func TestLoad(t *testing.T) {
	t.Parallel()

	t.Run("Defaults", func(t *testing.T) {
		t.Parallel()
		got := load(t, nil, nil)
		if len(got.Token.Secret.Reveal()) < 32 {
			t.Errorf("generated secret: got %d characters, want at least 32", len(got.Token.Secret.Reveal()))
		}
		if again := load(t, nil, nil); got.Token.Secret.Equal(again.Token.Secret) {
			t.Error("generated secret: got the same one twice")
		}
		got.Token.Secret = config.Secret{}
		want := config.Config{
			Env:  config.Development,
			HTTP: config.HTTP{Port: 4000},
			Database: config.Database{
				ReplicaMaxLag: 5 * time.Second, PoolMin: 2, PoolMax: 20,
				IdleTimeout: 30 * time.Second, ConnectTimeout: 10 * time.Second,
				MaxConnAge: 2 * time.Hour, StatementTimeout: 30 * time.Second,
				HealthCheckInterval: 30 * time.Second,
				RetryAttempts:       3, RetryBase: 100 * time.Millisecond,
				BreakerThreshold: 5, BreakerTimeout: time.Minute,
				OutageGrace: 10 * time.Second, MaxWaiting: 1000,
			},
			Synthetic:   config.Synthetic{Interval: 15 * time.Second},
			Token:       config.Token{SecretGenerated: true, TTL: time.Hour},
			Idempotency: config.Idempotency{TTL: 24 * time.Hour},
			Shutdown:    config.Shutdown{Drain: 500 * time.Millisecond, Timeout: 15 * time.Second},
			Log: config.Log{
				Level: slog.LevelInfo, Dir: "./logs",
				MaxSizeMB: 100, MaxBackups: 10, MaxAgeDays: 30, Compress: true,
			},
			Uploads: config.Uploads{Dir: "./uploads"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("defaults differ (-want +got):\n%s", diff)
		}
	})

	t.Run("Production", func(t *testing.T) {
		t.Parallel()
		got := load(t, []string{"NODE_ENV=production", "DATABASE_URL=" + goodURL, "TOKEN_SECRET=" + goodSecret}, nil)
		if got.Env != config.Production || got.Token.SecretGenerated {
			t.Errorf("got env %v, generated %v, want production, false", got.Env, got.Token.SecretGenerated)
		}
		if got.Token.Secret.Reveal() != goodSecret || got.Database.URL.Reveal() != goodURL {
			t.Error("the secrets are not the ones that were set")
		}
	})

	t.Run("AppEnvGoesBeforeNodeEnv", func(t *testing.T) {
		t.Parallel()
		if got := load(t, []string{"NODE_ENV=production", "APP_ENV=test"}, nil).Env; got != config.Test {
			t.Errorf("got %v, want test", got)
		}
	})

	t.Run("EmptyIsUnset", func(t *testing.T) {
		t.Parallel()
		got := load(t, []string{"PORT=", "LOG_DIR=", "TOKEN_SECRET_FILE="}, map[string]string{".env": "PORT=4100\nLOG_DIR=\n"})
		if got.HTTP.Port != 4100 || got.Log.Dir != "./logs" {
			t.Errorf("got port %d, log directory %q, want 4100, ./logs", got.HTTP.Port, got.Log.Dir)
		}
	})

	t.Run("DefaultsGiveWay", func(t *testing.T) {
		t.Parallel()
		got := load(t, []string{"DB_POOL_MAX=1", "SHUTDOWN_TIMEOUT_MS=100"}, nil)
		if got.Database.PoolMin != 1 || got.Shutdown.Drain != 100*time.Millisecond {
			t.Errorf("got pool minimum %d, drain %v, want 1, 100ms", got.Database.PoolMin, got.Shutdown.Drain)
		}
	})
}

func TestLoadAccepts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		entry string
		got   func(config.Config) any
		want  any
	}{
		{"PORT=0", func(c config.Config) any { return c.HTTP.Addr() }, ":0"},
		{"HOST=127.0.0.1", func(c config.Config) any { return c.HTTP.Addr() }, "127.0.0.1:4000"},
		{"HOST=[::1]", func(c config.Config) any { return c.HTTP.Addr() }, "[::1]:4000"},
		{"HOST=::1", func(c config.Config) any { return c.HTTP.Addr() }, "[::1]:4000"},
		{"METRICS_ADDR=:9464", func(c config.Config) any { return c.Metrics.Addr }, ":9464"},
		{"METRICS_ADDR= localhost:0 ", func(c config.Config) any { return c.Metrics.Addr }, "localhost:0"},
		{"METRICS_ADDR=[::1]:9464", func(c config.Config) any { return c.Metrics.Addr }, "[::1]:9464"},
		{"METRICS_ADDR=", func(c config.Config) any { return c.Metrics.Addr }, ""},
		{"SYNTHETIC_INTERVAL_MS=0", func(c config.Config) any { return c.Synthetic.Interval }, time.Duration(0)},
		{"DB_SSL=1", func(c config.Config) any { return c.Database.SSL }, true},
		{"DB_SSL=True", func(c config.Config) any { return c.Database.SSL }, true},
		{"LOG_COMPRESS=0", func(c config.Config) any { return c.Log.Compress }, false},
		{"LOG_LEVEL=DEBUG", func(c config.Config) any { return c.Log.Level }, slog.LevelDebug},
		{"LOG_LEVEL=warn", func(c config.Config) any { return c.Log.Level }, slog.LevelWarn},
		{"DB_REPLICA_MAX_LAG_MS=100", func(c config.Config) any { return c.Database.ReplicaMaxLag }, 100 * time.Millisecond},
		{"DB_OUTAGE_GRACE_MS=0", func(c config.Config) any { return c.Database.OutageGrace }, time.Duration(0)},
		{"DB_STATEMENT_TIMEOUT= 250 ", func(c config.Config) any { return c.Database.StatementTimeout }, 250 * time.Millisecond},
		{"IDEMPOTENCY_TTL_MS=31536000000", func(c config.Config) any { return c.Idempotency.TTL }, 365 * 24 * time.Hour},
		{"UPLOADS_DIR=/srv/my files", func(c config.Config) any { return c.Uploads.Dir }, "/srv/my files"},
		{"=C:=C:\\odd", func(c config.Config) any { return c.HTTP.Port }, 4000},
		{"no equals sign", func(c config.Config) any { return c.HTTP.Port }, 4000},
	}
	for _, test := range tests {
		t.Run(test.entry, func(t *testing.T) {
			t.Parallel()
			if got := test.got(load(t, []string{test.entry}, nil)); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestLoadRejects(t *testing.T) {
	t.Parallel()
	tests := []struct{ entry, want string }{
		{"APP_ENV=prod", `APP_ENV: "prod": must be development, test or production`},
		{"NODE_ENV=staging", `NODE_ENV: "staging": must be development, test or production`},
		{"PORT=http", `PORT: "http": must be a whole number from 0 to 65535`},
		{"PORT=65536", `PORT: "65536": must be a whole number from 0 to 65535`},
		{"PORT=-1", `PORT: "-1": must be a whole number from 0 to 65535`},
		{"PORT=4e3", `PORT: "4e3": must be a whole number from 0 to 65535`},
		{"PORT=40\n00", `PORT: "40\n00": must be a whole number from 0 to 65535`},
		{"HOST=localhost:4000", `HOST: "localhost:4000": must be an IP address or a host name, without a port`},
		{"METRICS_ADDR=9464", `METRICS_ADDR: "9464": must be host:port or :port, with a port from 0 to 65535`},
		{"METRICS_ADDR=localhost", `METRICS_ADDR: "localhost": must be host:port or :port, with a port from 0 to 65535`},
		{"METRICS_ADDR=:", `METRICS_ADDR: ":": must be host:port or :port, with a port from 0 to 65535`},
		{"METRICS_ADDR=::1", `METRICS_ADDR: "::1": must be host:port or :port, with a port from 0 to 65535`},
		{"METRICS_ADDR=::1:9464", `METRICS_ADDR: "::1:9464": must be host:port or :port, with a port from 0 to 65535`},
		{"METRICS_ADDR=:65536", `METRICS_ADDR: ":65536": must be host:port or :port, with a port from 0 to 65535`},
		{"METRICS_ADDR=:http", `METRICS_ADDR: ":http": must be host:port or :port, with a port from 0 to 65535`},
		{"METRICS_ADDR=http://x:1", `METRICS_ADDR: "http://x:1": must be host:port or :port, with a port from 0 to 65535`},
		{"METRICS_ADDR=a b:1", `METRICS_ADDR: "a b:1": must be host:port or :port, with a port from 0 to 65535`},
		{"DB_POOL_MAX=0", `DB_POOL_MAX: "0": must be a whole number from 1 to 1000`},
		{"DB_POOL_MIN=30", `DB_POOL_MIN: "30": must not exceed the default of DB_POOL_MAX; set that too`},
		{"DB_STATEMENT_TIMEOUT=30s", `DB_STATEMENT_TIMEOUT: "30s": must be a whole number from 1 to 86400000 milliseconds`},
		{"DB_STATEMENT_TIMEOUT=99999999999999999999", `DB_STATEMENT_TIMEOUT: "99999999999999999999": must be a whole number from 1 to 86400000 milliseconds`},
		{"DB_RETRY_ATTEMPTS=0", `DB_RETRY_ATTEMPTS: "0": must be a whole number from 1 to 10`},
		{"DB_BREAKER_THRESHOLD=0", `DB_BREAKER_THRESHOLD: "0": must be a whole number from 1 to 10000`},
		{"DB_SSL=maybe", `DB_SSL: "maybe": must be true or false (or 1, 0)`},
		{"DB_SSL_ROOT_CERT=/ca.pem", "DB_SSL_ROOT_CERT: \"/ca.pem\": must be left out unless DB_SSL is true\n" +
			`DB_SSL_ROOT_CERT: "/ca.pem": must be a file that can be read: file does not exist`},
		{"LOG_LEVEL=trace", `LOG_LEVEL: "trace": must be debug, info, warn or error`},
		{"LOG_LEVEL=INFO+1", `LOG_LEVEL: "INFO+1": must be debug, info, warn or error`},
		{"LOG_DIR= ", `LOG_DIR: " ": must be a path`},
		{"TOKEN_SECRET=too short", `TOKEN_SECRET: set, 9 characters: must be at least 32 characters`},
		{"TOKEN_SECRET=ääääääääääääääää", `TOKEN_SECRET: set, 16 characters: must be at least 32 characters`},
		{"SHUTDOWN_DRAIN_MS=20000", `SHUTDOWN_DRAIN_MS: "20000": must not exceed the default of SHUTDOWN_TIMEOUT_MS; set that too`},
		{"TOKEN_SECRET_FILE=/run/none", `TOKEN_SECRET_FILE: "/run/none": must be a file that can be read: file does not exist`},
		{"PORT=" + strings.Repeat("9", 5000), fmt.Sprintf("PORT: %q…: must be a whole number from 0 to 65535", strings.Repeat("9", 200))},
	}
	for _, test := range tests {
		name, _, _ := strings.Cut(test.want, ":")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := mistakes(t, []string{test.entry}, nil); got != test.want {
				t.Errorf("got %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestLoadReportsEverythingAtOnce(t *testing.T) {
	t.Parallel()
	got := mistakes(t, []string{
		"APP_ENV=production", "PORT=x", "DB_POOL_MIN=5", "DB_POOL_MAX=4", "DB_SSL=perhaps",
		"TOKEN_SECRET=short", "TOKEN_SECRET_FILE=/run/secret", "LOG_LEVEL_FILE=/run/level",
	}, map[string]string{
		".env":       "LOG_DIR=\"unterminated\nDB_RETRY_ATTEMPTS=11 # too many\nwhat is this",
		"/run/level": "loud\n",
	})
	want := strings.Join([]string{
		`.env line 1: LOG_DIR: the closing quote must be on the same line, with nothing but a comment after it`,
		`.env line 3: must be NAME=value, a comment or blank`,
		`PORT: "x": must be a whole number from 0 to 65535`,
		`DB_SSL: "perhaps": must be true or false (or 1, 0)`,
		`DB_RETRY_ATTEMPTS: "11" (from .env line 2): must be a whole number from 1 to 10`,
		`TOKEN_SECRET: must not be set together with TOKEN_SECRET_FILE`,
		`LOG_LEVEL: "loud" (from "/run/level"): must be debug, info, warn or error`,
		`DB_POOL_MIN: "5": must not exceed DB_POOL_MAX, which is 4`,
		`DATABASE_URL: must be set when APP_ENV is production: postgres://user:password@host:port/database, with several host:port after commas where there are more`,
	}, "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mistakes differ (-want +got):\n%s", diff)
	}
}

func TestLoadFiles(t *testing.T) {
	t.Parallel()

	t.Run("TrimsOneNewline", func(t *testing.T) {
		t.Parallel()
		for _, ending := range []struct{ file, value string }{{"", ""}, {"\n", ""}, {"\r\n", ""}, {"\n\n", "\n"}, {" \n", " "}} {
			got := load(t, []string{"TOKEN_SECRET_FILE=/run/s"}, map[string]string{"/run/s": goodSecret + ending.file})
			if got.Token.Secret.Reveal() != goodSecret+ending.value {
				t.Errorf("file ending %q: got %q, want %q", ending.file, got.Token.Secret.Reveal(), goodSecret+ending.value)
			}
		}
	})

	t.Run("EmptyFile", func(t *testing.T) {
		t.Parallel()
		got := mistakes(t, []string{"TOKEN_SECRET_FILE=/run/s"}, map[string]string{"/run/s": "\n"})
		if want := `TOKEN_SECRET_FILE: "/run/s": must be a file with a value in it: it is empty`; got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	})

	t.Run("EnvironmentGoesBeforeDotenv", func(t *testing.T) {
		t.Parallel()
		got := load(t, []string{"TOKEN_SECRET_FILE=/run/s", "PORT=1", "NODE_ENV=test"}, map[string]string{
			".env":   "TOKEN_SECRET=too short\nPORT=2\nHOST=localhost\nAPP_ENV=production\n",
			"/run/s": goodSecret,
		})
		if got.Token.Secret.Reveal() != goodSecret || got.HTTP.Addr() != "localhost:1" || got.Env != config.Test {
			t.Errorf("got %v", got)
		}
	})

	t.Run("DotenvNamesFiles", func(t *testing.T) {
		t.Parallel()
		got := load(t, nil, map[string]string{".env": "PORT_FILE=/run/port # here", "/run/port": "81\n"})
		if got.HTTP.Port != 81 {
			t.Errorf("got %d, want 81", got.HTTP.Port)
		}
	})

	t.Run("UnreadableDotenv", func(t *testing.T) {
		t.Parallel()
		_, err := config.Load(nil, func(name string) ([]byte, error) {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
		})
		if want := ".env: must be readable or absent: permission denied"; err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	})

	t.Run("RootCert", func(t *testing.T) {
		t.Parallel()
		environ := []string{"DB_SSL=true", "DB_SSL_ROOT_CERT=/ca.pem"}
		got := mistakes(t, environ, map[string]string{"/ca.pem": "not a certificate"})
		if want := `DB_SSL_ROOT_CERT: "/ca.pem": must be a file with a certificate in PEM form`; got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
		cfg := load(t, environ, map[string]string{"/ca.pem": certificate(t)})
		if !cfg.Database.SSL || cfg.Database.SSLRootCert != "/ca.pem" {
			t.Errorf("got %v", cfg)
		}
	})
}
