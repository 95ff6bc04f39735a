package live_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"speedybites/internal/monitoring/lint"
	"speedybites/internal/monitoring/localstack"
)

// absent is what the stack without Docker does not have, by a part of the queries for it, and why. A query of one of
// them that returns something is taken off the list by the test's failure.
var absent = map[string]string{
	"haproxy_": "no balancer: the load goes to each instance directly",
	"otelcol_": "no collector: no instance exports traces",

	"speedybites_replica_": noReplicas,
	`breaker!="primary"`:   noReplicas,
	`pool_name!="primary"`: noReplicas,
}

// noReplicas is so in the stack of TestOutageIsOnePage; TestFailoverIsOneTicket looks at what there is with them.
const noReplicas = "no replicas"

// queries returns the queries of all dashboards.
func queries(t *testing.T) []lint.Query {
	t.Helper()
	root, err := localstack.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	list, err := lint.Queries(root)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// askEveryPanel makes the query of every panel, as Grafana would, for the time from begin to now.
func askEveryPanel(t *testing.T, s *localstack.Stack, begin time.Time) {
	t.Helper()
	if asked := askPanels(t, s, begin, queries(t), whyEmpty); asked < 50 {
		t.Errorf("only %d queries of panels found", asked)
	}
}

// askPanels makes queries and returns how many. why says why one has no answer, and is empty where it must have one.
func askPanels(t *testing.T, s *localstack.Stack, begin time.Time, list []lint.Query, why func(expr string) string) int {
	t.Helper()
	asked, without := 0, 0
	for _, q := range list {
		name := strings.TrimPrefix(q.Dashboard, "speedy-bites-") + ": " + q.Panel
		if q.Source != "prometheus" {
			without++
			continue
		}
		asked++
		expr := withValues(q.Expr, time.Since(begin))
		data, err := ask(t, s, q, expr, begin)
		switch reason := why(q.Expr); {
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case !data && reason == "":
			t.Errorf("%s shows nothing: %s", name, expr)
		case !data:
			t.Logf("%s shows nothing (%s)", name, reason)
		case reason != "":
			t.Errorf("%s shows something, in spite of: %s", name, reason)
		}
	}
	t.Logf("%d queries of panels made, %d left out, which are for Loki or Tempo", asked, without)
	return asked
}

func whyEmpty(expr string) string {
	for part, reason := range absent {
		if strings.Contains(expr, part) {
			return reason
		}
	}
	return ""
}

// withValues puts what Grafana would into the place of its variables.
func withValues(expr string, shown time.Duration) string {
	return strings.NewReplacer(
		"$__rate_interval", "30s", "${__rate_interval}", "30s", "$__interval", "15s", "${__interval}", "15s",
		"$__range", fmt.Sprintf("%ds", int(shown.Seconds())), "${__range}", fmt.Sprintf("%ds", int(shown.Seconds())),
		"$job", ".+", "${job}", ".+", "$instance", ".+", "${instance}", ".+",
	).Replace(expr)
}

// ask reports whether a query returns a number.
func ask(t *testing.T, s *localstack.Stack, q lint.Query, expr string, begin time.Time) (bool, error) {
	t.Helper()
	if q.Instant {
		vector, err := s.Query(t.Context(), expr)
		for _, sample := range vector {
			if number(sample.Value) {
				return true, err
			}
		}
		return false, err
	}
	matrix, err := s.QueryRange(t.Context(), expr, v1.Range{Start: begin, End: time.Now(), Step: 5 * time.Second})
	for _, row := range matrix {
		for _, sample := range row.Values {
			if number(sample.Value) {
				return true, err
			}
		}
	}
	return false, err
}

func number(v model.SampleValue) bool { return !math.IsNaN(float64(v)) }

// timeline returns the query behind the breaker's timeline on the resilience dashboard.
func timeline(t *testing.T) string {
	t.Helper()
	for _, q := range queries(t) {
		if q.Dashboard == "speedy-bites-resilience" && q.Kind == "state-timeline" && strings.Contains(q.Expr, "circuit_breaker_state") {
			return withValues(q.Expr, time.Minute)
		}
	}
	t.Fatal("the resilience dashboard has no timeline of the breaker")
	return ""
}
