package lint

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/config/common"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/pkg/labels"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"
)

// audience says who must hear of a severity, by the receiver's name as shipped.
var audience = map[string]string{"page": "page", "ticket": "ticket", "none": "nobody"}

// checkRouting holds alertmanager.yml against the alerts there are: who hears of each, and what mutes what.
func checkRouting(p *problems, c *catalogue, rules []rule) error {
	file := filepath.Join(p.root, "alerts", "alertmanager.yml")
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read routes: %w", err)
	}
	cfg, err := config.Load(string(text))
	if err != nil {
		line, message := position(err)
		p.add(file, line, "routing/refused", "%s", message)
		return nil
	}
	lines := inhibitLines(text)
	alerts := slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return r.alert == "" })
	checkReceivers(p, cfg, alerts)

	mutes := map[string]map[string]int{} // names of alerts that an alert mutes, with the rule's line
	for i, inhibit := range cfg.InhibitRules {
		line := lines[i]
		checkMatchers(p, file, line, inhibit, alerts)
		for _, source := range matching(inhibit.SourceMatchers, alerts) {
			for _, target := range matching(inhibit.TargetMatchers, alerts) {
				if target.alert == "Watchdog" || target.labels["component"] == "audit" {
					p.add(file, line, "inhibit/never", "%s would mute %s, which nothing may", source.alert, target.alert)
				}
				checkEqual(p, c, file, line, inhibit, source, target)
				if mutes[source.alert] == nil {
					mutes[source.alert] = map[string]int{}
				}
				mutes[source.alert][target.alert] = line
			}
		}
	}
	for _, cycle := range cycles(mutes) {
		p.add(file, mutes[cycle[0]][cycle[1]], "inhibit/cycle", "%s: all of them would stay silent", strings.Join(cycle, " mutes "))
	}
	return nil
}

// checkReceivers routes every alert as Alertmanager would.
func checkReceivers(p *problems, cfg *config.Config, alerts []rule) {
	route := dispatch.NewRoute(cfg.Route, nil)
	for _, a := range alerts {
		set := model.LabelSet{"alertname": model.LabelValue(a.alert), "job": "speedy-bites", "instance": "api-1:9464"}
		for name, value := range a.labels {
			set[model.LabelName(name)] = model.LabelValue(value)
		}
		want := audience[a.labels["severity"]]
		if a.alert == "Watchdog" {
			want = "watchdog"
		}
		var got []string
		for _, r := range route.Match(set) {
			got = append(got, r.RouteOpts.Receiver)
		}
		if len(got) != 1 || got[0] != want {
			p.add(a.file, a.line, "routing/receiver", "%s goes to %v, want %s", a.alert, got, want)
		}
	}
}

// checkMatchers looks for names in matchers that no alert has: a misspelt rule mutes nothing.
func checkMatchers(p *problems, file string, line int, inhibit common.InhibitRule, alerts []rule) {
	for _, m := range slices.Concat(inhibit.SourceMatchers, inhibit.TargetMatchers) {
		if m.Name != "alertname" {
			continue
		}
		for name := range strings.SplitSeq(m.Value, "|") {
			one, err := labels.NewMatcher(m.Type, m.Name, name)
			if err != nil {
				p.add(file, line, "inhibit/name", "write the alternatives of %s out, so that each can be looked up", m)
				continue
			}
			if len(matching(common.Matchers{one}, alerts)) == 0 {
				p.add(file, line, "inhibit/name", "no alert matches %s", one)
			}
		}
	}
	if len(matching(inhibit.SourceMatchers, alerts)) == 0 || len(matching(inhibit.TargetMatchers, alerts)) == 0 {
		p.add(file, line, "inhibit/name", "no alert is a source, or none a target")
	}
}

// matching returns the alerts that matchers can match. What a rule does not set, such as job, may have any value.
func matching(matchers common.Matchers, alerts []rule) []rule {
	var list []rule
	for _, a := range alerts {
		ok := true
		for _, m := range matchers {
			value, known := a.labels[m.Name]
			if m.Name == "alertname" {
				value, known = a.alert, true
			}
			ok = ok && (!known || m.Matches(value))
		}
		if ok {
			list = append(list, a)
		}
	}
	return list
}

// checkEqual wants both alerts to have the labels that must be equal. Where both lack one, it counts as equal, and the
// rule mutes across everything.
func checkEqual(p *problems, c *catalogue, file string, line int, inhibit common.InhibitRule, source, target rule) {
	if source.parsed == nil || target.parsed == nil {
		return
	}
	for _, l := range inhibit.Equal {
		for _, r := range []rule{source, target} {
			if !outputLabels(c, r.parsed).has(l) {
				p.add(file, line, "inhibit/equal", "%s has no label %s, so %s never mutes %s", r.alert, l, source.alert, target.alert)
			}
		}
	}
}

// cycles returns the alerts that mute each other, directly or around.
func cycles(mutes map[string]map[string]int) [][]string {
	var found [][]string
	var visit func(path []string)
	done := map[string]bool{}
	visit = func(path []string) {
		last := path[len(path)-1]
		for _, next := range slices.Sorted(maps.Keys(mutes[last])) {
			if i := slices.Index(path, next); i >= 0 {
				found = append(found, append(slices.Clone(path[i:]), next))
			} else if !done[next] {
				visit(append(slices.Clone(path), next))
			}
		}
		done[last] = true
	}
	for _, name := range slices.Sorted(maps.Keys(mutes)) {
		if !done[name] {
			visit([]string{name})
		}
	}
	return found
}

// inhibitLines returns the lines at which the inhibition rules begin.
func inhibitLines(text []byte) []int {
	var content struct {
		InhibitRules []yaml.Node `yaml:"inhibit_rules"`
	}
	if yaml.Unmarshal(text, &content) != nil {
		return nil
	}
	lines := make([]int, len(content.InhibitRules))
	for i, n := range content.InhibitRules {
		lines[i] = n.Line
	}
	return lines
}
