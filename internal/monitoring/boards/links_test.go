package boards_test

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"

	"speedybites/internal/monitoring/boards"
)

// addresses returns every address that a click on a panel may lead to.
func addresses(p dashboard.Panel) []string {
	var list []string
	for _, l := range append(p.Links, p.FieldConfig.Defaults.Links...) {
		list = append(list, *l.Url)
	}
	for _, o := range p.FieldConfig.Overrides {
		for _, property := range o.Properties {
			links, _ := property.Value.([]map[string]any)
			for _, l := range links {
				list = append(list, l["url"].(string))
			}
		}
	}
	return list
}

// TestLinks follows every link of every panel.
func TestLinks(t *testing.T) {
	t.Parallel()
	list := all(t)
	uids, alerts, linked := map[string]bool{}, alertNames(t), map[string]bool{}
	for _, b := range list {
		uids[*b.Dashboard.Uid] = true
	}
	for _, b := range list {
		for _, p := range b.Panels() {
			where := b.Name + ", " + *p.Title
			labelled(t, where, p)
			for _, address := range addresses(p) {
				path, query, _ := strings.Cut(address, "?")
				switch {
				case strings.HasPrefix(path, "/d/"):
					if !uids[strings.TrimPrefix(path, "/d/")] || query != "${__url_time_range}&${__all_variables}" {
						t.Errorf("%s links to %s", where, address)
					}
				case path == "${runbooks}/${__value.raw}": // of the alert in the cell
				case strings.HasPrefix(path, "${runbooks}/"):
					name := strings.TrimPrefix(path, "${runbooks}/")
					linked[name] = true
					if !alerts[name] {
						t.Errorf("%s links to the runbook of %s, which is no alert", where, name)
					}
				case path == "/explore":
					explored(t, where, b, query)
				default:
					t.Errorf("%s links to %s", where, address)
				}
			}
		}
	}
	for name := range alerts {
		if !linked[name] {
			t.Errorf("no panel leads to the runbook of %s: where is seen what it alerts on?", name)
		}
	}
}

// labelled looks at the links of a panel's series: what they take from a series' labels must be there, as its name is.
func labelled(t *testing.T, where string, p dashboard.Panel) {
	t.Helper()
	var names strings.Builder
	for _, target := range p.Targets {
		if q, ok := target.(prometheus.Dataquery); ok {
			names.WriteString(*q.LegendFormat)
		}
	}
	for _, l := range p.FieldConfig.Defaults.Links {
		for _, m := range regexp.MustCompile(`__field\.labels\.(\w+)`).FindAllStringSubmatch(l.Title+*l.Url, -1) {
			if !strings.Contains(names.String(), "{{"+m[1]+"}}") {
				t.Errorf("%s: %q needs the label %s, which no series has", where, l.Title, m[1])
			}
		}
	}
}

// explored reads what Grafana's page for queries is told.
func explored(t *testing.T, where string, b boards.Board, query string) {
	t.Helper()
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	var panes map[string]struct {
		Datasource string
		Queries    []struct{ Query, Expr string }
		Range      map[string]string
	}
	if err := json.Unmarshal([]byte(values.Get("panes")), &panes); err != nil {
		t.Errorf("%s: %v in %s", where, err, values.Get("panes"))
		return
	}
	known := map[string]bool{"__from": true, "__to": true, "__value.raw": true}
	for _, v := range b.Dashboard.Templating.List {
		known[v.Name] = true
	}
	for _, v := range regexp.MustCompile(`\$\{([\w.]+)\}`).FindAllStringSubmatch(values.Get("panes"), -1) {
		if !known[v[1]] && !strings.HasPrefix(v[1], "__field.labels.") {
			t.Errorf("%s uses ${%s}, which nobody sets", where, v[1])
		}
	}
	pane := panes["a"]
	if pane.Range["from"] != "${__from}" || len(pane.Queries) != 1 || pane.Queries[0].Query+pane.Queries[0].Expr == "" {
		t.Errorf("%s: the page for queries gets %+v", where, pane)
	}
}

// alertNames returns the names of all alerts.
func alertNames(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(root + "/alerts/rules/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^\s*- alert: (\w+)$`).FindAllStringSubmatch(string(text), -1) {
			names[m[1]] = true
		}
	}
	if len(names) < 40 {
		t.Fatalf("only %d alerts in %v", len(names), files)
	}
	return names
}
