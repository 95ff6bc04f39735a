package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"speedybites/internal/monitoring/localstack"
)

// guide says what to open, how to break it, and what to watch.
func guide(s *localstack.Stack, rate int) string {
	u := s.URLs()
	load := fmt.Sprintf("%d requests a second come from here (-load).", rate)
	if rate == 0 {
		load = "None comes from here (-load 0)."
	}
	exporter := u.PostgresExporter + "/metrics"
	if u.PostgresExporter == "" {
		exporter = "not there: apt-get install prometheus-postgres-exporter"
	}
	pid := filepath.Join(s.Database().Dir(), "data", "postmaster.pid")
	return fmt.Sprintf(`
The stack is running. Ctrl-C stops it; its data stays in %[1]s.

  notifications   %[2]s
  alerts          %[3]s/alerts
  graphs          %[3]s/graph
  Alertmanager    %[4]s
  health          %[5]s/api/health
                  %[6]s/api/health
  metrics         %[7]s/metrics, %[8]s/metrics
  PostgreSQL      %[9]s
  output          %[1]s/output/*.log

Load: %[10]s More of it:

  while sleep 0.05; do curl -s -o /dev/null %[5]s/api/restaurants; done

Break it: type a letter here, and Enter.

  k      kill -9 PostgreSQL
  1, 2   kill -9 that instance
  s      start again what is not running

Or from another terminal, and then s here:

  kill -9 $(head -n 1 '%[11]s')

What to watch after k:

  - The health: degraded while requests wait (10 s; with DB_OUTAGE_GRACE_MS=0 in the environment not at all), then
    unavailable. The breaker is OPEN after five requests have failed.
  - %[3]s/graph?g0.expr=speedybites_circuit_breaker_state&g0.tab=0&g0.range_input=15m
  - The notifications: one page for the open breaker, within 30 s of its opening. The symptoms are muted; that is
    %[4]s/#/alerts?silenced=true&inhibited=true&active=true
  - After s: CLOSED within seconds, and the page is resolved.

`, s.Dir(), u.Receiver, u.Prometheus, u.Alertmanager, u.API[0], u.API[1], u.Metrics[0], u.Metrics[1], exporter, load, pid)
}

// obey does what is typed, until that ends.
func obey(ctx context.Context, s *localstack.Stack, stdin io.Reader, stdout io.Writer) {
	for lines := bufio.NewScanner(stdin); lines.Scan() && ctx.Err() == nil; {
		typed := strings.TrimSpace(lines.Text())
		if typed == "" {
			continue
		}
		what, err := do(ctx, s, typed)
		if err != nil {
			what = err.Error()
		}
		fmt.Fprintln(stdout, what)
	}
}

// do does one thing and says what it did.
func do(ctx context.Context, s *localstack.Stack, typed string) (string, error) {
	switch typed {
	case "k":
		return "PostgreSQL is killed; s starts it again", s.Database().Kill(ctx)
	case "1":
		return "api-1 is killed; s starts it again", s.KillInstance(0)
	case "2":
		return "api-2 is killed; s starts it again", s.KillInstance(1)
	case "s":
		return "everything is running", errors.Join(s.Database().StartAgain(ctx), s.StartInstance(ctx, 0), s.StartInstance(ctx, 1))
	default:
		return "", fmt.Errorf("%q is none of k, 1, 2 and s", typed)
	}
}
