package localstack

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// home is the directory of a stack.
type home string

func (h home) path(elem ...string) string {
	return filepath.Join(append([]string{string(h)}, elem...)...)
}

func (h home) output(name string) string { return h.path("output", name+".log") }

// secret returns the key that signs tokens, which is made on first use.
func (h home) secret() (string, error) {
	path := h.path("secret")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text = []byte(rand.Text() + rand.Text())
		err = os.WriteFile(path, text, 0o600)
	}
	return string(text), err
}

// shipped are the parts of the configuration that are the same everywhere: what of the repository goes where.
func shipped() [][2]string {
	return [][2]string{
		{"observability/stack/prometheus/prometheus.yml", "prometheus/prometheus.yml"},
		{"alerts/rules/*.yml", "prometheus/rules"},
		{"alerts/alertmanager.yml", "alertmanager/alertmanager.yml"},
		{"alerts/templates/*.tmpl", "alertmanager/templates"},
	}
}

// lay writes the configuration of Prometheus and Alertmanager: the shipped files as they are, and beside them what is
// different here. Nothing of an earlier run stays but their data.
func (h home) lay(files string, p Ports) error {
	for _, dir := range []string{"prometheus/rules", "prometheus/targets", "alertmanager/templates", "alertmanager/secrets"} {
		if err := os.RemoveAll(h.path(dir)); err != nil {
			return err
		}
		if err := os.MkdirAll(h.path(dir), 0o755); err != nil { //nolint:gosec // G301: the secrets' files are closed.
			return err
		}
	}
	for _, file := range shipped() {
		if err := copyFiles(filepath.Join(files, file[0]), h.path(file[1])); err != nil {
			return err
		}
	}
	for job, list := range targets(p) {
		if err := h.writeTargets(job, list...); err != nil {
			return err
		}
	}
	return h.writeSecrets(p)
}

// copyFiles copies one file to another, or those of a pattern into a directory.
func copyFiles(from, to string) error {
	if !strings.Contains(from, "*") {
		return copyFile(from, to)
	}
	found, err := filepath.Glob(from)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("%w: %s", fs.ErrNotExist, from)
	}
	for _, path := range found {
		if err := copyFile(path, filepath.Join(to, filepath.Base(path))); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644) //nolint:gosec // G306: the repository's files are readable, too.
}

// target is what is scraped: its port, and where the label instance is not its address, that.
type target struct {
	port     int
	instance string
}

// targets are what is scraped, by job. Those of PostgreSQL come once it has its port.
func targets(p Ports) map[string][]target {
	jobs := map[string][]target{"prometheus": {{port: p.Prometheus}}, "alertmanager": {{port: p.Alertmanager}}}
	for _, port := range p.Metrics {
		jobs["speedy-bites"] = append(jobs["speedy-bites"], target{port: port})
	}
	return jobs
}

func (h home) writeTargets(job string, list ...target) error {
	type group struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels,omitempty"`
	}
	groups := make([]group, 0, len(list))
	for _, t := range list {
		g := group{Targets: []string{loopback(t.port)}}
		if t.instance != "" {
			g.Labels = map[string]string{"instance": t.instance}
		}
		groups = append(groups, g)
	}
	text, err := json.Marshal(groups) // JSON is YAML.
	if err != nil {
		return err
	}
	path := h.path("prometheus", "targets", job+".yml")
	return os.WriteFile(path, append(text, '\n'), 0o644) //nolint:gosec // G306: nothing in it is secret.
}

// writeSecrets writes the addresses of the receiver, and something for the integrations that nothing is routed to.
func (h home) writeSecrets(p Ports) error {
	base := "http://" + loopback(p.Receiver)
	for name, content := range map[string]string{
		"webhook_page_url": base + "/page", "webhook_ticket_url": base + "/ticket",
		"webhook_watchdog_url":  base + "/watchdog",
		"pagerduty_routing_key": "unused", "slack_api_url": "http://127.0.0.1/unused", "smtp_password": "unused",
	} {
		if err := os.WriteFile(h.path("alertmanager", "secrets", name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}
