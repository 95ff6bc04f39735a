package compose_test

import (
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

type volume = types.ServiceVolumeConfig

const prometheusFile = "observability/stack/prometheus/prometheus.yml"

// listening are the ports of each service, each with the file or value that says so.
func listening(t *testing.T) map[string][]string {
	t.Helper()
	s := shipped(t, "*")
	var loki lokiConfig
	mustStrict(t, lokiFile, &loki)
	var tempo tempoConfig
	mustStrict(t, tempoFile, &tempo)
	metrics := strings.TrimPrefix(*s.Services["api-1"].Environment["METRICS_ADDR"], ":")
	ports := map[string][]string{
		"postgres": {"5432"}, "postgres-replica": {"5432"}, // as PostgreSQL has it
		"postgres-exporter": {"9187"}, "postgres-replica-exporter": {"9187"}, // as the exporter has it
		"grafana": {"3000"}, "prometheus": {"9090"}, "alertmanager": {"9093"}, // as these have it
		"api-1": {"4000", metrics}, "api-2": {"4000", metrics}, // PORT has its default
		"loki":     {strconv.Itoa(loki.Server.Port)},
		"tempo":    {strconv.Itoa(tempo.Server.Port), portOf(t, tempo.Distributor.Receivers.OTLP.Protocols.HTTP.Endpoint)},
		"receiver": {portOf(t, s.Services["receiver"].Command[1])},
	}
	for _, m := range regexp.MustCompile(`presetenv \w+_LISTEN :(\d+)`).FindAllStringSubmatch(read(t, haproxyFile), -1) {
		ports["haproxy"] = append(ports["haproxy"], m[1])
	}
	for _, m := range regexp.MustCompile(`endpoint: 0\.0\.0\.0:(\d+)|port: (\d+)`).FindAllStringSubmatch(read(t, collectorFile), -1) {
		ports["otel-collector"] = append(ports["otel-collector"], m[1]+m[2])
	}
	return ports
}

func portOf(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// wantService demands that a service listens at an address.
func wantService(t *testing.T, ports map[string][]string, where, addr string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	if !slices.Contains(ports[host], port) {
		t.Errorf("%s: nobody listens at %s; the ports of %s are %v", where, addr, host, ports[host])
	}
}

// TestAddresses: whoever asks somebody else, asks where that one listens.
func TestAddresses(t *testing.T) {
	t.Parallel()
	ports := listening(t)
	s := shipped(t, "*")
	dir := filepath.Join(t.TempDir(), "secrets")
	makeSecrets(t, dir)
	places := map[string]string{"secrets": strings.Join(slices.Collect(maps.Values(contents(t, dir))), "\n")}
	for _, name := range []string{sourcesFile, collectorFile, haproxyFile} {
		places[name] = read(t, name)
	}
	for name, service := range s.Services {
		for key, value := range service.Environment {
			if value != nil && !strings.HasPrefix(key, "GF_SERVER_ROOT") {
				places["environment of "+name] += *value + "\n"
			}
		}
		if c := service.HealthCheck; c != nil && !c.Disable {
			for _, m := range regexp.MustCompile(`127\.0\.0\.1:(\d+)`).FindAllStringSubmatch(strings.Join(c.Test, " "), -1) {
				wantService(t, ports, "health check of "+name, net.JoinHostPort(name, m[1]))
			}
		}
	}
	found := 0
	addr := regexp.MustCompile(`(?:https?://|@|,|presetenv API_\d )([\w.-]+:\d+)|(?m)^([\w.-]+:\d+)/`)
	for where, text := range places {
		for _, m := range addr.FindAllStringSubmatch(text, -1) {
			if a := m[1] + m[2]; !strings.HasPrefix(a, "127.0.0.1:") && !strings.HasPrefix(a, "localhost:") {
				wantService(t, ports, where, a)
				found++
			}
		}
	}
	if found < 15 {
		t.Errorf("found %d addresses only", found)
	}
	for name, service := range s.Services {
		for _, p := range service.Ports {
			if name != "api" { // It is like api-1.
				wantService(t, ports, "published port of "+name, net.JoinHostPort(name, strconv.Itoa(int(p.Target))))
			}
		}
	}
}

// TestTargets: Prometheus has a file for each of its jobs, and finds what is in it. The service's instances go by the name
// that logs and traces have for them.
func TestTargets(t *testing.T) {
	t.Parallel()
	ports := listening(t)
	var jobs []string
	for _, m := range regexp.MustCompile(`job_name: (\S+)`).FindAllStringSubmatch(read(t, prometheusFile), -1) {
		jobs = append(jobs, m[1])
	}
	files, err := filepath.Glob(filepath.Join(root, "observability/stack/prometheus/targets/*.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var with []string
	instances := map[string][]string{}
	for _, path := range files {
		job := strings.TrimSuffix(filepath.Base(path), ".yml")
		with = append(with, job)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var groups []struct {
			Targets []string
			Labels  map[string]string
		}
		if err := yaml.Unmarshal(text, &groups); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, g := range groups {
			for _, target := range g.Targets {
				wantService(t, ports, path, strings.Replace(target, "localhost", job, 1))
				instance := target
				if g.Labels["instance"] != "" {
					instance = g.Labels["instance"]
				}
				instances[job] = append(instances[job], instance)
			}
		}
	}
	slices.Sort(jobs)
	if diff := cmp.Diff(jobs, with); diff != "" {
		t.Errorf("jobs of %s and files in targets/ (-jobs +files):\n%s", prometheusFile, diff)
	}
	if diff := cmp.Diff([]string{"api-1:9464", "api-2:9464"}, instances["speedy-bites"]); diff != "" {
		t.Errorf("instances (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"postgres:5432", "postgres-replica:5432"}, instances["postgres"]); diff != "" {
		t.Errorf("servers (-want +got):\n%s", diff)
	}
}

// TestAlertsGoSomewhere: the receiver has what the webhooks are sent to, and the runbooks that alerts link to are mounted.
func TestAlertsGoSomewhere(t *testing.T) {
	t.Parallel()
	s := shipped(t, "*")
	dir := filepath.Join(t.TempDir(), "secrets")
	makeSecrets(t, dir)
	made := contents(t, dir)
	alertmanager := s.Services["alertmanager"]
	mounted := map[string]bool{}
	for _, secret := range alertmanager.Secrets {
		rel, err := filepath.Rel(alertmanager.WorkingDir, secret.Target)
		if err != nil {
			t.Fatal(err)
		}
		mounted[rel] = true
	}
	for _, m := range regexp.MustCompile(`_file: (\S+)`).FindAllStringSubmatch(read(t, "alerts/alertmanager.yml"), -1) {
		if !mounted[m[1]] {
			t.Errorf("Alertmanager reads %s, which is not mounted", m[1])
		}
	}
	for _, name := range []string{"page", "ticket", "watchdog"} {
		u, err := url.Parse(made["webhook_"+name+"_url"])
		if err != nil || u.Host != "receiver:9096" || u.Path != "/"+name {
			t.Errorf("webhook %s goes to %v (%v)", name, u, err)
		}
	}
	receiver := s.Services["receiver"]
	i := slices.Index(receiver.Command, "-runbooks")
	if i < 0 || !slices.ContainsFunc(receiver.Volumes, func(v volume) bool {
		return v.Target == receiver.Command[i+1] && strings.HasSuffix(v.Source, "/alerts/runbooks")
	}) {
		t.Errorf("the receiver has runbooks of %v, mounted are %v", receiver.Command, receiver.Volumes)
	}
}

// TestLinks: the addresses that people are sent to are published ones. The programs make links of what they think theirs is,
// and alerts of the labels that Prometheus gives them.
func TestLinks(t *testing.T) {
	t.Parallel()
	s := shipped(t, "*")
	ports := published(s)
	var prometheus struct {
		Global struct {
			Labels map[string]string `yaml:"external_labels"`
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, prometheusFile)), &prometheus); err != nil {
		t.Fatal(err)
	}
	got := prometheus.Global.Labels
	for _, name := range []string{"prometheus", "alertmanager"} {
		for _, arg := range s.Services[name].Command {
			if u, ok := strings.CutPrefix(arg, "--web.external-url="); ok {
				got["itself, "+name] = u
			}
		}
	}
	got["itself, grafana"] = *s.Services["grafana"].Environment["GF_SERVER_ROOT_URL"]
	at := func(service string) string { return "http://localhost:" + strings.Join(ports[service], ",") }
	want := map[string]string{
		"grafana": at("grafana"), "runbooks": at("receiver") + "/runbooks",
		"itself, grafana": at("grafana"), "itself, prometheus": at("prometheus"), "itself, alertmanager": at("alertmanager"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	all := slices.Concat(slices.Collect(maps.Values(ports))...)
	for _, name := range []string{"docker-compose.yml", "docs/configuration.md"} {
		found := regexp.MustCompile(`http://localhost:(\d+)`).FindAllStringSubmatch(read(t, name), -1)
		if len(found) == 0 {
			t.Errorf("%s names no address", name)
		}
		for _, m := range found {
			if !slices.Contains(all, m[1]) {
				t.Errorf("%s sends people to %s, where nothing is published", name, m[0])
			}
		}
	}
}
