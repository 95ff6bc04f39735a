package boards_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/prometheus/prometheus/promql/parser"
)

// What Grafana's variables stand for in these tests. No query has the duration of its own.
const (
	rateInterval = 77 * time.Second
	shownTime    = 78 * time.Minute
)

// filled returns a query as Prometheus would get it.
func filled(expr string) string {
	return strings.NewReplacer("$__rate_interval", "77s", "$__interval", "7s", "$__range", "78m",
		"$job", ".+", "$instance", "(a|b)").Replace(expr)
}

// TestPromQL parses every query for Prometheus, and looks at its rates and selectors.
func TestPromQL(t *testing.T) {
	t.Parallel()
	promql := parser.NewParser(parser.Options{})
	// Other jobs have these: they are not the chosen instances.
	elsewhere := regexp.MustCompile(`^(pg_|prometheus_|alertmanager_|otelcol_|haproxy_|ALERTS|job:)`)
	for _, b := range all(t) {
		queries, err := b.Queries()
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range queries {
			if q.Language != "promql" {
				continue
			}
			where := b.Name + ", " + q.Place + ", " + q.Ref
			expr, err := promql.ParseExpr(filled(q.Expr))
			if err != nil {
				t.Errorf("%s: %v\n%s", where, err, q.Expr)
				continue
			}
			// Grafana leaves alone what it does not know, such as the group of a label_replace.
			if strings.Contains(strings.ReplaceAll(filled(q.Expr), `"$1"`, ""), "$") {
				t.Errorf("%s has an unknown variable: %s", where, q.Expr)
			}
			parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
				switch n := node.(type) {
				case *parser.Call:
					rate(t, where, n, q.Instant)
				case *parser.VectorSelector:
					text := n.String()
					if !elsewhere.MatchString(n.Name) && where != "telemetry, Targets down, A" && q.Place != "Targets of all jobs" &&
						q.Place != "Memory of the monitoring" &&
						(!strings.Contains(text, `job=~".+"`) || !strings.Contains(text, `instance=~"(a|b)"`)) {
						t.Errorf("%s does not ask for the chosen instances: %s", where, text)
					}
				}
				return nil
			})
		}
	}
}

// rate looks at the time over which a graph takes a rate: with a fixed one, zooming out would skip over what happened between.
// A tile says over which time it looks, and means that one, whatever is shown.
func rate(t *testing.T, where string, call *parser.Call, instant bool) {
	t.Helper()
	switch call.Func.Name {
	case "rate", "irate", "increase", "changes":
	default:
		return
	}
	over := call.Args[0].(*parser.MatrixSelector).Range
	if !instant && over != rateInterval {
		t.Errorf("%s takes a %s over %v and not over $__rate_interval", where, call.Func.Name, over)
	}
	if instant && over == rateInterval {
		t.Errorf("%s is for one moment, but its %s depends on the width of the panel", where, call.Func.Name)
	}
	if over == shownTime && !instant {
		t.Errorf("%s takes a %s over the shown time at every point of it", where, call.Func.Name)
	}
}

// TestLogQL looks at the queries for logs, without a parser, which would bring half of Loki with it: each selects the chosen
// instances, and a count has Grafana's own interval.
func TestLogQL(t *testing.T) {
	t.Parallel()
	selector := regexp.MustCompile(`\{job=~"\$job", instance=~"\$instance"(, file="(app|error|audit)\.log")?\}`)
	found := 0
	for _, b := range all(t) {
		queries, err := b.Queries()
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range queries {
			if q.Language != "logql" {
				continue
			}
			found++
			if len(selector.FindAllString(q.Expr, -1)) != 1 {
				t.Errorf("%s, %s does not select log lines as all do: %s", b.Name, q.Place, q.Expr)
			}
			if strings.Contains(q.Expr, "_over_time(") && !strings.Contains(q.Expr, "[$__auto]") {
				t.Errorf("%s, %s counts over something else than $__auto: %s", b.Name, q.Place, q.Expr)
			}
			if strings.Count(q.Expr, "(") != strings.Count(q.Expr, ")") || strings.Count(q.Expr, `"`)%2 != 0 {
				t.Errorf("%s, %s: brackets or quotes are open in %s", b.Name, q.Place, q.Expr)
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d queries for logs", found)
	}
}

// TestExemplars looks for the way from every latency to its traces.
func TestExemplars(t *testing.T) {
	t.Parallel()
	latency := regexp.MustCompile(`histogram_quantile\(0\.99.*(http_server_request|db_client_operation|connection_wait|synthetic_probe)_`)
	found := 0
	for _, b := range all(t) {
		for _, p := range b.Panels() {
			for _, target := range p.Targets {
				q, ok := target.(prometheus.Dataquery)
				if !ok || !*q.Range || !latency.MatchString(q.Expr) {
					continue
				}
				found++
				if q.Exemplar == nil || !*q.Exemplar {
					t.Errorf("%s, %s shows no exemplars: %s", b.Name, *p.Title, q.Expr)
				}
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d latencies", found)
	}
}
