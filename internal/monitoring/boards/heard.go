package boards

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/config/common"
	"go.yaml.in/yaml/v3"
)

// heard is the expression of the pages that fire and that no other alert mutes: those that somebody hears of, silences aside.
// Prometheus does not know what Alertmanager mutes, so the inhibition rules of alertmanager.yml are written out in PromQL, as
// far as they have to do with pages.
func heard(root string) (string, error) {
	names, err := pageNames(filepath.Join(root, "alerts", "rules"))
	if err != nil {
		return "", err
	}
	file, err := os.ReadFile(filepath.Join(root, "alerts", "alertmanager.yml"))
	if err != nil {
		return "", fmt.Errorf("read inhibition: %w", err)
	}
	cfg, err := config.Load(string(file))
	if err != nil {
		return "", fmt.Errorf("read inhibition: %w", err)
	}
	parts := []string{firing(`severity="page"`)}
	for _, rule := range cfg.InhibitRules {
		mutes := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !mayMatch(rule.TargetMatchers, name) })
		if len(mutes) == 0 {
			continue
		}
		parts = append(parts, fmt.Sprintf("(%s and on (%s) %s)", firing(`severity="page", alertname=~"(`+strings.Join(mutes, "|")+`)"`),
			strings.Join(rule.Equal, ", "), firing(selector(rule.SourceMatchers))))
	}
	return strings.Join(parts, " unless "), nil
}

func firing(matchers string) string { return `ALERTS{alertstate="firing", ` + matchers + `}` }

func selector(matchers common.Matchers) string {
	var list []string
	for _, m := range matchers {
		list = append(list, m.String())
	}
	return strings.Join(list, ", ")
}

// mayMatch reports whether matchers may match an alert of the name, whatever its other labels are.
func mayMatch(matchers common.Matchers, name string) bool {
	for _, m := range matchers {
		if m.Name == "alertname" && !m.Matches(name) {
			return false
		}
	}
	return true
}

// pageNames returns the names of the alerts that somebody is paged for.
func pageNames(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yml"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
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
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, g := range content.Groups {
			for _, r := range g.Rules {
				if r.Labels["severity"] == "page" {
					names = append(names, r.Alert)
				}
			}
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no alert in %s is a page", dir)
	}
	return names, nil
}
