package lint

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// kind is the type of a metric as far as queries care.
type kind int

const (
	unknown kind = iota // of a metric that is not ours
	gauge
	counter
	histogram
)

// metric is what is known of one name.
type metric struct {
	kind kind
	// labels that its series have, with job and instance; nil when they are not known.
	labels []string
}

// catalogue knows the metrics that queries may name: those of docs/metrics.md, those of recording rules, and by their
// prefixes those of programs that are not ours.
type catalogue struct {
	metrics  map[string]metric
	prefixes []string // of docs/metrics.md, such as go_
	used     map[string]bool
}

// external are the prefixes of metrics of other programs, which the stack runs. Whether such a metric exists is told by
// the test that asks a real Prometheus for every panel.
var external = []string{"pg_", "prometheus_", "alertmanager_", "otelcol_", "haproxy_", "scrape_"}

// scraped are the labels that Prometheus gives to what it scrapes.
var scraped = []string{"instance", "job"}

// readCatalogue reads the tables of docs/metrics.md, which a test of the service holds against its real metrics.
func readCatalogue(file string) (*catalogue, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	c := &catalogue{
		metrics: map[string]metric{
			"up":               {gauge, scraped},
			"ALERTS":           {gauge, nil},
			"ALERTS_FOR_STATE": {gauge, nil},
		},
		used: map[string]bool{},
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)(\\*?)` \\| ([a-z]*)[^|]*\\|[^|]*\\| ([^|]*)\\|")
	name := regexp.MustCompile("`(\\w+)`")
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		if m[2] == "*" {
			c.prefixes = append(c.prefixes, m[1])
			continue
		}
		labels := slices.Clone(scraped)
		for _, l := range name.FindAllStringSubmatch(m[4], -1) {
			labels = append(labels, l[1])
		}
		c.metrics[m[1]] = metric{map[string]kind{"gauge": gauge, "counter": counter, "histogram": histogram}[m[3]], labels}
	}
	if len(c.metrics) < 50 {
		return nil, fmt.Errorf("only %d metrics found in %s", len(c.metrics), file)
	}
	return c, nil
}

// find returns what is known of a series' name. A histogram is found by the names of its series only.
func (c *catalogue) find(name string) (metric, bool) {
	if m, ok := c.metrics[name]; ok && m.kind != histogram {
		c.used[name] = true
		return m, true
	}
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		base, ok := strings.CutSuffix(name, suffix)
		if m := c.metrics[base]; ok && m.kind == histogram {
			c.used[base] = true
			labels := m.labels
			if suffix == "_bucket" {
				labels = append(slices.Clone(labels), "le")
			}
			return metric{counter, labels}, true
		}
	}
	for _, prefix := range slices.Concat(external, c.prefixes) {
		if strings.HasPrefix(name, prefix) {
			k := gauge
			if strings.HasSuffix(name, "_total") || strings.HasSuffix(name, "_bucket") {
				k = counter
			} else if slices.Contains(external, prefix) || name != baseName(name) {
				k = unknown
			}
			return metric{k, nil}, true
		}
	}
	return metric{}, false
}

// addRecorded adds what recording rules make. They may build on each other in the order of the files.
func (c *catalogue) addRecorded(p *problems, rules []rule) {
	for _, r := range rules {
		if r.record == "" || r.parsed == nil {
			continue
		}
		if _, ok := c.metrics[r.record]; ok {
			p.add(r.file, r.line, "rule/duplicate", "%s is recorded twice, or is a metric of the service", r.record)
		}
		labels := outputLabels(c, r.parsed)
		c.metrics[r.record] = metric{gauge, labels.names()}
	}
	clear(c.used)
}
