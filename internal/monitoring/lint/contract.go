package lint

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

// unwatched are metrics that no panel and no rule asks for, and why they are there all the same.
var unwatched = map[string]string{
	"target_info": "says what the service calls itself in traces; for joins by hand",
}

// checkContract holds code, rules, tests, runbooks and panels against each other, in both directions.
func checkContract(p *problems, c *catalogue, rules []rule, boards []board) error {
	tested, err := readTests(filepath.Join(p.root, "alerts", "rules_test"))
	if err != nil {
		return err
	}
	recorded := map[string]rule{}
	for _, r := range rules {
		if r.record != "" {
			recorded[r.record] = r
		}
	}
	shown, all := map[string]map[string]bool{}, map[string]bool{} // metrics, by uid and in all
	for _, b := range boards {
		shown[b.UID.Value] = metricsOf(b, recorded)
		maps.Copy(all, shown[b.UID.Value])
	}

	alerts := map[string]bool{}
	asked := map[string]bool{}
	for _, r := range rules {
		if r.parsed == nil {
			continue
		}
		names := metricsIn(r.parsed, recorded)
		if r.alert == "" {
			continue
		}
		maps.Copy(asked, names)
		alerts[r.alert] = true
		checkRunbook(p, r)
		if t := tested[r.alert]; t.fires == 0 || t.quiet == 0 && r.alert != "Watchdog" { // which is never quiet
			p.add(r.file, r.line, "alert/test", "%s fires in %d tests of alerts/rules_test and does not in %d: both are needed",
				r.alert, t.fires, t.quiet)
		}
		checkPanelOf(p, r, names, shown)
	}
	for name := range tested {
		if !alerts[name] {
			p.add(filepath.Join(p.root, "alerts", "rules_test"), 1, "alert/test", "%s is tested and does not exist", name)
		}
	}
	if err := checkOrphanRunbooks(p, alerts); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(recorded)) {
		if !asked[name] && !all[name] {
			p.add(recorded[name].file, recorded[name].line, "rule/orphan", "no alert and no panel asks for %s", name)
		}
	}
	checkOrphanMetrics(p, c, asked, all)
	return nil
}

// metricsOf returns the metrics that a dashboard shows.
func metricsOf(b board, recorded map[string]rule) map[string]bool {
	names := map[string]bool{}
	for _, n := range b.all() {
		for _, t := range n.Targets {
			if e, err := promql.ParseExpr(substitute.Replace(t.Expr.Value)); err == nil && n.Datasource.Type == "prometheus" {
				maps.Copy(names, metricsIn(e, recorded))
			}
		}
	}
	return names
}

// metricsIn returns the names of the metrics in an expression, and those behind its recording rules. The series of a
// histogram go by the histogram's name.
func metricsIn(e parser.Expr, recorded map[string]rule) map[string]bool {
	names := map[string]bool{}
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		for _, name := range selectedNames(v) {
			names[name] = true
			names[baseName(name)] = true
			if r, ok := recorded[name]; ok && r.parsed != nil && r.parsed != e {
				maps.Copy(names, metricsIn(r.parsed, recorded))
			}
		}
		return nil
	})
	return names
}

func baseName(name string) string {
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if base, ok := strings.CutSuffix(name, suffix); ok {
			return base
		}
	}
	return name
}

func checkRunbook(p *problems, r rule) {
	text, err := os.ReadFile(filepath.Join(p.root, "alerts", "runbooks", r.alert+".md"))
	if err != nil {
		p.add(r.file, r.line, "alert/runbook", "%s has no alerts/runbooks/%s.md", r.alert, r.alert)
	} else if !strings.HasPrefix(string(text), "# "+r.alert+"\n") {
		p.add(r.file, r.line, "alert/runbook", "alerts/runbooks/%s.md does not begin with the alert's name", r.alert)
	}
}

func checkOrphanRunbooks(p *problems, alerts map[string]bool) error {
	files, err := filepath.Glob(filepath.Join(p.root, "alerts", "runbooks", "*.md"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".md"); name != "README" && !alerts[name] {
			p.add(file, 1, "runbook/orphan", "there is no alert %s", name)
		}
	}
	return nil
}

// checkPanelOf wants the dashboard that an alert links to to show something that the alert looks at.
func checkPanelOf(p *problems, r rule, names map[string]bool, shown map[string]map[string]bool) {
	m := regexp.MustCompile(`^\{\{ \$externalLabels\.grafana \}\}/d/([\w-]+)(?:\?|$)`).FindStringSubmatch(r.annotations["dashboard_url"])
	if m == nil || shown[m[1]] == nil {
		p.add(r.file, r.line, "alert/dashboard", "%s: dashboard_url %q leads to no dashboard of ours", r.alert, r.annotations["dashboard_url"])
		return
	}
	for name := range names {
		if shown[m[1]][name] {
			return
		}
	}
	if len(names) > 0 {
		p.add(r.file, r.line, "alert/panel", "%s: %s shows none of %s", r.alert, m[1], strings.Join(slices.Sorted(maps.Keys(names)), ", "))
	}
}

func checkOrphanMetrics(p *problems, c *catalogue, asked, shown map[string]bool) {
	file := filepath.Join(p.root, "docs", "metrics.md")
	for _, name := range slices.Sorted(maps.Keys(c.metrics)) {
		reason := unwatched[name]
		switch {
		case strings.Contains(name, ":"), name == "up", strings.HasPrefix(name, "ALERTS"):
		case asked[name] || shown[name]:
			if reason != "" {
				p.add(file, 1, "metric/orphan", "%s is watched: take it off the list of those that are not", name)
			}
		case reason == "":
			p.add(file, 1, "metric/orphan", "no panel and no rule asks for %s", name)
		}
	}
}

// tests counts the unit tests of one alert.
type tests struct{ fires, quiet int }

// readTests reads promtool's unit tests.
func readTests(dir string) (map[string]tests, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.yml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no tests of rules in %s (%w)", dir, err)
	}
	counts := map[string]tests{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var content struct {
			Tests []struct {
				AlertRuleTest []struct {
					Alertname string
					ExpAlerts []any `yaml:"exp_alerts"`
				} `yaml:"alert_rule_test"`
			}
		}
		if err := yaml.Unmarshal(text, &content); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, t := range content.Tests {
			for _, a := range t.AlertRuleTest {
				n := counts[a.Alertname]
				if len(a.ExpAlerts) > 0 {
					n.fires++
				} else {
					n.quiet++
				}
				counts[a.Alertname] = n
			}
		}
	}
	return counts, nil
}
