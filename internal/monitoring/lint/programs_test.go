package lint_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/config"
	_ "github.com/prometheus/prometheus/discovery/file" // or file_sd_configs is no known key
	"go.yaml.in/yaml/v3"

	"speedybites/internal/monitoring/localstack"
)

// programs are the real ones, installed by the stack's own means.
func programs(t *testing.T) localstack.Programs {
	t.Helper()
	p, err := localstack.Find(t.Context(), localstack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// run runs a program in a directory and returns what it says.
func run(t *testing.T, dir, program string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestPromtool has promtool check configuration and rules as shipped, and run their unit tests.
func TestPromtool(t *testing.T) {
	t.Parallel()
	promtool := programs(t).Promtool
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join(root, "observability/stack/prometheus/prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"alerts/rules": "rules", "observability/stack/prometheus/targets": "targets"} {
		if err := os.CopyFS(filepath.Join(dir, to), os.DirFS(filepath.Join(root, from))); err != nil {
			t.Fatal(err)
		}
	}
	rules, err := filepath.Glob(filepath.Join(dir, "rules", "*.yml"))
	if err != nil {
		t.Fatal(err)
	}
	tests, err := filepath.Glob(filepath.Join(root, "alerts", "rules_test", "*_test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"check config": {"prometheus.yml"}, "check rules": rules, "test rules": absolute(t, tests),
	} {
		out, err := run(t, dir, promtool, append(strings.Fields(name), args...)...)
		if err != nil || len(args) == 0 {
			t.Errorf("promtool %s: %v\n%s", name, err, out)
		}
		t.Logf("promtool %s: %d files, %d times SUCCESS", name, len(args), strings.Count(out, "SUCCESS"))
	}
	// The Prometheus of docker-compose.yml is a newer one.
	cfg, err := config.Load(string(text), promslog.NewNopLogger())
	if err != nil {
		t.Fatalf("Prometheus 3: %v", err)
	}
	if got := cfg.GlobalConfig.ScrapeInterval; got != cfg.GlobalConfig.EvaluationInterval || got.String() != "5s" {
		t.Errorf("intervals: got %v and %v, want those that the linter knows", got, cfg.GlobalConfig.EvaluationInterval)
	}
}

func absolute(t *testing.T, paths []string) []string {
	t.Helper()
	list := make([]string, len(paths))
	for i, path := range paths {
		var err error
		if list[i], err = filepath.Abs(path); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// TestAmtool has amtool check the configuration as shipped, and route every alert.
func TestAmtool(t *testing.T) {
	t.Parallel()
	amtool := programs(t).Amtool
	dir := filepath.Join(root, "alerts")
	if out, err := run(t, dir, amtool, "check-config", "alertmanager.yml"); err != nil {
		t.Fatalf("amtool check-config: %v\n%s", err, out)
	}
	receivers := map[string]string{"page": "page", "ticket": "ticket", "none": "nobody"}
	routed := 0
	for _, labels := range alertLabels(t) {
		want := receivers[labels["severity"]]
		if labels["alertname"] == "Watchdog" {
			want = "watchdog"
		}
		args := []string{"config", "routes", "test", "--config.file=alertmanager.yml", "--verify.receivers=" + want, "job=speedy-bites"}
		for name, value := range labels {
			args = append(args, name+"="+value)
		}
		if out, err := run(t, dir, amtool, args...); err != nil {
			t.Errorf("%s: %v\n%s", labels["alertname"], err, out)
		}
		routed++
	}
	t.Logf("%d alerts routed", routed)
	if out, err := run(t, dir, amtool, "config", "routes", "test", "--config.file=alertmanager.yml", "--verify.receivers=page", "severity=ticket"); err == nil {
		t.Errorf("a ticket passes for a page: amtool does not check\n%s", out)
	}
}

// alertLabels returns the labels that each alert has by its rule.
func alertLabels(t *testing.T) []map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "alerts", "rules", "*.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var list []map[string]string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var content struct {
			Groups []struct {
				Rules []struct {
					Alert  string
					Labels map[string]string
				}
			}
		}
		if err := yaml.Unmarshal(text, &content); err != nil {
			t.Fatal(err)
		}
		for _, g := range content.Groups {
			for _, r := range g.Rules {
				if r.Alert != "" {
					r.Labels["alertname"] = r.Alert
					list = append(list, r.Labels)
				}
			}
		}
	}
	if len(list) < 40 {
		t.Fatalf("only %d alerts found", len(list))
	}
	return list
}
