package lint_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"speedybites/internal/monitoring/lint"
)

const root = "../../.."

// TestShipped checks everything that is shipped.
func TestShipped(t *testing.T) {
	t.Parallel()
	found, err := lint.Check(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		t.Error(p)
	}
}

const (
	databaseRules = "alerts/rules/database.yml"
	serviceRules  = "alerts/rules/service.yml"
	recording     = "alerts/rules/recording.yml"
	routes        = "alerts/alertmanager.yml"
	overview      = "dashboards/overview.json"
	httpBoard     = "dashboards/http.json"
)

// broken is one mistake in a file as shipped: its first match of the pattern old becomes new. The problem is reported with
// the line on which the match begins, or with that of the nearest text near before it, where the mistake shows somewhere
// else: "^" is any line of the file, where the parser tells none, and "*" any file.
type broken struct{ name, file, old, new, check, near string }

var mistakes = []broken{
	// Rules.
	{"Yaml", databaseRules, `  - name: speedy-bites-database\n`, "  - name: [speedy\n", "rule/refused", "groups:"},
	{"UnknownKey", databaseRules, `for: 5s`, `fro: 5s`, "rule/refused", ""},
	{"BadDuration", databaseRules, `for: 5s`, `for: 5 seconds`, "rule/refused", ""},
	{"Syntax", databaseRules, `expr: sum by \(job, instance\) \(increase\(`, `expr: sum by (job, instance) ((increase(`, "promql/syntax", ""},
	{"UnknownMetric", recording, `sum by \(job\) \(rate\(speedybites_db_retries_total`, `sum by (job) (rate(speedybites_db_retried_total`, "promql/series", ""},
	{"UnknownLabel", serviceRules, `max by \(job\) \(speedybites_ready\) == 0`, `max by (job) (speedybites_ready{role="x"}) == 0`, "promql/selector", "expr: |"},
	{"UnknownGrouping", serviceRules, `sum by \(job, instance, http_route\)`, `sum by (job, instance, route)`, "promql/aggregate", ""},
	{"BareCounter", serviceRules, `increase\(speedybites_http_panics_total\[10m\]\)`, `speedybites_http_panics_total`, "promql/counter", ""},
	{"RateOfGauge", serviceRules, `go_goroutines\{job="speedy-bites"\}`, `rate(speedybites_ready[30m])`, "promql/counter", ""},
	{"OneScrape", serviceRules, `panics_total\[10m\]`, `panics_total[6s]`, "promql/range", ""},
	{"QuantileWithoutLe", "alerts/rules/pool.yml", `db_client_connection_pool_name, le\)`, `db_client_connection_pool_name)`, "promql/quantile", "expr: |"},
	{"NoPattern", serviceRules, `absent\(up\{job="speedy-bites"\}\)`, `absent(up{job=~"speedy-bites"})`, "promql/regexp", "expr: |"},
	{"Twice", recording, `record: job:http_errors:ratio_rate2h`, `record: job:http_errors:ratio_rate1h`, "rule/duplicate", ""},
	{"RecordName", recording, `record: job_route:http_requests:rate5m`, `record: http_requests_rate5m`, "rule/name", ""},
	{"RecordedForNobody", recording, `      - record: job:db_retries:ratio_rate5m\n`, "      - record: job:nobody:asks\n        expr: sum by (job) (up)\n$0", "rule/orphan", ""},
	{"Severity", serviceRules, `severity: page`, `severity: critical`, "alert/severity", "- alert: SpeedyBitesDown"},
	{"Component", serviceRules, `component: service`, `part: service`, "alert/component", "- alert: SpeedyBitesDown"},
	{"NoComparison", serviceRules, `up\{job="speedy-bites"\} == 0\n`, "up{job=\"speedy-bites\"}\n", "alert/comparison", ""},
	{"AbsentAtOnce", serviceRules, `for: 40s`, `for: 5s`, "alert/absent", "- alert: SpeedyBitesDown"},
	{"NoSummary", serviceRules, `summary: No instance of [^\n]*`, `title: x`, "alert/annotation", "- alert: SpeedyBitesDown"},
	{"RunbookOfAnother", serviceRules, `runbooks \}\}/SpeedyBitesDown`, `runbooks }}/SpeedyBitesInstanceDown`, "alert/runbook", "- alert: SpeedyBitesDown"},
	{"NoRunbook", serviceRules, `alert: SpeedyBitesDown`, `alert: SpeedyBitesGone`, "alert/runbook", ""},
	{"NoTest", serviceRules, `alert: SpeedyBitesDown`, `alert: SpeedyBitesGone`, "alert/test", ""},
	{"NoDashboard", serviceRules, `d/speedy-bites-overview`, `d/speedy-bites-outlook`, "alert/dashboard", "- alert: SpeedyBitesDown"},
	{"NoPanel", serviceRules, `d/speedy-bites-overview`, `d/speedy-bites-synthetic`, "alert/panel", "- alert: SpeedyBitesDown"},
	{"TemplateLabel", serviceRules, `No instance of \{\{ \$labels\.job \}\}`, `No instance of {{ $$labels.instance }}`, "alert/template", "- alert: SpeedyBitesDown"},
	{"DescriptionWithoutValue", serviceRules, `\{\{ \$value \}\} instances of`, `Few instances of`, "alert/description", "- alert: SpeedyBitesDown"},

	// Dashboards.
	{"Json", httpBoard, `"editable": false,`, `"editable": false,,`, "dashboard/refused", "^"},
	{"Uid", httpBoard, `"uid": "speedy-bites-http"`, `"uid": "speedy-bites-web"`, "dashboard/uid", ""},
	{"Editable", httpBoard, `"editable": false`, `"editable": true`, "dashboard/uneditable", "\"uid\": \"speedy-bites-http\""},
	{"NoVariable", httpBoard, `"name": "job",\n      +"label": "Job"`, `"name": "jobs", "label": "Job"`, "dashboard/variable", "\"uid\": \"speedy-bites-http\""},
	{"VariableOfOneSource", httpBoard, `(?s)("name": "instance",.*?"uid": )"\$\{datasource\}"`, `${1}"prometheus"`, "dashboard/variable", "\"name\": \"instance\""},
	{"NoTitle", httpBoard, `"title": "Requests failing"`, `"title": ""`, "panel/description", "\"type\": \"stat\""},
	{"NoDescription", httpBoard, `"description": "\*\*Good:\*\* none, or a share[^\n]*",`, `"description": "",`, "panel/description", "\"type\": \"stat\""},
	{"FixedSource", httpBoard, `("transparent": false,\s*"datasource": \{\s*"type": "prometheus",\s*"uid": )"\$\{datasource\}"`, `${1}"prometheus"`, "panel/datasource", "\"type\": \"stat\""},
	{"NoUnit", httpBoard, `"unit": "reqps",`, ``, "panel/unit", "\"type\": \"stat\""},
	{"NoTargets", httpBoard, `(?s)"targets": \[.*?\n      \]`, `"targets": []`, "panel/targets", "\"type\": \"stat\""},
	{"PanelSyntax", httpBoard, `"sum\(http_server_active_requests`, `"sum((http_server_active_requests`, "promql/syntax", ""},
	{"PanelMetric", httpBoard, `"sum\(http_server_active_requests`, `"sum(http_server_active_request`, "promql/series", ""},
	{"PanelLabel", httpBoard, `http_server_active_requests\{`, `http_server_active_requests{http_route=\"x\",`, "promql/selector", ""},
	{"NotNarrowed", httpBoard, `http_server_active_requests\{job=~\\"\$job\\", `, `http_server_active_requests{`, "panel/selector", ""},
	{"NoSelector", httpBoard, `http_server_active_requests\{[^}]*\}`, `http_server_active_requests`, "panel/selector", ""},
	{"FixedRange", httpBoard, `\[\$__rate_interval\]`, `[5m]`, "promql/range", ""},
	{"DeadDashboard", httpBoard, `"url": "/d/speedy-bites-overview`, `"url": "/d/speedy-bites-outlook`, "panel/link", "\"type\": \"stat\""},
	{"DeadRunbook", httpBoard, `runbooks\}/SpeedyBitesErrorBudgetBurnFast`, `runbooks}/SpeedyBitesErrorBudgetBurn`, "panel/link", "\"type\": \"stat\""},
	{"TimelineUnits", "dashboards/resilience.json", `speedybites_circuit_breaker_state\{`, `speedybites_breaker_state{`, "promql/series", ""},

	// Routes.
	{"RouteYaml", routes, `group_by: \[job, component\]`, `group_by: [job, component`, "routing/refused", ""},
	{"UnknownReceiver", routes, `receiver: page\n`, "receiver: pager\n", "routing/refused", "^"},
	{"WrongReceiver", routes, `matchers: \[severity="page"\]`, `matchers: [severity="pages"]`, "routing/receiver", "*"},
	{"MisspeltInhibition", routes, `alertname="SpeedyBitesPoolExhausted"`, `alertname="SpeedyBitesPoolEmpty"`, "inhibit/name", "- name: pool-mutes-symptoms-of-the-instance"},
	{"MutesWatchdog", routes, `SpeedyBitesInstanceDown\|`, `Watchdog|`, "inhibit/never", "- name: down-mutes-the-rest"},
	{"MutesAudit", routes, `SpeedyBitesInstanceDown\|`, `SpeedyBitesAuditFailing|`, "inhibit/never", "- name: down-mutes-the-rest"},
	{"NeverEqual", routes, `alertname=~"SpeedyBitesResponseTimeHigh\|SpeedyBites\.\*BudgetBurn\.\*"\]\n    equal: \[job\]`, "alertname=~\"SpeedyBitesResponseTimeHigh|SpeedyBites.*BudgetBurn.*\"]\n    equal: [job, instance]", "inhibit/equal", "- name: queries-mute-symptoms-of-the-service"},
	{"MuteEachOther", routes, `target_matchers: \[alertname="SpeedyBitesDatabaseDisconnected"\]`, `target_matchers: [alertname=~"SpeedyBitesDatabaseDisconnected|SpeedyBitesCircuitBreakerOpen"]`, "inhibit/cycle", "- name: breaker-mutes"},
}

// TestBroken breaks the shipped files, one mistake at a time, and wants each to be found on its line.
func TestBroken(t *testing.T) {
	t.Parallel()
	for _, b := range mistakes {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			copyTo(t, dir, "alerts/*.yml", "alerts/*/*.yml", "alerts/*/*.md", "dashboards/*.json", "docs/metrics.md")
			line := b.apply(t, dir)
			found, err := lint.Check(dir)
			if err != nil {
				t.Fatal(err)
			}
			var same []string
			for _, p := range found {
				if p.Check == b.check && (b.near == "*" || p.File == b.file && (p.Line == line || b.near == "^")) {
					return
				}
				same = append(same, p.String())
			}
			t.Errorf("no problem %s at %s:%d; found: %s", b.check, b.file, line, strings.Join(same, "\n"))
		})
	}
}

// copyTo copies what the linter reads.
func copyTo(t *testing.T, dir string, patterns ...string) {
	t.Helper()
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no %s (%v)", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(dir, strings.TrimPrefix(file, root))
			if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// apply makes the mistake and returns the line on which it should be reported.
func (b broken) apply(t *testing.T, dir string) int {
	t.Helper()
	path := filepath.Join(dir, b.file)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	old := regexp.MustCompile(b.old)
	at := old.FindIndex(text)
	if at == nil {
		t.Fatalf("%s has no %s", b.file, b.old)
	}
	replacement := old.Expand(nil, []byte(b.new), text, old.FindSubmatchIndex(text))
	changed := string(text[:at[0]]) + string(replacement) + string(text[at[1]:])
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	place := at[0]
	if len(b.near) > 1 {
		place = strings.LastIndex(changed[:at[1]], b.near)
		if place < 0 {
			t.Fatalf("%s has no %s before it", b.file, b.near)
		}
	}
	return 1 + strings.Count(changed[:place], "\n")
}
