package boards_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"speedybites/internal/monitoring/boards"
)

var update = flag.Bool("update", false, "write the dashboards into the directory dashboards")

const (
	root      = "../../.."
	directory = root + "/dashboards"
)

// all returns every dashboard.
func all(t *testing.T) []boards.Board {
	t.Helper()
	list, err := boards.All(root)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestGenerated holds the files that Grafana reads against the code that they are made from.
func TestGenerated(t *testing.T) {
	t.Parallel()
	mine := map[string]bool{}
	for _, b := range all(t) {
		file := filepath.Join(directory, b.Name+".json")
		mine[file] = true
		want, err := b.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		code, text := strings.Split(string(want), "\n"), strings.Split(string(got), "\n")
		if diff := cmp.Diff(code, text); diff != "" {
			t.Errorf("dashboards/%s.json:%d is not what the code makes; go -C internal/monitoring test ./boards -run TestGenerated -update "+
				"writes it (-code +file):\n%s", b.Name, firstDifference(code, text), diff)
		}
	}
	files, err := filepath.Glob(filepath.Join(directory, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !mine[file] {
			t.Errorf("%s is made by no code: remove it, or add it to boards.All", file)
		}
	}
}

// firstDifference returns the number of the first line in which the two differ.
func firstDifference(a, b []string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i + 1
		}
	}
	return min(len(a), len(b)) + 1
}

// TestStrict reads the files as Grafana's schema has them: no unknown key, no missing one.
func TestStrict(t *testing.T) {
	t.Parallel()
	plugins.RegisterDefaultPlugins()
	for _, b := range all(t) {
		text, err := os.ReadFile(filepath.Join(directory, b.Name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var d boards.Dashboard
		// It returns an error of length 0 when there is none.
		if err := d.UnmarshalJSONStrict(text); err != nil && err.Error() != "" {
			t.Errorf("dashboards/%s.json: %v", b.Name, err)
		}
	}
}

func TestDashboards(t *testing.T) {
	t.Parallel()
	names := []string{"overview", "http", "database", "resilience", "replicas", "slo", "logs", "synthetic", "runtime", "telemetry"}
	var got []string
	for _, b := range all(t) {
		got = append(got, b.Name)
		d := b.Dashboard
		if *d.Uid != "speedy-bites-"+b.Name {
			t.Errorf("%s has the uid %s", b.Name, *d.Uid)
		}
		if *d.Editable || *d.Refresh != "30s" || *d.GraphTooltip != dashboard.DashboardCursorSyncCrosshair {
			t.Errorf("%s: editable %v, refresh %s, tooltip %v", b.Name, *d.Editable, *d.Refresh, *d.GraphTooltip)
		}
		if len(d.Links) != 1 || !d.Links[0].IncludeVars || !d.Links[0].KeepTime || !d.Links[0].AsDropdown {
			t.Errorf("%s: the links to the other dashboards are %+v", b.Name, d.Links)
		}
	}
	if diff := cmp.Diff(names, got); diff != "" {
		t.Errorf("dashboards (-want +got):\n%s", diff)
	}
}

func TestVariables(t *testing.T) {
	t.Parallel()
	for _, b := range all(t) {
		variables := map[string]dashboard.VariableModel{}
		for _, v := range b.Dashboard.Templating.List {
			variables[v.Name] = v
		}
		if v := variables["datasource"]; v.Label == nil || *v.Label != "Data Source" || *v.Query.String != "prometheus" ||
			*v.Current.Value.String != "prometheus" {
			t.Errorf("%s: data source %+v", b.Name, v)
		}
		for _, name := range []string{"job", "instance"} {
			v := variables[name]
			if !*v.Multi || *v.AllValue != ".+" || *v.Refresh != dashboard.VariableRefreshOnTimeRangeChanged ||
				*v.Datasource.Uid != "${datasource}" || v.Label == nil {
				t.Errorf("%s: variable %s is %+v", b.Name, name, v)
			}
		}
		for _, name := range []string{"loki", "tempo"} {
			if v := variables[name]; v.Query == nil || *v.Query.String != name || *v.Current.Value.String != name {
				t.Errorf("%s: variable %s is %+v", b.Name, name, v)
			}
		}
	}
}

func TestAnnotations(t *testing.T) {
	t.Parallel()
	for _, b := range all(t) {
		var names []string
		for _, a := range b.Dashboard.Annotations.List {
			names = append(names, a.Name)
			if a.Target == nil || *a.Datasource.Uid != "${datasource}" || *a.TextFormat == "" {
				t.Errorf("%s: annotation %+v", b.Name, a)
			}
		}
		if diff := cmp.Diff([]string{"Breaker opened", "Database away", "Primary moved", "Restart", "First page"}, names); diff != "" {
			t.Errorf("%s: annotations (-want +got):\n%s", b.Name, diff)
		}
	}
}
