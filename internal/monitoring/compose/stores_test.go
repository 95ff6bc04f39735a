package compose_test

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// Loki and Tempo are not to be had for the tests. Their files may have the keys below, which the programs have, and no
// others: a key that is misspelt is found, a value that they would not take is not. loki -verify-config and tempo
// -config.verify, in the images, find the rest.

const (
	lokiFile  = "observability/stack/loki/loki.yml"
	tempoFile = "observability/stack/tempo/tempo.yml"
)

type lokiConfig struct {
	AuthEnabled *bool `yaml:"auth_enabled"`
	Server      struct {
		Port  int    `yaml:"http_listen_port"`
		Level string `yaml:"log_level"`
	} `yaml:"server"`
	Common struct {
		Addr        string `yaml:"instance_addr"`
		Path        string `yaml:"path_prefix"`
		Replication int    `yaml:"replication_factor"`
		Ring        struct {
			Store struct {
				Kind string `yaml:"store"`
			} `yaml:"kvstore"`
		} `yaml:"ring"`
		Storage struct {
			Files struct {
				Chunks string `yaml:"chunks_directory"`
				Rules  string `yaml:"rules_directory"`
			} `yaml:"filesystem"`
		} `yaml:"storage"`
	} `yaml:"common"`
	Schema struct {
		Periods []struct {
			From    string `yaml:"from"`
			Store   string `yaml:"store"`
			Objects string `yaml:"object_store"`
			Schema  string `yaml:"schema"`
			Index   struct {
				Prefix string `yaml:"prefix"`
				Period string `yaml:"period"`
			} `yaml:"index"`
		} `yaml:"configs"`
	} `yaml:"schema_config"`
	Limits struct {
		Retention string `yaml:"retention_period"`
		OTLP      struct {
			Resource struct {
				IgnoreDefaults bool `yaml:"ignore_defaults"`
				Attributes     []struct {
					Action     string   `yaml:"action"`
					Attributes []string `yaml:"attributes"`
				} `yaml:"attributes_config"`
			} `yaml:"resource_attributes"`
		} `yaml:"otlp_config"`
	} `yaml:"limits_config"`
	Compactor struct {
		Dir       string `yaml:"working_directory"`
		Retention bool   `yaml:"retention_enabled"`
		Store     string `yaml:"delete_request_store"`
	} `yaml:"compactor"`
	Analytics struct {
		Reporting *bool `yaml:"reporting_enabled"`
	} `yaml:"analytics"`
}

type tempoConfig struct {
	Server struct {
		Port  int    `yaml:"http_listen_port"`
		Level string `yaml:"log_level"`
	} `yaml:"server"`
	Distributor struct {
		Receivers struct {
			OTLP struct {
				Protocols struct {
					HTTP struct {
						Endpoint string `yaml:"endpoint"`
					} `yaml:"http"`
				} `yaml:"protocols"`
			} `yaml:"otlp"`
		} `yaml:"receivers"`
	} `yaml:"distributor"`
	Memberlist struct {
		Addr []string `yaml:"bind_addr"`
	} `yaml:"memberlist"`
	Storage struct {
		Trace struct {
			Backend string `yaml:"backend"`
			WAL     struct {
				Path string `yaml:"path"`
			} `yaml:"wal"`
			Local struct {
				Path string `yaml:"path"`
			} `yaml:"local"`
		} `yaml:"trace"`
	} `yaml:"storage"`
	Scheduler struct {
		Provider struct {
			Retention struct {
				Interval string `yaml:"interval"`
			} `yaml:"retention"`
			Compaction struct {
				Compaction struct {
					Retention string `yaml:"block_retention"`
				} `yaml:"compaction"`
			} `yaml:"compaction"`
		} `yaml:"provider"`
	} `yaml:"backend_scheduler"`
	Worker struct {
		Compaction struct {
			Retention string `yaml:"block_retention"`
		} `yaml:"compaction"`
	} `yaml:"backend_worker"`
	Usage struct {
		Reporting *bool `yaml:"reporting_enabled"`
	} `yaml:"usage_report"`
}

// strict reads YAML with known keys only. The error names file and line.
func strict(name, text string, into any) error {
	d := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		line := "?"
		if m := regexp.MustCompile(`line (\d+)`).FindStringSubmatch(err.Error()); m != nil {
			line = m[1]
		}
		return fmt.Errorf("%s:%s: %w", name, line, err)
	}
	return nil
}

// mustStrict reads a shipped file.
func mustStrict(t *testing.T, name string, into any) {
	t.Helper()
	if err := strict(name, read(t, name), into); err != nil {
		t.Fatal(err)
	}
}

// TestStoreKeys: a misspelt key of Loki, Tempo or Grafana is found, with file and line.
func TestStoreKeys(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		broken
		file string
		into any
	}{
		{broken{name: "Loki", old: `retention_period:`, new: "retention_time:"}, lokiFile, &lokiConfig{}},
		{broken{name: "LokiDeep", old: `ignore_defaults:`, new: "ignore_default:"}, lokiFile, &lokiConfig{}},
		{broken{name: "Tempo", old: `distributor:`, new: "distributors:"}, tempoFile, &tempoConfig{}},
		{broken{name: "TempoDeep", old: `endpoint:`, new: "endpoints:"}, tempoFile, &tempoConfig{}},
		{broken{name: "DataSources", old: `datasourceUid: loki`, new: "datasourceUID: loki"}, sourcesFile, &dataSources{}},
		{broken{name: "Dashboards", old: `folderUid:`, new: "folderUID:"}, providersFile, &providers{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text, line := c.at(t, read(t, c.file))
			err := strict(c.file, text, c.into)
			if want := fmt.Sprintf("%s:%d:", c.file, line); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

// volumeOf is where a service keeps data, in its container.
func volumeOf(t *testing.T, service, volume string) string {
	t.Helper()
	for _, v := range shipped(t, "*").Services[service].Volumes {
		if v.Source == volume {
			return v.Target
		}
	}
	t.Fatalf("service %s has no volume %s", service, volume)
	return ""
}

// TestLoki: what it keeps is in its volume, its labels are those that the collector sends and the dashboards select by, and
// it deletes what is old.
func TestLoki(t *testing.T) {
	t.Parallel()
	var c lokiConfig
	mustStrict(t, lokiFile, &c)
	data := volumeOf(t, "loki", "loki-data")
	for _, dir := range []string{c.Common.Path, c.Common.Storage.Files.Chunks, c.Common.Storage.Files.Rules, c.Compactor.Dir} {
		if dir != data && !strings.HasPrefix(dir, data+"/") {
			t.Errorf("%s is outside the volume %s", dir, data)
		}
	}
	resource := c.Limits.OTLP.Resource
	if !resource.IgnoreDefaults || len(resource.Attributes) != 1 || resource.Attributes[0].Action != "index_label" {
		t.Fatalf("labels are made of %+v", resource)
	}
	labels := resource.Attributes[0].Attributes
	if diff := cmp.Diff([]string{"job", "instance", "file", "service.name"}, labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	sent := read(t, collectorFile)
	for _, label := range labels {
		if !strings.Contains(sent, "resource."+label+"\n") && !strings.Contains(sent, `resource["`+label+`"]`) && !strings.Contains(sent, "(?P<"+label+">") {
			t.Errorf("%s does not set label %s", collectorFile, label)
		}
	}
	selectors := regexp.MustCompile(`\{([^{}]*file=[^{}]*)\}`).FindAllStringSubmatch(strings.ReplaceAll(read(t, "dashboards/logs.json"), `\"`, `"`), -1)
	if len(selectors) == 0 {
		t.Error("the dashboard of logs selects nothing by file")
	}
	for _, m := range selectors {
		for _, name := range regexp.MustCompile(`(\w+)(?:=~|!=|!~|=)"`).FindAllStringSubmatch(m[1], -1) {
			if !slices.Contains(labels, name[1]) {
				t.Errorf("a dashboard selects lines by %s, which is no label: {%s}", name[1], m[1])
			}
		}
	}
	if len(c.Schema.Periods) != 1 || c.Schema.Periods[0].Schema != "v13" {
		t.Errorf("the schema is %+v: structured metadata wants v13", c.Schema.Periods)
	}
	if !c.Compactor.Retention || c.Limits.Retention == "" || c.Compactor.Store != "filesystem" {
		t.Errorf("nothing is ever deleted: retention %q, %+v", c.Limits.Retention, c.Compactor)
	}
	if c.AuthEnabled == nil || *c.AuthEnabled || c.Analytics.Reporting == nil || *c.Analytics.Reporting {
		t.Error("it wants tenants, or reports to its makers")
	}
}

// TestTempo: what it keeps is in its volume, and it deletes what is old.
func TestTempo(t *testing.T) {
	t.Parallel()
	var c tempoConfig
	mustStrict(t, tempoFile, &c)
	data := volumeOf(t, "tempo", "tempo-data")
	for _, dir := range []string{c.Storage.Trace.WAL.Path, c.Storage.Trace.Local.Path} {
		if !strings.HasPrefix(dir, data+"/") {
			t.Errorf("%s is outside the volume %s", dir, data)
		}
	}
	if kept := c.Worker.Compaction.Retention; kept == "" || kept != c.Scheduler.Provider.Compaction.Compaction.Retention {
		t.Errorf("blocks are kept for %q and for %q", kept, c.Scheduler.Provider.Compaction.Compaction.Retention)
	}
	if c.Storage.Trace.Backend != "local" || c.Usage.Reporting == nil || *c.Usage.Reporting {
		t.Error("it keeps traces elsewhere, or reports to its makers")
	}
}
