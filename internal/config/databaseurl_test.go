package config_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"speedybites/internal/config"
)

func TestDatabaseURL(t *testing.T) {
	t.Parallel()
	tests := []struct{ url, redacted, mistake string }{
		{url: goodURL, redacted: "postgres://app:xxxxx@db.example:5432/speedy"},
		{url: "postgresql://localhost", redacted: "postgresql://localhost"},
		{url: "postgres://u@h/db", redacted: "postgres://u@h/db"},
		{url: "postgres://u:@h/db", redacted: "postgres://u:xxxxx@h/db"},
		{
			url:      "postgres://u:p%40%2Fw@h1:1,[::1]:2,h3/db?target_session_attrs=read-write&sslmode=verify-full&password=pw&options=-c%20x",
			redacted: "postgres://u:xxxxx@h1:1,[::1]:2,h3/db?target_session_attrs=read-write&sslmode=verify-full&xxxxx&xxxxx",
		},
		{url: "postgres:///db?host=/var/run/postgresql", redacted: "postgres:///db?host=/var/run/postgresql"},
		{url: "postgres://u:pw@%2Fvar%2Frun/db", redacted: "postgres://u:xxxxx@%2Fvar%2Frun/db"},
		{url: "postgres://u:p$w!*'()~@h/db", redacted: "postgres://u:xxxxx@h/db"},

		{url: "mysql://u:pw@h/db", redacted: "[redacted]", mistake: "does not start with"},
		{url: "host=h password=pw", redacted: "[redacted]", mistake: "does not start with"},
		{url: "postgres:/u:pw@h/db", redacted: "[redacted]", mistake: "does not start with"},
		{url: "postgres://u:p@w@h/db", redacted: "postgres://u:xxxxx@h/db", mistake: "@ is written %40"},
		{url: "postgres://u:p/w@h/db", redacted: "postgres://u:xxxxx@h/db", mistake: "/ %2F"},
		{url: "postgres://u:p#w@h/db", redacted: "postgres://u:xxxxx@h/db", mistake: "# %23"},
		{url: "postgres://u:p?w@h/db", redacted: "postgres://xxxxx", mistake: "? %3F"},
		{url: "postgres://u/pw@h/db", redacted: "postgres://xxxxx@h/db", mistake: "/ %2F"},
		{url: "postgres://h/db?password=a@b", redacted: "postgres://xxxxx", mistake: "? %3F"},
		{url: "postgres://u:100%@h/db", redacted: "postgres://u:xxxxx@h/db", mistake: "'%'"},
		{url: "postgres://u:p w@h/db", redacted: "postgres://u:xxxxx@h/db", mistake: "blanks"},
		{url: "postgres://u:hunter2/db", redacted: "postgres://xxxxx", mistake: "a port is not"},
		{url: "postgres://u:pw@h:0/db", redacted: "postgres://u:xxxxx@h:0/db", mistake: "a port is not"},
		{url: "postgres://u:pw@h:70000/db", redacted: "postgres://u:xxxxx@h:70000/db", mistake: "a port is not"},
		{url: "postgres://u:pw@h1,,h2/db", redacted: "postgres://u:xxxxx@h1,,h2/db", mistake: "a host is not"},
		{url: "postgres://u:pw@[::1/db", redacted: "postgres://u:xxxxx@[::1/db", mistake: "brackets"},
		{url: "postgres://u:pw@h/a/b", redacted: "postgres://u:xxxxx@h/xxxxx", mistake: "has a '/'"},
		{url: "postgres://u:pw@h/db?sslmode=on", redacted: "postgres://u:xxxxx@h/db?sslmode=on", mistake: "sslmode is none of"},
		{url: "postgres://h/db?sslmode=disable;password=pw", redacted: "postgres://h/db?xxxxx", mistake: "name=value"},
		{url: "postgres://h/db?connect_timeout=5s", redacted: "postgres://h/db?connect_timeout=5s", mistake: "connect_timeout"},
	}
	for _, test := range tests {
		t.Run(test.url, func(t *testing.T) {
			t.Parallel()
			if got := config.RedactURL(test.url); got != test.redacted {
				t.Errorf("redacted: got %s, want %s", got, test.redacted)
			}
			cfg, err := config.Load([]string{"DATABASE_URL=" + test.url}, files(nil))
			if test.mistake != "" {
				if err == nil || !strings.Contains(err.Error(), test.mistake) {
					t.Errorf("mistake: got %v, want it to contain %q", err, test.mistake)
				}
				return
			}
			if err != nil {
				t.Fatalf("Load: %v", err)
			}
			if got := cfg.Database.RedactedURL(); got != test.redacted {
				t.Errorf("redacted: got %s, want %s", got, test.redacted)
			}
			// What is let through must be what the driver takes.
			if _, err := pgconn.ParseConfig(cfg.Database.URL.Reveal()); err != nil {
				t.Errorf("pgconn.ParseConfig: %v", err)
			}
		})
	}
}
