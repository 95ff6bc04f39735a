package incident_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/util/teststorage"

	"speedybites/internal/monitoring/incident"
)

var update = flag.Bool("update", false, "rewrite what the incident scripts expect of the shipped configuration")

var engineFiles = incident.Files{
	Prometheus:   "testdata/engine/prometheus.yml",
	Rules:        "testdata/engine/rules.yml",
	Alertmanager: "testdata/engine/alertmanager.yml",
}

func load(t *testing.T, files incident.Files) *incident.Setup {
	t.Helper()
	setup, err := incident.LoadFiles(files)
	if err != nil {
		t.Fatal(err)
	}
	return setup
}

// engineScripts are those of testdata/engine. Their expectations have been worked out by hand; their comments say how.
func engineScripts(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/engine/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	scripts := map[string]string{}
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".txt"); name != "fleet" {
			scripts[name] = file
		}
	}
	if len(scripts) == 0 {
		t.Fatal("there are no scripts")
	}
	return scripts
}

func TestEngine(t *testing.T) {
	t.Parallel()
	setup := load(t, engineFiles)
	for name, file := range engineScripts(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			incident.RunFile(t, setup, file, false)
		})
	}
}

// TestStorage compares the storage in memory with Prometheus's own: the rules must see the same.
func TestStorage(t *testing.T) {
	t.Parallel()
	setup := load(t, engineFiles)
	for name, file := range engineScripts(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script, err := incident.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want, err := incident.Sent(t.Context(), setup, script, teststorage.New(t))
			if err != nil {
				t.Fatal(err)
			}
			got, err := incident.Sent(t.Context(), setup, script, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" || len(got) == 0 {
				t.Errorf("%d alerts sent; -Prometheus's storage +in memory:\n%s", len(got), diff)
			}
		})
	}
}

// TestNotification looks at what a notification has besides its line.
func TestNotification(t *testing.T) {
	result := incident.RunFile(t, load(t, engineFiles), "testdata/engine/for.txt", false)
	n := result.Notifications[slices.IndexFunc(result.Notifications, func(n incident.Notification) bool { return n.Receiver == "page" })]
	t.Run("Labels", func(t *testing.T) {
		want := map[string]string{"alertname": "Waits", "instance": "a", "job": "speedy-bites", "region": "north", "severity": "page"}
		if diff := cmp.Diff(want, map[string]string(n.Data.Alerts[0].Labels)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]string{"alertname": "Waits"}, map[string]string(n.Data.GroupLabels)); diff != "" {
			t.Errorf("of the group (-want +got):\n%s", diff)
		}
	})
	t.Run("Text", func(t *testing.T) {
		got, err := n.Render(`{{ template "test.text" . }}`)
		want := "firing: a waits for 1, see http://wiki/Waits http://localhost:9093"
		if err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
		if _, err := n.Render(`{{ template "missing" . }}`); err == nil {
			t.Error("got no error for a template that does not exist")
		}
	})
	t.Run("Counts", func(t *testing.T) {
		if diff := cmp.Diff(map[string]int{"page": 2, "once": 1}, result.Counts()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// mistaken is a script that expects what does not come, but for one line.
const mistaken = `for 5m
use fleet.txt
ignore receiver once
change
  waits{instance="a"}  1@1m 0@3m

expect
  # This stays.
  1m40s page firing Waits a/region=north
  # This goes, with its line.
  2m40s page firing Holds b/region=north
pages 2
`

func mistakenScript(t *testing.T) string {
	t.Helper()
	file := write(t, "script.txt", mistaken)
	fleet, err := os.ReadFile("testdata/engine/fleet.txt")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "fleet.txt"), fleet, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const mended = `expect
  %s1m40s    page   firing   Waits a/region=north
  3m40s    page   resolved Waits a/region=north
pages 1
`

// TestCheck finds what differs, and shows all of it in a form to be pasted.
func TestCheck(t *testing.T) {
	script, err := incident.ParseFile(mistakenScript(t))
	if err != nil {
		t.Fatal(err)
	}
	result := incident.Run(t, load(t, engineFiles), script)
	err = script.Check(result)
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"notifications (-want +got)", "pages: got 1, want 2", strings.Replace(mended, "%s", "", 1)} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

// TestUpdate rewrites what a script expects.
func TestUpdate(t *testing.T) {
	file := mistakenScript(t)
	setup := load(t, engineFiles)
	incident.RunFile(t, setup, file, true)
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(mistaken, "\nexpect")
	want := head + strings.Replace(mended, "%s", "# This stays.\n  ", 1)
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	incident.RunFile(t, setup, file, false)
}

// TestBrokenConfiguration has what is wrong in the configuration found, where it is, also what only shows while it runs.
func TestBrokenConfiguration(t *testing.T) {
	const rule = "groups:\n  - name: g\n    rules:\n      - alert: Broken\n"
	for _, tt := range []struct {
		name    string
		replace func(f *incident.Files, file string)
		text    string
		want    []string
	}{
		{"Prometheus", prometheusFile, "global:\n  scrape_interval: often\n", []string{"FILE", "often"}},
		{"Alertmanager", alertmanagerFile, "route:\n  receiver: page\n  receivers: x\n", []string{"FILE", "line 3"}},
		{"Templates", alertmanagerFile, "templates: [file]\nroute: {receiver: x}\nreceivers: [{name: x}] # {{ nothing }}\n", []string{"FILE", "nothing"}},
		{"NoRules", func(f *incident.Files, file string) { f.Rules = file + ".missing" }, "", []string{"no rules in", "FILE"}},
		{"EmptyRules", rulesFile, "groups: []\n", []string{"load rules: there are none"}},
		{"Expression", rulesFile, rule + "        expr: up ==\n", []string{"FILE", "5:"}},
		{"RuleFails", rulesFile, rule + "        expr: up * on (job) up\n", []string{"at 0s", "Broken", "many-to-many"}},
		{"TemplateFails", rulesFile, rule + "        expr: up == 1\n        annotations: {summary: '{{ query \"up ==\" }}'}\n", []string{"at 0s", "Expanding alert template failed", "Broken"}},
		{"UnknownJob", prometheusFile, "scrape_configs: [{job_name: other}]\n", []string{`prometheus has no job "speedy-bites"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := write(t, "file", tt.text)
			files := engineFiles
			tt.replace(&files, file)
			err := play(t, files)
			if err == nil {
				t.Fatal("got no error")
			}
			for _, want := range tt.want {
				if want = strings.Replace(want, "FILE", file, 1); !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
		})
	}
}

func prometheusFile(f *incident.Files, file string)   { f.Prometheus = file }
func alertmanagerFile(f *incident.Files, file string) { f.Alertmanager = file }
func rulesFile(f *incident.Files, file string)        { f.Rules = file }

// play loads a configuration and evaluates a script with it.
func play(t *testing.T, files incident.Files) error {
	t.Helper()
	setup, err := incident.LoadFiles(files)
	if err != nil {
		return err
	}
	script, err := incident.ParseFile("testdata/engine/for.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, err = incident.Sent(t.Context(), setup, script, nil)
	return err
}
