package lint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// board is a dashboard, read as nodes: JSON is YAML, and YAML's nodes know their lines.
type board struct {
	file   string
	UID    yaml.Node
	Title  string
	Edit   *bool `yaml:"editable"`
	Tags   []string
	Panels []panel
	Links  []link

	Templating struct {
		List []variable
	}
	Annotations struct {
		List []struct {
			Name       string
			Datasource datasource
			Target     target
		}
	}
}

type variable struct {
	Name       yaml.Node
	Type       string
	Label      string
	Multi      bool
	AllValue   string `yaml:"allValue"`
	Refresh    int
	Datasource datasource
}

type datasource struct{ Type, UID string }

type link struct{ Title, URL, Type string }

type panel struct {
	Type        yaml.Node
	Title       string
	Description string
	Datasource  datasource
	Targets     []target
	Links       []link
	Panels      []panel // of a row that is folded

	FieldConfig struct {
		Defaults struct {
			Unit     string
			Mappings []any
			Links    []link
		}
		Overrides []struct {
			Properties []struct {
				ID    string
				Value any
			}
		}
	} `yaml:"fieldConfig"`
}

type target struct {
	Expr       yaml.Node
	RefID      string `yaml:"refId"`
	Instant    bool
	Exemplar   bool
	Datasource datasource
}

// readDashboards reads the dashboards of a directory.
func readDashboards(p *problems, dir string) ([]board, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no dashboards in %s (%w)", dir, err)
	}
	var boards []board
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read dashboards: %w", err)
		}
		b := board{file: file}
		if err := yaml.Unmarshal(text, &b); err != nil {
			line, message := position(err)
			p.add(file, line, "dashboard/refused", "%s", message)
			continue
		}
		boards = append(boards, b)
	}
	return boards, nil
}

// Query is one query of a panel, for those who want to make it.
type Query struct {
	// Dashboard is its uid, Panel its title, Kind the type of the panel and Source that of the data source.
	Dashboard, Panel, Kind, Source string
	Expr                           string
	Instant                        bool
}

// Queries returns every query of every dashboard of a repository.
func Queries(root string) ([]Query, error) {
	p := &problems{root: root}
	boards, err := readDashboards(p, filepath.Join(root, "dashboards"))
	if err != nil {
		return nil, err
	}
	if len(p.list) > 0 {
		return nil, errors.New(p.list[0].String())
	}
	var queries []Query
	for _, b := range boards {
		for _, n := range b.all() {
			for _, t := range n.Targets {
				queries = append(queries, Query{
					Dashboard: b.UID.Value, Panel: n.Title, Kind: n.Type.Value, Source: n.Datasource.Type, Expr: t.Expr.Value, Instant: t.Instant,
				})
			}
		}
	}
	return queries, nil
}

// all returns the panels of a dashboard, also of folded rows, without the rows themselves.
func (b board) all() []panel {
	var list []panel
	for _, n := range b.Panels {
		for _, inner := range append([]panel{n}, n.Panels...) {
			if inner.Type.Value != "row" {
				list = append(list, inner)
			}
		}
	}
	return list
}

func checkDashboards(p *problems, c *catalogue, boards []board, rules []rule) {
	links := linkChecker(p.root, boards, rules)
	uids := map[string]bool{}
	for _, b := range boards {
		if want := "speedy-bites-" + strings.TrimSuffix(filepath.Base(b.file), ".json"); b.UID.Value != want || uids[want] {
			p.add(b.file, b.UID.Line, "dashboard/uid", "uid %q is not %s", b.UID.Value, want)
		}
		uids[b.UID.Value] = true
		if b.Edit == nil || *b.Edit {
			p.add(b.file, b.UID.Line, "dashboard/uneditable", "%s can be edited: the change would be lost with the next start", b.Title)
		}
		checkVariables(p, b)
		for _, l := range b.Links {
			if message := links(l); message != "" {
				p.add(b.file, b.UID.Line, "dashboard/link", "%s", message)
			}
		}
		for _, a := range b.Annotations.List {
			if a.Datasource.Type == "prometheus" {
				checkQuery(p, c, b, a.Target.Expr, true)
			}
		}
		for _, n := range b.all() {
			checkPanel(p, c, b, n, links)
		}
	}
}

// checkVariables wants the three variables by which Grafana's dashboards are narrowed everywhere.
func checkVariables(p *problems, b board) {
	found := map[string]bool{}
	for _, v := range b.Templating.List {
		name := v.Name.Value
		found[name] = true
		switch {
		case name == "datasource" && (v.Type != "datasource" || v.Label != "Data Source"):
			p.add(b.file, v.Name.Line, "dashboard/variable", `datasource is not a data source with the label "Data Source"`)
		case slices.Contains([]string{"job", "instance"}, name):
			if v.Type != "query" || !v.Multi || v.AllValue != ".+" || v.Refresh != 2 || v.Datasource.UID != "${datasource}" {
				p.add(b.file, v.Name.Line, "dashboard/variable",
					"%s is not a multi-valued query of ${datasource} with allValue .+ that is made again when the time changes", name)
			}
		}
	}
	for _, name := range []string{"datasource", "job", "instance"} {
		if !found[name] {
			p.add(b.file, b.UID.Line, "dashboard/variable", "%s has no variable %s", b.Title, name)
		}
	}
}

// withoutQueries are the panels that show something else than the answer to a query.
var withoutQueries = newSet("text", "alertlist", "dashlist")

func checkPanel(p *problems, c *catalogue, b board, n panel, links func(link) string) {
	line := n.Type.Line
	if n.Title == "" || n.Description == "" {
		p.add(b.file, line, "panel/description", "panel %q needs a title and a description", n.Title)
	}
	for _, l := range slices.Concat(n.Links, n.FieldConfig.Defaults.Links) {
		if message := links(l); message != "" {
			p.add(b.file, line, "panel/link", "%q: %s", n.Title, message)
		}
	}
	if withoutQueries[n.Type.Value] {
		return
	}
	if len(n.Targets) == 0 {
		p.add(b.file, line, "panel/targets", "panel %q asks for nothing", n.Title)
	}
	if !strings.HasPrefix(n.Datasource.UID, "${") {
		p.add(b.file, line, "panel/datasource", "panel %q has data source %q instead of a variable", n.Title, n.Datasource.UID)
	}
	if n.Type.Value != "logs" && !n.hasUnit() {
		p.add(b.file, line, "panel/unit", "panel %q has neither unit nor mappings", n.Title)
	}
	for _, t := range n.Targets {
		if n.Datasource.Type == "prometheus" {
			checkQuery(p, c, b, t.Expr, t.Instant)
		} else if strings.TrimSpace(t.Expr.Value) == "" {
			p.add(b.file, line, "panel/targets", "panel %q has an empty query", n.Title)
		}
	}
}

func (n panel) hasUnit() bool {
	d := n.FieldConfig.Defaults
	if d.Unit != "" || len(d.Mappings) > 0 {
		return true
	}
	for _, o := range n.FieldConfig.Overrides {
		for _, property := range o.Properties {
			if property.ID == "unit" || property.ID == "mappings" {
				return true
			}
		}
	}
	return false
}

// The lengths that stand in for Grafana's variables while an expression is parsed.
const (
	rateInterval = 4*time.Minute + 59*time.Second
	interval     = 3*time.Minute + 59*time.Second
	timeRange    = 2*time.Hour + 59*time.Minute
)

// substitute puts values in the place of Grafana's variables.
var substitute = strings.NewReplacer(
	"$__rate_interval", "4m59s", "${__rate_interval}", "4m59s", "$__interval", "3m59s", "${__interval}", "3m59s",
	"$__range", "2h59m", "${__range}", "2h59m", "$job", ".+", "${job}", ".+", "$instance", ".+", "${instance}", ".+",
)

func checkQuery(p *problems, c *catalogue, b board, expr yaml.Node, instant bool) {
	report := func(check, message string) { p.add(b.file, expr.Line, check, "%s", message) }
	e, found := parseExpr(substitute.Replace(expr.Value))
	if e == nil {
		report(found[0].check, found[0].message)
		return
	}
	for _, f := range checkExpr(c, e, func(function string, d time.Duration) string { return panelWindow(function, d, instant) }) {
		report(f.check, f.message+" in "+oneLine(expr.Value))
	}
	// Which job and instance is the reader's choice, as far as the metric has them.
	for _, m := range regexp.MustCompile(`([a-zA-Z_:][\w:]*)\{`).FindAllStringSubmatchIndex(expr.Value, -1) {
		name := expr.Value[m[2]:m[3]]
		known, ok := c.find(name)
		selector, _, closed := strings.Cut(expr.Value[m[1]:], "}")
		if !ok || !closed || known.labels == nil && !ofService(c, name) || strings.Contains(selector, "job!") {
			continue // another program's
		}
		for _, label := range scraped {
			has := known.labels == nil || slices.Contains(known.labels, label)
			if has && !strings.Contains(selector, label+`=~"$`+label+`"`) && !regexp.MustCompile(label+`(!=|!~|=)`).MatchString(selector) {
				report("panel/selector", name+` is not narrowed by `+label+`=~"$`+label+`" in `+oneLine(expr.Value))
			}
		}
	}
	if bare := regexp.MustCompile(`\b(speedybites|db_client|http_server)_\w+\b`).FindAllStringIndex(expr.Value, -1); bare != nil {
		for _, at := range bare {
			name := expr.Value[at[0]:at[1]]
			if _, ok := c.metrics[name]; ok && !strings.HasPrefix(expr.Value[at[1]:], "{") && !partOfName(expr.Value, at[0]) {
				report("panel/selector", name+" is not narrowed by job and instance in "+oneLine(expr.Value))
			}
		}
	}
}

// partOfName reports whether what begins at i is the middle of a recording rule's name.
func partOfName(expr string, i int) bool { return i > 0 && expr[i-1] == ':' }

// ofService reports whether a metric of a library is one that docs/metrics.md lists for the service.
func ofService(c *catalogue, name string) bool {
	return slices.ContainsFunc(c.prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// panelWindow wants rates over $__rate_interval, which Grafana makes long enough for the zoom and for four scrapes.
func panelWindow(function string, d time.Duration, instant bool) string {
	switch function {
	case "rate", "irate":
		if d != rateInterval && (!instant || d < 4*scrapeInterval) {
			return function + " over another range than $__rate_interval"
		}
	case "increase", "changes", "resets":
		if d != rateInterval && d != interval && d != timeRange && d < 4*scrapeInterval {
			return fmt.Sprintf("%s over %v, which is fewer than four scrapes", function, d)
		}
	}
	return ""
}

// linkChecker returns a function that says what is wrong with a link: a dashboard or a runbook that does not exist.
func linkChecker(root string, boards []board, rules []rule) func(link) string {
	uids, alerts := map[string]bool{}, map[string]bool{}
	for _, b := range boards {
		uids[b.UID.Value] = true
	}
	for _, r := range rules {
		alerts[r.alert] = true
	}
	dashboard := regexp.MustCompile(`(?:^|[^\w])/?d/([\w-]+)`)
	runbook := regexp.MustCompile(`runbooks\}?/(\w+)`)
	return func(l link) string {
		if l.Type == "dashboards" {
			return "" // by tag
		}
		if m := dashboard.FindStringSubmatch(l.URL); m != nil && !uids[m[1]] {
			return fmt.Sprintf("link %q leads to dashboard %s, which does not exist", l.Title, m[1])
		}
		if m := runbook.FindStringSubmatch(l.URL); m != nil {
			if _, err := os.Stat(filepath.Join(root, "alerts", "runbooks", m[1]+".md")); err != nil || !alerts[m[1]] {
				return fmt.Sprintf("link %q leads to runbook %s, which does not exist", l.Title, m[1])
			}
		}
		if l.URL == "" {
			return fmt.Sprintf("link %q leads nowhere", l.Title)
		}
		return ""
	}
}
