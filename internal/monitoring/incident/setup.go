package incident

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	amconfig "github.com/prometheus/alertmanager/config"
	amtemplate "github.com/prometheus/alertmanager/template"
	"github.com/prometheus/common/promslog"
	promconfig "github.com/prometheus/prometheus/config"
	_ "github.com/prometheus/prometheus/discovery/file" // file_sd_configs
)

// The addresses of the programs, which come into links.
const (
	prometheusURL   = "http://localhost:9090"
	alertmanagerURL = "http://localhost:9093"
)

// Setup is a configuration of Prometheus and of Alertmanager. Any number of incidents can use one at the same time.
type Setup struct {
	prometheus   *promconfig.Config
	rules        []string
	alertmanager *amconfig.Config
	templates    *amtemplate.Template
}

// Files says where a configuration is.
type Files struct {
	Prometheus   string
	Rules        string // a pattern, in place of the rule_files of Prometheus's file
	Alertmanager string // its templates are relative to its directory
}

// Load reads the shipped configuration. root is the directory of the repository.
func Load(root string) (*Setup, error) {
	return LoadFiles(Files{
		Prometheus:   filepath.Join(root, "observability", "stack", "prometheus", "prometheus.yml"),
		Rules:        filepath.Join(root, "alerts", "rules", "*.yml"),
		Alertmanager: filepath.Join(root, "alerts", "alertmanager.yml"),
	})
}

// LoadFiles reads a configuration.
func LoadFiles(f Files) (*Setup, error) {
	s := &Setup{}
	var err error
	if s.prometheus, err = promconfig.LoadFile(f.Prometheus, false, promslog.NewNopLogger()); err != nil {
		return nil, fmt.Errorf("load prometheus configuration: %w", err)
	}
	if s.rules, err = filepath.Glob(f.Rules); err != nil {
		return nil, fmt.Errorf("find rules %s: %w", f.Rules, err)
	}
	if len(s.rules) == 0 {
		return nil, errors.New("no rules in " + f.Rules)
	}
	slices.Sort(s.rules)
	if s.alertmanager, err = amconfig.LoadFile(f.Alertmanager); err != nil {
		return nil, fmt.Errorf("load %s: %w", f.Alertmanager, err)
	}
	if s.templates, err = amtemplate.FromGlobs(s.alertmanager.Templates); err != nil {
		return nil, fmt.Errorf("load templates of %s: %w", f.Alertmanager, err)
	}
	if s.templates.ExternalURL, err = url.Parse(alertmanagerURL); err != nil {
		return nil, fmt.Errorf("parse address of alertmanager: %w", err)
	}
	return s, nil
}

// scrapeInterval is how often the targets of a job are scraped.
func (s *Setup) scrapeInterval(job string) (time.Duration, error) {
	for _, sc := range s.prometheus.ScrapeConfigs {
		if sc.JobName == job {
			return time.Duration(sc.ScrapeInterval), nil
		}
	}
	return 0, fmt.Errorf("prometheus has no job %q", job)
}
