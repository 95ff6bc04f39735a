// Package config reads the environment once, at the start, into one typed and
// validated [Config]. Nothing else in the program looks at the environment.
//
// A setting comes from the process environment, else from the file .env in the
// working directory, else from its default. Each NAME may be given as
// NAME_FILE, a file that holds the value, as container platforms hand out
// secrets. An empty value is the same as none. [Load] reports every mistake at
// once, and nothing in this package ever prints a secret.
//
// To add a setting, add a field here and a row in variables.go.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Env is the kind of deployment the process runs in.
type Env string

// The deployments there are.
const (
	Development Env = "development"
	Test        Env = "test"
	Production  Env = "production"
)

// Config is every setting of the program. It is safe to print and to log in
// any way: secrets show as "[redacted]".
type Config struct {
	Env         Env
	HTTP        HTTP
	Metrics     Metrics
	Database    Database
	Synthetic   Synthetic
	Token       Token
	Idempotency Idempotency
	Shutdown    Shutdown
	Log         Log
	Uploads     Uploads
}

// HTTP is where the API listens.
type HTTP struct {
	// Host is the name or address to listen on; empty means every interface.
	Host string
	// Port is the TCP port; 0 lets the system choose a free one.
	Port int
}

// Addr returns the listen address in the form net.Listen takes.
func (h HTTP) Addr() string { return net.JoinHostPort(h.Host, strconv.Itoa(h.Port)) }

// Metrics is where the operators' pages are.
type Metrics struct {
	// Addr is the address of a listener of their own, in the form net.Listen
	// takes; empty means that they are on the API's.
	Addr string
}

// Database says how to reach PostgreSQL and what to do while it is away.
type Database struct {
	// URL is the connection string. It is zero only outside production, where
	// a private server is started instead.
	URL Secret
	// ReplicaURL is the connection string of read replicas; zero is none.
	ReplicaURL Secret
	// ReplicaMaxLag is how old a replica's data may be for reads that need not
	// be current.
	ReplicaMaxLag time.Duration
	// PoolMin and PoolMax are the connections kept open and allowed; PoolMin
	// never exceeds PoolMax.
	PoolMin, PoolMax int
	// IdleTimeout closes connections above PoolMin that were idle this long.
	IdleTimeout time.Duration
	// ConnectTimeout bounds one attempt to obtain a connection.
	ConnectTimeout time.Duration
	// MaxConnAge is the age at which a connection is replaced, before jitter.
	MaxConnAge time.Duration
	// StatementTimeout bounds one statement, on the server and in the client.
	StatementTimeout time.Duration
	// SSL demands TLS with a verified certificate and host name.
	SSL bool
	// SSLRootCert is a PEM file to verify against instead of the system's
	// roots. It is only ever set together with SSL.
	SSLRootCert string
	// HealthCheckInterval is the time between full looks at a healthy server.
	HealthCheckInterval time.Duration
	// RetryAttempts counts all attempts of a query, the first one included.
	RetryAttempts int
	// RetryBase is the wait before the second attempt; it doubles from there.
	RetryBase time.Duration
	// BreakerThreshold is the number of failed queries in a row that opens the
	// circuit breaker.
	BreakerThreshold int
	// BreakerTimeout is how long an open breaker waits for its first trial.
	BreakerTimeout time.Duration
	// OutageGrace is how long a lost connection is bridged; 0 turns that off.
	OutageGrace time.Duration
	// MaxWaiting is how many queries may wait at once.
	MaxWaiting int
}

// RedactedURL returns URL for people: without password, empty when unset.
func (d Database) RedactedURL() string { return RedactURL(d.URL.Reveal()) }

// Synthetic is how the database is tested without traffic.
type Synthetic struct {
	// Interval is the time between test queries; 0 turns them off.
	Interval time.Duration
}

// Token is how access tokens are signed.
type Token struct {
	// Secret is the HS256 key, at least 32 characters.
	Secret Secret
	// SecretGenerated is true when no secret was configured and Secret is
	// random: tokens then end with the process, and other instances refuse
	// them.
	SecretGenerated bool
	// TTL is the life of a token.
	TTL time.Duration
}

// Idempotency is how long the answer to an Idempotency-Key is kept.
type Idempotency struct {
	TTL time.Duration
}

// Shutdown is how the process ends after SIGTERM.
type Shutdown struct {
	// Drain is how long listeners still accept; it never exceeds Timeout.
	Drain time.Duration
	// Timeout bounds the whole shutdown.
	Timeout time.Duration
}

// Log is where the log files are and how they are rotated.
type Log struct {
	Level slog.Level
	// Dir is the directory of app.log, error.log and audit.log.
	Dir string
	// MaxSizeMB is the size in MiB at which a file is rotated.
	MaxSizeMB int
	// MaxBackups is the number of rotated files kept of each; 0 keeps all.
	MaxBackups int
	// MaxAgeDays is the age at which rotated files are deleted; 0 means never.
	MaxAgeDays int
	// Compress gzips rotated files.
	Compress bool
}

// Uploads is where uploaded images are kept.
type Uploads struct {
	Dir string
}

// CheckDirs creates the directories for logs and uploads where they are absent
// and tries whether they can be written to. Its error is an [*Error] that
// names every directory at fault.
func (c Config) CheckDirs() error {
	var found []Mistake
	for _, dir := range []struct{ name, path string }{
		{"LOG_DIR", c.Log.Dir},
		{"UPLOADS_DIR", c.Uploads.Dir},
	} {
		if err := checkWritable(dir.path); err != nil {
			found = append(found, Mistake{
				Name: dir.name, Value: quote(dir.path),
				Problem: "must be a directory that exists or can be created, and be writable: " + cause(err),
			})
		}
	}
	return asError(found)
}

func checkWritable(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("create directory: %w", err)
	}
	// Permission bits do not tell: read-only mounts, full disks and root's
	// privileges are only found by writing.
	probe, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// cause is the operating system's reason without the path, which the mistake
// already shows.
func cause(err error) string {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err.Error()
	}
	return err.Error()
}

// String lists every setting as NAME=value, secrets redacted.
func (c Config) String() string {
	var b strings.Builder
	for i, v := range c.variables() {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s=%s", v.Name, v.kind.show())
	}
	return b.String()
}

// LogValue is a group with one attribute for each setting, secrets redacted.
func (c Config) LogValue() slog.Value {
	vars := c.variables()
	attrs := make([]slog.Attr, len(vars))
	for i, v := range vars {
		attrs[i] = slog.String(strings.ToLower(v.Name), v.kind.show())
	}
	return slog.GroupValue(attrs...)
}
