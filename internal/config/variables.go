package config

import (
	"log/slog"
	"time"
)

// Variable describes one environment variable, for the documentation.
type Variable struct {
	// Name is the variable; Name_FILE is accepted for each one.
	Name string
	// Alias is another accepted name, or empty. Name wins.
	Alias string
	// Default is the text that gives the same result as leaving it out; empty
	// where Meaning tells what happens then.
	Default string
	// Meaning says what it does.
	Meaning string
	// Allowed completes the sentence "must be …".
	Allowed string
	// Secret is true where the value is never printed.
	Secret bool
}

// Reference lists every variable that [Load] reads, in a reader's order.
func Reference() []Variable {
	rows := (&Config{}).variables()
	list := make([]Variable, len(rows))
	for i, row := range rows {
		list[i] = row.Variable
		list[i].Allowed = row.kind.allowed()
	}
	return list
}

// variable is a row of the table: what a Variable tells, and the kind that
// stores its value in the Config the table was made for.
type variable struct {
	Variable
	kind kind
}

const (
	minute = int64(time.Minute / time.Millisecond)
	hour   = 60 * minute
	day    = 24 * hour
	year   = 365 * day
)

// variables is the whole table, bound to c. It is long because it is a list:
// what there is to set is read from top to bottom.
func (c *Config) variables() []variable {
	db, log := &c.Database, &c.Log
	return []variable{
		{
			Variable{
				Name: "APP_ENV", Alias: "NODE_ENV", Default: string(Development),
				Meaning: "kind of deployment; production makes TOKEN_SECRET and DATABASE_URL mandatory",
			},
			choice(&c.Env, Development, Test, Production),
		},
		{
			Variable{
				Name: "PORT", Default: "4000",
				Meaning: "port of the API; 0 takes any free one",
			},
			integer(&c.HTTP.Port, 0, 65535),
		},
		{
			Variable{
				Name:    "HOST",
				Meaning: "address or name the API listens on; every interface when empty",
			},
			&hostKind{&c.HTTP.Host},
		},
		{
			Variable{
				Name:    "METRICS_ADDR",
				Meaning: "where /metrics and the other pages for operators are; when empty, on the API's port, in production for clients on the same machine only",
			},
			&addrKind{&c.Metrics.Addr},
		},

		{
			Variable{
				Name: "DATABASE_URL", Secret: true,
				Meaning: "the database; with several hosts the writable one is found; when empty, a private PostgreSQL is started (not in production)",
			},
			&urlKind{&db.URL},
		},
		{
			Variable{
				Name: "DATABASE_REPLICA_URL", Secret: true,
				Meaning: "read replicas, one host or several; reads that need not be current go there while a replica is healthy and fresh enough, and all reads while there is no primary; none when empty",
			},
			&urlKind{&db.ReplicaURL},
		},
		{
			Variable{
				Name: "DB_REPLICA_MAX_LAG_MS", Default: "5000",
				Meaning: "how old a replica's data may be, for reads that go there while there is a primary",
			},
			milliseconds(&db.ReplicaMaxLag, 100, day),
		},
		{
			Variable{
				Name: "DB_POOL_MIN", Default: "2",
				Meaning: "connections kept open; lowered to DB_POOL_MAX when only that is set",
			},
			integer(&db.PoolMin, 0, 1000),
		},
		{
			Variable{
				Name: "DB_POOL_MAX", Default: "20",
				Meaning: "connections allowed; at least DB_POOL_MIN",
			},
			integer(&db.PoolMax, 1, 1000),
		},
		{
			Variable{
				Name: "DB_IDLE_TIMEOUT_MS", Default: "30000",
				Meaning: "idle connections above the minimum close after this",
			},
			milliseconds(&db.IdleTimeout, 1, day),
		},
		{
			Variable{
				Name: "DB_CONNECT_TIMEOUT_MS", Default: "10000",
				Meaning: "limit of one attempt to obtain a connection",
			},
			milliseconds(&db.ConnectTimeout, 1, 10*minute),
		},
		{
			Variable{
				Name: "DB_MAX_CONN_AGE_MS", Default: "7200000",
				Meaning: "age at which a connection is replaced, jittered",
			},
			milliseconds(&db.MaxConnAge, 1, 30*day),
		},
		{
			Variable{
				Name: "DB_STATEMENT_TIMEOUT", Default: "30000",
				Meaning: "limit of one statement in milliseconds, on the server and in the client",
			},
			milliseconds(&db.StatementTimeout, 1, day),
		},
		{
			Variable{
				Name: "DB_SSL", Default: "false",
				Meaning: "demand TLS with a verified certificate",
			},
			&boolKind{&db.SSL},
		},
		{
			Variable{
				Name:    "DB_SSL_ROOT_CERT",
				Meaning: "PEM file to verify against instead of the system's roots; only with DB_SSL=true",
			},
			&pathKind{&db.SSLRootCert},
		},
		{
			Variable{
				Name: "DB_HEALTH_CHECK_INTERVAL_MS", Default: "30000",
				Meaning: "time between full looks at a healthy server",
			},
			milliseconds(&db.HealthCheckInterval, 100, day),
		},
		{
			Variable{
				Name: "DB_RETRY_ATTEMPTS", Default: "3",
				Meaning: "attempts of a query in all",
			},
			integer(&db.RetryAttempts, 1, 10),
		},
		{
			Variable{
				Name: "DB_RETRY_BASE_MS", Default: "100",
				Meaning: "wait before the second attempt; it doubles for each one after",
			},
			milliseconds(&db.RetryBase, 1, minute),
		},
		{
			Variable{
				Name: "DB_BREAKER_THRESHOLD", Default: "5",
				Meaning: "failed queries in a row that open the circuit breaker",
			},
			integer(&db.BreakerThreshold, 1, 10000),
		},
		{
			Variable{
				Name: "DB_BREAKER_TIMEOUT_MS", Default: "60000",
				Meaning: "time from the opening of the breaker to the first trial",
			},
			milliseconds(&db.BreakerTimeout, 1, day),
		},
		{
			Variable{
				Name: "DB_OUTAGE_GRACE_MS", Default: "10000",
				Meaning: "how long a lost connection is bridged; 0 turns bridging off",
			},
			milliseconds(&db.OutageGrace, 0, hour),
		},
		{
			Variable{
				Name: "DB_MAX_WAITING", Default: "1000",
				Meaning: "queries that may wait at once; one more is refused",
			},
			integer(&db.MaxWaiting, 1, 1000000),
		},
		{
			Variable{
				Name: "SYNTHETIC_INTERVAL_MS", Default: "15000",
				Meaning: "time between test queries to the database, which run without traffic too; 0 turns them off",
			},
			milliseconds(&c.Synthetic.Interval, 0, day),
		},

		{
			Variable{
				Name: "TOKEN_SECRET", Secret: true,
				Meaning: "key that signs access tokens; random for each start when empty (not in production)",
			},
			&secretKind{&c.Token.Secret, minTokenSecret},
		},
		{
			Variable{
				Name: "TOKEN_TTL_MS", Default: "3600000",
				Meaning: "life of an access token",
			},
			milliseconds(&c.Token.TTL, 1, year),
		},
		{
			Variable{
				Name: "IDEMPOTENCY_TTL_MS", Default: "86400000",
				Meaning: "how long an Idempotency-Key is remembered",
			},
			milliseconds(&c.Idempotency.TTL, 1, year),
		},

		{
			Variable{
				Name: "SHUTDOWN_DRAIN_MS", Default: "500",
				Meaning: "how long connections are still accepted after SIGTERM; lowered to SHUTDOWN_TIMEOUT_MS when only that is set",
			},
			milliseconds(&c.Shutdown.Drain, 0, hour),
		},
		{
			Variable{
				Name: "SHUTDOWN_TIMEOUT_MS", Default: "15000",
				Meaning: "limit of the whole shutdown; at least SHUTDOWN_DRAIN_MS",
			},
			milliseconds(&c.Shutdown.Timeout, 1, hour),
		},

		{
			Variable{
				Name: "LOG_LEVEL", Default: "info",
				Meaning: "least severe level that is logged",
			},
			&levelKind{&log.Level, []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}},
		},
		{
			Variable{
				Name: "LOG_DIR", Default: "./logs",
				Meaning: "directory of app.log, error.log and audit.log",
			},
			&pathKind{&log.Dir},
		},
		{
			Variable{
				Name: "LOG_MAX_SIZE_MB", Default: "100",
				Meaning: "size at which a log file is rotated",
			},
			integer(&log.MaxSizeMB, 1, 10000),
		},
		{
			Variable{
				Name: "LOG_MAX_BACKUPS", Default: "10",
				Meaning: "rotated files kept of app.log and of error.log; 0 keeps all",
			},
			integer(&log.MaxBackups, 0, 10000),
		},
		{
			Variable{
				Name: "LOG_MAX_AGE_DAYS", Default: "30",
				Meaning: "age at which these are deleted; 0 keeps them",
			},
			integer(&log.MaxAgeDays, 0, 36500),
		},
		{
			Variable{
				Name: "LOG_COMPRESS", Default: "true",
				Meaning: "gzip these",
			},
			&boolKind{&log.Compress},
		},

		{
			Variable{
				Name: "UPLOADS_DIR", Default: "./uploads",
				Meaning: "directory of uploaded images",
			},
			&pathKind{&c.Uploads.Dir},
		},
	}
}
