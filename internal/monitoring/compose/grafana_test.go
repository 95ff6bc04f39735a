package compose_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	sourcesFile   = "observability/stack/grafana/provisioning/datasources/speedy-bites.yml"
	providersFile = "observability/stack/grafana/provisioning/dashboards/speedy-bites.yml"
)

// Grafana is not to be had for the tests, either: these are the keys that its provisioning has.

type dataSources struct {
	Version int  `yaml:"apiVersion"`
	Prune   bool `yaml:"prune"`
	Sources []struct {
		Name     string `yaml:"name"`
		UID      string `yaml:"uid"`
		Type     string `yaml:"type"`
		Access   string `yaml:"access"`
		URL      string `yaml:"url"`
		Default  bool   `yaml:"isDefault"`
		Editable bool   `yaml:"editable"`
		JSON     struct {
			Method       string `yaml:"httpMethod"`
			Interval     string `yaml:"timeInterval"`
			ManageAlerts *bool  `yaml:"manageAlerts"`
			Flavour      string `yaml:"prometheusType"`
			Exemplars    []struct {
				Name  string `yaml:"name"`
				UID   string `yaml:"datasourceUid"`
				Label string `yaml:"urlDisplayLabel"`
			} `yaml:"exemplarTraceIdDestinations"`
			Derived []struct {
				Name    string `yaml:"name"`
				Kind    string `yaml:"matcherType"`
				Matcher string `yaml:"matcherRegex"`
				UID     string `yaml:"datasourceUid"`
				URL     string `yaml:"url"`
				Label   string `yaml:"urlDisplayLabel"`
			} `yaml:"derivedFields"`
			Logs struct {
				UID    string `yaml:"datasourceUid"`
				Before string `yaml:"spanStartTimeShift"`
				After  string `yaml:"spanEndTimeShift"`
				Custom bool   `yaml:"customQuery"`
				Query  string `yaml:"query"`
			} `yaml:"tracesToLogsV2"`
			Graph struct {
				Enabled bool `yaml:"enabled"`
			} `yaml:"nodeGraph"`
			Search struct {
				Hide bool `yaml:"hide"`
			} `yaml:"search"`
		} `yaml:"jsonData"`
	} `yaml:"datasources"`
}

type providers struct {
	Version   int `yaml:"apiVersion"`
	Providers []struct {
		Name      string `yaml:"name"`
		Folder    string `yaml:"folder"`
		FolderUID string `yaml:"folderUid"`
		Type      string `yaml:"type"`
		Keep      bool   `yaml:"disableDeletion"`
		Updates   bool   `yaml:"allowUiUpdates"`
		Interval  int    `yaml:"updateIntervalSeconds"`
		Options   struct {
			Path string `yaml:"path"`
		} `yaml:"options"`
	} `yaml:"providers"`
}

// provisioned returns the data sources, and the type of each uid.
func provisioned(t *testing.T) (c dataSources, types map[string]string) {
	t.Helper()
	mustStrict(t, sourcesFile, &c)
	types = map[string]string{}
	for _, s := range c.Sources {
		types[s.UID] = s.Type
	}
	return c, types
}

// TestDataSources: the uids that the dashboards name, and the ways from one to the other.
func TestDataSources(t *testing.T) {
	t.Parallel()
	c, types := provisioned(t)
	for _, s := range c.Sources {
		if s.Editable || s.Access != "proxy" {
			t.Errorf("%s can be changed, or is asked by the browser: %+v", s.Name, s)
		}
	}
	if diff := cmp.Diff(map[string]string{"prometheus": "prometheus", "loki": "loki", "tempo": "tempo"}, types); diff != "" {
		t.Fatalf("data sources (-want +got):\n%s", diff)
	}
	for _, s := range c.Sources {
		switch s.UID {
		case "prometheus":
			if len(s.JSON.Exemplars) != 1 || s.JSON.Exemplars[0].Name != "trace_id" || s.JSON.Exemplars[0].UID != "tempo" {
				t.Errorf("exemplars lead to %+v", s.JSON.Exemplars)
			}
			if want := "scrape_interval: " + s.JSON.Interval + " "; !strings.Contains(read(t, prometheusFile), want) {
				t.Errorf("%s has no %q", prometheusFile, want)
			}
		case "loki":
			if len(s.JSON.Derived) != 1 || s.JSON.Derived[0].Kind != "label" || s.JSON.Derived[0].Matcher != "trace_id" || s.JSON.Derived[0].UID != "tempo" {
				t.Errorf("lines lead to %+v", s.JSON.Derived)
			}
		case "tempo":
			if s.JSON.Logs.UID != "loki" || !s.JSON.Logs.Custom || !strings.Contains(s.JSON.Logs.Query, `{job="speedy-bites"}`) {
				t.Errorf("spans lead to %+v", s.JSON.Logs)
			}
		}
	}
	// What begins with one $ would be a variable of Grafana's own environment.
	if lone := regexp.MustCompile(`[^$]\$[^$].*`).FindString(strings.ReplaceAll(read(t, sourcesFile), "$__rate_interval", "")); lone != "" {
		t.Errorf("%q takes a variable of the environment", lone)
	}
}

// TestDashboardsProvisioned: what is mounted is what is read, and every file in it is a dashboard of known data sources.
func TestDashboardsProvisioned(t *testing.T) {
	t.Parallel()
	var c providers
	mustStrict(t, providersFile, &c)
	if len(c.Providers) != 1 || c.Providers[0].Type != "file" || c.Providers[0].Updates || c.Providers[0].FolderUID != "speedy-bites" {
		t.Fatalf("dashboards come from %+v", c.Providers)
	}
	grafana := shipped(t, "*").Services["grafana"]
	mounted := map[string]string{}
	for _, v := range grafana.Volumes {
		mounted[v.Target] = v.Source
	}
	dir := mounted[c.Providers[0].Options.Path]
	if filepath.Base(dir) != "dashboards" {
		t.Fatalf("nothing is mounted at %s: %v", c.Providers[0].Options.Path, mounted)
	}
	if filepath.Base(mounted["/etc/grafana/provisioning"]) != "provisioning" {
		t.Errorf("the provisioning files are not where Grafana looks: %v", mounted)
	}
	home := *grafana.Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	if _, err := os.Stat(filepath.Join(dir, filepath.Base(home))); err != nil || filepath.Dir(home) != c.Providers[0].Options.Path {
		t.Errorf("the first dashboard is %s: %v", home, err)
	}

	_, types := provisioned(t)
	uids := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error { // as Grafana does, into every directory
		if err != nil || filepath.Ext(path) != ".json" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		checkDashboard(t, path, text, uids, types)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"database", "http", "logs", "overview", "replicas", "resilience", "runtime", "slo", "synthetic", "telemetry"}
	for i := range want {
		want[i] = "speedy-bites-" + want[i]
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(uids))); diff != "" {
		t.Errorf("dashboards (-want +got):\n%s", diff)
	}
}

// checkDashboard looks at what one file takes from the provisioning: its uid, and those of its data sources.
func checkDashboard(t *testing.T, path string, text []byte, uids, types map[string]string) {
	t.Helper()
	var d struct {
		UID, Title string
		Templating struct {
			List []struct {
				Type, Name string
				Query      any // a string, for those that choose a data source
				Current    struct{ Value any }
			}
		}
	}
	if err := json.Unmarshal(text, &d); err != nil || d.UID == "" || d.Title == "" {
		t.Errorf("Grafana would read %s, which is no dashboard: uid %q, title %q, %v", path, d.UID, d.Title, err)
		return
	}
	if other, twice := uids[d.UID]; twice {
		t.Errorf("%s and %s have the same uid", path, other)
	}
	uids[d.UID] = path
	known := []string{"-- Grafana --"}
	for _, v := range d.Templating.List {
		if v.Type != "datasource" {
			continue
		}
		known = append(known, "${"+v.Name+"}")
		if uid, _ := v.Current.Value.(string); types[uid] != v.Query {
			t.Errorf("%s: %s chooses among data sources of type %q, and first takes %q of type %q", path, v.Name, v.Query, uid, types[uid])
		}
	}
	for _, m := range regexp.MustCompile(`"datasource":\s*\{[^{}]*"uid":\s*"([^"]*)"`).FindAllSubmatch(text, -1) {
		if !slices.Contains(known, string(m[1])) {
			t.Errorf("%s takes data from %q, want one of %v", path, m[1], known)
		}
	}
}
