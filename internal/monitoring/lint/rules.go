package lint

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

// scrapeInterval is that of observability/stack/prometheus/prometheus.yml; TestIntervals compares them.
const scrapeInterval = 5 * time.Second

// rule is one alerting or recording rule, and where it stands.
type rule struct {
	file          string
	line          int
	record, alert string
	expr          string
	exprLine      int
	parsed        parser.Expr // nil when it does not parse
	wait          time.Duration
	labels        map[string]string
	annotations   map[string]string
}

// readRules reads the rule files of a directory. What Prometheus itself would refuse is a problem, with its line.
func readRules(p *problems, dir string) ([]rule, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no rules in %s (%w)", dir, err)
	}
	var rules []rule
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
		}
		if _, errs := rulefmt.Parse(text, false, model.LegacyValidation, promql, slog.New(slog.DiscardHandler)); len(errs) > 0 {
			for _, err := range errs {
				line, message := position(err)
				p.add(file, line, "rule/refused", "%s", message)
			}
		}
		rules = append(rules, parseRules(p, file, text)...)
	}
	return rules, nil
}

// position takes the line out of an error's text, which is where yaml and rulefmt have it.
func position(err error) (int, string) {
	line := 1
	if m := regexp.MustCompile(`\b(?:line )?(\d+)(?::\d+)?: `).FindStringSubmatch(err.Error()); m != nil {
		_, _ = fmt.Sscan(m[1], &line)
	}
	return line, oneLine(err.Error())
}

// ruleFile has of a rule file what is looked at here, as nodes, which know their lines.
type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Record, Alert, Expr, For yaml.Node
			Labels, Annotations      map[string]string
		}
	}
}

func parseRules(p *problems, file string, text []byte) []rule {
	var content ruleFile
	if err := yaml.Unmarshal(text, &content); err != nil {
		return nil // rulefmt has told of it
	}
	var rules []rule
	for _, g := range content.Groups {
		for _, n := range g.Rules {
			r := rule{
				file: file, record: n.Record.Value, alert: n.Alert.Value, expr: n.Expr.Value, exprLine: n.Expr.Line,
				line: max(n.Record.Line, n.Alert.Line), labels: n.Labels, annotations: n.Annotations,
			}
			if n.For.Value != "" {
				d, err := model.ParseDuration(n.For.Value)
				if err != nil { // which rulefmt tells without the line
					p.add(file, n.For.Line, "rule/refused", "for: %v", err)
				}
				r.wait = time.Duration(d)
			}
			var found []finding
			r.parsed, found = parseExpr(r.expr)
			for _, f := range found {
				p.add(file, r.exprLine, f.check, "%s", f.message)
			}
			rules = append(rules, r)
		}
	}
	return rules
}

func checkRules(p *problems, c *catalogue, rules []rule) {
	seen := map[string]bool{}
	for _, r := range rules {
		if r.parsed == nil {
			continue
		}
		for _, f := range checkExpr(c, r.parsed, ruleWindow) {
			p.add(r.file, r.exprLine, f.check, "%s", f.message)
		}
		if key := r.alert + r.record + "=" + r.parsed.String(); seen[key] {
			p.add(r.file, r.line, "rule/duplicate", "the same rule is there already")
		} else {
			seen[key] = true
		}
		if r.record != "" && !regexp.MustCompile(`^[a-z_]+:[a-z0-9_]+:[a-z0-9_]+$`).MatchString(r.record) {
			p.add(r.file, r.line, "rule/name", "%s is not of the form level:metric:operation", r.record)
		}
		if r.alert != "" {
			checkAlert(p, c, r)
		}
	}
}

// ruleWindow wants two scrapes in every range at the least: with one, a missed scrape is a gap.
func ruleWindow(function string, d time.Duration) string {
	if d < 2*scrapeInterval {
		return fmt.Sprintf("%s over %v: fewer than two scrapes of %v", function, d, scrapeInterval)
	}
	return ""
}

func checkAlert(p *problems, c *catalogue, r rule) {
	if s := r.labels["severity"]; !slices.Contains([]string{"page", "ticket", "none"}, s) {
		p.add(r.file, r.line, "alert/severity", "%s: severity %q is not page, ticket or none", r.alert, s)
	}
	if r.labels["component"] == "" {
		p.add(r.file, r.line, "alert/component", "%s has no label component, by which its notifications are grouped", r.alert)
	}
	if r.alert != "Watchdog" && !compares(r.parsed) {
		p.add(r.file, r.exprLine, "alert/comparison", "%s compares with nothing: it fires for every series", r.alert)
	}
	if asksForAbsence(r.parsed) && r.wait < 2*scrapeInterval {
		p.add(r.file, r.line, "alert/absent", "%s: a missed scrape makes it fire, wait for two (for)", r.alert)
	}
	for _, name := range []string{"summary", "description", "runbook_url", "dashboard_url"} {
		if strings.TrimSpace(r.annotations[name]) == "" {
			p.add(r.file, r.line, "alert/annotation", "%s has no %s", r.alert, name)
		}
	}
	checkTemplates(p, c, r)
	if want := "{{ $externalLabels.runbooks }}/" + r.alert; r.annotations["runbook_url"] != want {
		p.add(r.file, r.line, "alert/runbook", "%s: runbook_url is not %s", r.alert, want)
	}
}

// checkTemplates looks for labels that the alert cannot have: the text would have a hole, at the worst moment.
func checkTemplates(p *problems, c *catalogue, r rule) {
	have := outputLabels(c, r.parsed)
	named := regexp.MustCompile(`\$labels\.(\w+)`)
	for name, text := range r.annotations {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			if !have.has(m[1]) {
				p.add(r.file, r.line, "alert/template", "%s: %s names label %s, which the expression has not", r.alert, name, m[1])
			}
		}
	}
	description := r.annotations["description"]
	if !strings.Contains(description, "$value") {
		p.add(r.file, r.line, "alert/description", "%s: the description does not tell the value", r.alert)
	}
	place := "job"
	if have["instance"] {
		place = "instance"
	}
	if have[place] && !strings.Contains(description+r.annotations["summary"], "$labels."+place) {
		p.add(r.file, r.line, "alert/description", "%s: the description does not tell the %s", r.alert, place)
	}
}

// compares reports whether an expression filters.
func compares(e parser.Expr) bool {
	found := false
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.BinaryExpr:
			found = found || n.Op.IsComparisonOperator() && !n.ReturnBool || n.Op == parser.LUNLESS
		case *parser.Call:
			found = found || strings.HasPrefix(n.Func.Name, "absent")
		}
		return nil
	})
	return found
}

func asksForAbsence(e parser.Expr) bool {
	found := false
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if call, ok := n.(*parser.Call); ok && strings.HasPrefix(call.Func.Name, "absent") {
			found = true
		}
		return nil
	})
	return found
}
