package postgres

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"

	"speedybites/internal/postgres/retry"
)

// Config is the configuration of a DB. The defaults named here are those of the environment; Open takes every value as
// it is.
type Config struct {
	// URL is a postgres:// URL, with one host or several.
	URL string
	// SSL demands TLS verified against SSLRootCert, or against the system's roots when that is empty. It overrides a
	// weaker sslmode of the URL. Without it, the URL's sslmode counts, and disable where it has none.
	SSL         bool
	SSLRootCert string
	// PoolMin and PoolMax are the connections kept and allowed. Defaults 2 and 20. The prober's comes on top.
	PoolMin, PoolMax int
	// IdleTimeout closes connections above PoolMin that were idle for so long. Default 30 s.
	IdleTimeout time.Duration
	// ConnectTimeout bounds one attempt to obtain a connection: the wait for a free one, or the login. Default 10 s.
	ConnectTimeout time.Duration
	// MaxConnAge recycles connections, jittered by a tenth. Default 2 h.
	MaxConnAge time.Duration
	// StatementTimeout is set on the server for every session; the client enforces it too. Default 30 s.
	StatementTimeout time.Duration
	// HealthCheckInterval is the time between fresh logins of the prober while connected. Default 30 s.
	HealthCheckInterval time.Duration
	// Retry says how often a query is attempted. Default 3 attempts, 100 ms.
	Retry retry.Policy
	// BreakerThreshold is the number of failed queries in a row that opens the breaker, BreakerTimeout the time to its
	// trial when the database was never out of reach. Defaults 5 and 60 s.
	BreakerThreshold int
	BreakerTimeout   time.Duration
	// OutageGrace is how long a lost connection is bridged; 0 turns bridging off. Default 10 s.
	OutageGrace time.Duration
	// MaxWaiting bounds the queries that wait for a connection or for the end of an outage. Default 1000.
	MaxWaiting int
	// ReplicaURL is a postgres:// URL of read replicas, one host or several; "" is none. Each has a pool and a breaker of
	// its own, with the same settings.
	ReplicaURL string
	// ReplicaMaxLag is how old a replica's data may be for reads that need not be current, while there is a primary.
	// Default 5 s.
	ReplicaMaxLag time.Duration
}

// Validate reports every setting that makes no sense.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	check(c.PoolMax >= 1, "pool maximum below 1")
	check(c.PoolMin >= 0 && c.PoolMin <= c.PoolMax, "pool minimum outside 0 to the maximum")
	check(c.IdleTimeout > 0 && c.ConnectTimeout > 0 && c.MaxConnAge > 0 && c.StatementTimeout > 0 &&
		c.HealthCheckInterval > 0, "a timeout that is not positive")
	check(c.OutageGrace >= 0, "negative outage grace")
	check(c.MaxWaiting >= 0, "negative number of waiting queries")
	check(c.ReplicaURL == "" || c.ReplicaMaxLag > 0, "a replica lag that is not positive")
	return errors.Join(append(errs, c.Retry.Validate())...)
}

// minAgeForJitter is the age from which it can be jittered: pgxpool cuts the jitter to whole seconds.
const minAgeForJitter = 10 * time.Second

// heartbeat is the time between looks at the servers: at least five in the time that a replica may lag.
func (c Config) heartbeat() time.Duration {
	if c.ReplicaURL == "" {
		return time.Second
	}
	return min(max(c.ReplicaMaxLag/5, 100*time.Millisecond), time.Second)
}

// primaryPool translates the configuration into pgxpool's, hooks aside.
func (c Config) primaryPool(tracers trace.TracerProvider) (*pgxpool.Config, error) {
	dsn, err := c.DSN()
	if err != nil {
		return nil, err
	}
	return c.poolConfig(dsn, tracers)
}

// replicaPools returns the hosts of the replicas and a configuration for each.
func (c Config) replicaPools(tracers trace.TracerProvider) ([]host, []*pgxpool.Config, error) {
	u, err := c.settle(c.ReplicaURL)
	if err != nil {
		return nil, nil, fmt.Errorf("replicas: %w", err)
	}
	q := u.Query()
	q.Del("target_session_attrs") // each host is looked at by itself
	u.RawQuery = q.Encode()
	all, err := c.poolConfig(u.String(), tracers)
	if err != nil {
		return nil, nil, fmt.Errorf("replicas: %w", err)
	}
	hosts := hostsOf(all.ConnConfig)
	pools := make([]*pgxpool.Config, len(hosts))
	for i, h := range hosts {
		pools[i] = all.Copy()
		h.pin(pools[i].ConnConfig)
	}
	return hosts, pools, nil
}

func (c Config) poolConfig(dsn string, tracers trace.TracerProvider) (*pgxpool.Config, error) {
	pc, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err // pgx masks the password
	}
	pc.MinConns, pc.MaxConns = int32(c.PoolMin), int32(c.PoolMax) //nolint:gosec // Validate and the environment bound them
	pc.MaxConnIdleTime = c.IdleTimeout
	pc.HealthCheckPeriod = min(max(c.IdleTimeout/4, 50*time.Millisecond), 5*time.Second)
	pc.MaxConnLifetime = c.MaxConnAge
	if c.MaxConnAge >= minAgeForJitter {
		pc.MaxConnLifetimeJitter = c.MaxConnAge / 10
	}
	pc.PingTimeout = pingTimeout
	pc.ConnConfig.ConnectTimeout = c.ConnectTimeout
	setSession(pc.ConnConfig, "speedy-bites", c.StatementTimeout)
	pc.ConnConfig.Tracer = multitracer.New(statements{},
		otelpgx.NewTracer(otelpgx.WithTracerProvider(statementTracers{tracers}), otelpgx.WithDisableAcquireTracer(),
			otelpgx.WithDisableConnectionDetailsInAttributes(),
			otelpgx.WithDisableSQLStatementInAttributes())) // the query's name says more than its text
	return pc, nil
}

// setSession sets what the server must know of a session.
func setSession(cc *pgx.ConnConfig, name string, statementTimeout time.Duration) {
	cc.RuntimeParams["application_name"] = name
	cc.RuntimeParams["timezone"] = "UTC"
	cc.RuntimeParams["statement_timeout"] = strconv.FormatInt(statementTimeout.Milliseconds(), 10)
}

// DSN returns the primary's URL with TLS and the search for the writable host settled.
func (c Config) DSN() (string, error) {
	u, err := c.settle(c.URL)
	if err != nil {
		return "", err
	}
	if q := u.Query(); strings.Contains(q.Get("host"), ",") && !q.Has("target_session_attrs") {
		q.Set("target_session_attrs", "read-write")
		u.RawQuery = q.Encode()
	}
	return u.String(), nil
}

// severalHosts reports whether a DSN names more than one.
func severalHosts(dsn string) bool {
	u, err := url.Parse(dsn)
	return err == nil && strings.Contains(u.Query().Get("host"), ",")
}

// pinned returns the URL of DSN with one server, host:port, in place of its hosts.
func (c Config) pinned(server string) (string, error) {
	dsn, err := c.DSN()
	if err != nil {
		return "", err
	}
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return "", fmt.Errorf("server: %w", err)
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", errors.New("database URL is not one") // err would show the password
	}
	u.Host = ""
	q := u.Query()
	q.Set("host", host)
	q.Set("port", port)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// settle returns a database URL with its TLS settled, and with a list of hosts among its parameters: net/url, and pgx with
// it, refuses IPv6 addresses and a last host without a port in such a list.
func (c Config) settle(text string) (*url.URL, error) {
	text, hosts, ports := cutHosts(text)
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return nil, errors.New("database URL is not a postgres:// URL") // err would show the password
	}
	q := u.Query()
	if len(hosts) > 0 {
		q.Set("host", strings.Join(hosts, ","))
		q.Set("port", strings.Join(ports, ","))
	}
	switch {
	case c.SSL:
		q.Set("sslmode", "verify-full")
		if c.SSLRootCert != "" {
			q.Set("sslrootcert", c.SSLRootCert)
		}
	case !q.Has("sslmode"):
		// pgx would otherwise prefer TLS without verifying it, at the price of a second dial for each failed one.
		q.Set("sslmode", "disable")
	}
	if !q.Has("connect_timeout") { // in whole seconds; a plain connection would wait for ever
		q.Set("connect_timeout", strconv.Itoa(int(math.Ceil(c.ConnectTimeout.Seconds()))))
	}
	u.RawQuery = q.Encode()
	return u, nil
}

// cutHosts cuts a list of hosts out of a database URL; of one that has a single host it leaves everything as it is.
func cutHosts(text string) (rest string, hosts, ports []string) {
	scheme, rest, _ := strings.Cut(text, "://")
	rest, query, hasQuery := strings.Cut(rest, "?")
	login, list := "", rest
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		login, list = rest[:i+1], rest[i+1:]
	}
	list, path, _ := strings.Cut(list, "/")
	if !strings.Contains(list, ",") {
		return text, nil, nil
	}
	for entry := range strings.SplitSeq(list, ",") {
		name, port := entry, "5432"
		if i := strings.LastIndexByte(entry, ':'); i > strings.LastIndexByte(entry, ']') {
			name, port = entry[:i], entry[i+1:]
		}
		name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
		if socket, err := url.PathUnescape(name); err == nil {
			name = socket
		}
		hosts, ports = append(hosts, name), append(ports, port)
	}
	rest = scheme + "://" + login + "/" + path
	if hasQuery {
		rest += "?" + query
	}
	return rest, hosts, ports
}

// newDialer returns the dialer of all connections: a peer that vanished is noticed by the kernel within seconds, also
// while nothing is being sent.
func newDialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3},
		Control:         setUserTimeout,
	}
}
