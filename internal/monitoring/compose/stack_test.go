package compose_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"

	"speedybites/internal/monitoring/compose"
)

// root is the repository.
const root = "../../.."

const composeFile = "docker-compose.yml"

// shipped loads the file as it is, with the services of the profiles.
func shipped(t *testing.T, profiles ...string) *compose.Stack {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, composeFile))
	if err != nil {
		t.Fatal(err)
	}
	s, err := compose.Load(t.Context(), path, profiles...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStack(t *testing.T) {
	t.Parallel()
	for _, err := range shipped(t, "*").Check() {
		t.Error(err)
	}
}

// TestProfiles: everything by default, and the API with its database alone.
func TestProfiles(t *testing.T) {
	t.Parallel()
	all := shipped(t, "*").ServiceNames()
	want := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return name == "api" })
	if diff := cmp.Diff(want, shipped(t).ServiceNames()); diff != "" {
		t.Errorf("docker compose up starts (-want +got):\n%s", diff)
	}
	small, err := shipped(t, "api").WithSelectedServices([]string{"api"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"api", "migrate", "postgres"}, small.ServiceNames()); diff != "" {
		t.Errorf("docker compose up api starts (-want +got):\n%s", diff)
	}
	if got := small.Services["api"].Environment["OTEL_EXPORTER_OTLP_ENDPOINT"]; got != nil {
		t.Errorf("the API alone sends its traces to %s, which is not there", *got)
	}
}

// TestStartOrder: what must be there, and how, before a service starts.
func TestStartOrder(t *testing.T) {
	t.Parallel()
	s := shipped(t, "*")
	const healthy, ended, started = types.ServiceConditionHealthy, types.ServiceConditionCompletedSuccessfully, types.ServiceConditionStarted
	want := map[string]map[string]string{
		"postgres":                  {},
		"postgres-roles":            {"postgres": healthy},
		"postgres-replica":          {"postgres-roles": ended},
		"postgres-exporter":         {"postgres-roles": ended},
		"postgres-replica-exporter": {"postgres-roles": ended},
		"migrate":                   {"postgres": healthy},
		// Not the collector: what watches the API must not keep it from starting.
		"api":            {"postgres": healthy, "migrate": ended},
		"api-1":          {"postgres": healthy, "migrate": ended},
		"api-2":          {"postgres": healthy, "migrate": ended},
		"haproxy":        {"api-1": healthy, "api-2": healthy},
		"receiver":       {},
		"alertmanager":   {"receiver": healthy},
		"prometheus":     {"alertmanager": healthy},
		"tempo":          {},
		"loki":           {},
		"otel-collector": {"api-1": started, "api-2": started, "tempo": started, "loki": started},
		"grafana":        {"prometheus": healthy, "tempo": started, "loki": started},
	}
	got := map[string]map[string]string{}
	for name, service := range s.Services {
		got[name] = map[string]string{}
		for on, how := range service.DependsOn {
			got[name][on] = how.Condition
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("start order (-want +got):\n%s", diff)
	}
}

// broken is a mistake in the shipped file: its first match of the pattern becomes something else.
type broken struct{ name, old, new, want string }

// at returns the broken text and the line on which it begins to differ.
func (b broken) at(t *testing.T, text string) (string, int) {
	t.Helper()
	found := regexp.MustCompile(b.old).FindStringIndex(text)
	if found == nil {
		t.Fatalf("nothing matches %q", b.old)
	}
	head, tail := text[:found[0]], text[found[1]:]
	changed := head + b.new + tail
	same := 0
	for same < len(changed) && same < len(text) && changed[same] == text[same] {
		same++
	}
	return changed, 1 + strings.Count(changed[:same], "\n")
}

var refused = []broken{
	{"Syntax", `(?m)^services:`, "services", "could not find expected ':'"},
	{"UnknownKey", `mem_limit: 64m`, "mem_limits: 64m", "mem_limits"},
	{"UnknownKeyOfPart", `start_period: 60s`, "start_periode: 60s", "start_periode"},
	{"Twice", `hostname: api-2\n`, "hostname: api-2\n    hostname: api-3\n", `"hostname" already defined`},
	{"UndefinedDependency", `receiver:\n        condition`, "receivers:\n        condition", `undefined service "receivers"`},
	{"UnknownCondition", `condition: service_started`, "condition: service_stopped", "condition"},
	{"Port", `127.0.0.1:4000:4000`, "127.0.0.1:99999:4000", "invalid hostPort: 99999"},
	{"PortInLetters", `127.0.0.1:9090:9090`, "127.0.0.1:http:9090", "invalid hostPort: http"},
	{"UndeclaredVolume", `- tempo-data:/`, "- tempodata:/", "undefined volume tempodata"},
	{"UndeclaredSecret", `secrets: \[grafana_admin_password\]`, "secrets: [grafana_password]", "undefined secret grafana_password"},
	{"Size", `mem_limit: 256m`, "mem_limit: plenty", "plenty"},
	{"Anchor", `(?s)<<: \*watched`, "<<: *watcher", "watcher"},
}

// TestRefused: what Docker Compose refuses is refused here, with file and line.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, b := range refused {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			path, line := breakFile(t, b)
			_, err := compose.Load(t.Context(), path, "*")
			if err == nil {
				t.Fatal("loads")
			}
			wantAt(t, err, line, b.want)
		})
	}
}

var careless = []broken{
	{"LatestImage", `grafana/grafana:[\d.]+`, "grafana/grafana:latest", "not pinned"},
	{"NoTag", `grafana/tempo:[\d.]+`, "grafana/tempo", "not pinned"},
	{"WideTag", `postgres:15\.18`, "postgres:15", "not pinned"},
	{"BuiltWithAnotherTag", `speedy-bites-receiver:local`, "speedy-bites-receiver:1.0", "tag local"},
	{"OpenPort", `127\.0\.0\.1:3000:3000`, "3000:3000", "not on 127.0.0.1"},
	{"Root", `user: "472:0"`, `user: "0:0"`, "runs as root"},
	{"Writable", `read_only: true`, "read_only: false", "read_only is not set"},
	{"Capabilities", `cap_drop: \[ALL\]`, "cap_drop: [NET_RAW]", "keeps capabilities"},
	{"Privileges", `\["no-new-privileges:true"\]`, `["no-new-privileges:false"]`, "may get privileges"},
	{"NoMemoryLimit", `    mem_limit: 256m\n`, "", "no mem_limit"},
	{"NoLogLimit", `max-size: 10m, `, "", "no max-size"},
	{"NoHealthCheck", `healthcheck: &live\n`, "x-healthcheck: &live\n", "no health check"},
	{"EndsWithHealthCheck", `disable: true`, "disable: false", "it ends"},
	{"WaitsForWhatNeverEnds", `postgres:\n        condition: service_healthy`, "postgres:\n        condition: service_completed_successfully", "and restarts"},
	{"NoSuchFile", `postgres/pg_hba\.conf:`, "postgres/hba.conf:", "no such file"},
	{"WritableMount", `rules:/etc/prometheus/rules:ro`, "rules:/etc/prometheus/rules", "can be written to"},
	{"FileFromElsewhere", `\./dashboards:`, "/etc/passwd:", "not in the repository"},
	{"SecretInVariable", `POSTGRES_PASSWORD_FILE: /run/secrets/postgres_password`, "POSTGRES_PASSWORD: hunter2", "holds a secret"},
	{"UnusedVolume", `(?m)^  tempo-data:$`, "  tempo-data:\n  tempo-more:", "tempo-more is nobody's"},
	{"UnusedSecret", `(?m)^  token_secret: .*$`, "  old_secret: {file: ./secrets/old}\n$0", "old_secret is nobody's"},
}

// TestCareless: what Docker Compose would run, and we would not.
func TestCareless(t *testing.T) {
	t.Parallel()
	for _, b := range careless {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			path, _ := breakFile(t, b)
			s, err := compose.Load(t.Context(), path, "*")
			if err != nil {
				t.Fatal(err)
			}
			s.Root = filepath.Dir(path)
			errs := s.Check()
			if len(errs) == 0 {
				t.Fatal("nothing is wrong with it")
			}
			at := regexp.MustCompile(`^docker-compose\.yml:[1-9]\d*: `)
			for _, err := range errs {
				if !strings.Contains(err.Error(), b.want) || !at.MatchString(err.Error()) {
					t.Errorf("got %q, want file and line and %q", err, b.want)
				}
			}
		})
	}
}

// breakFile writes a broken copy beside links to what it mounts, and returns the line of the mistake.
func breakFile(t *testing.T, b broken) (path string, line int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, composeFile))
	if err != nil {
		t.Fatal(err)
	}
	b.new = strings.ReplaceAll(b.new, "$0", regexp.MustCompile(b.old).FindString(string(text)))
	changed, line := b.at(t, string(text))
	dir := t.TempDir()
	for _, name := range []string{"alerts", "dashboards", "observability"} {
		from, err := filepath.Abs(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(from, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	path = filepath.Join(dir, composeFile)
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, line
}

// wantAt demands the file, the line or one close to it (a parser may only notice the mistake further down), and a text.
func wantAt(t *testing.T, err error, line int, text string) {
	t.Helper()
	m := regexp.MustCompile(`^docker-compose\.yml:(\d+): `).FindStringSubmatch(err.Error())
	if m == nil || !strings.Contains(err.Error(), text) {
		t.Fatalf("got %q, want file and line and %q", err, text)
	}
	if got, _ := strconv.Atoi(m[1]); got < line-1 || got > line+3 {
		t.Errorf("got line %d, want about %d: %v", got, line, err)
	}
}

// published are the ports of the host, by service.
func published(s *compose.Stack) map[string][]string {
	ports := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		for _, p := range s.Services[name].Ports {
			ports[name] = append(ports[name], p.Published)
		}
	}
	return ports
}

// TestPublished: people find the addresses in the documentation.
func TestPublished(t *testing.T) {
	t.Parallel()
	want := map[string][]string{
		"haproxy": {"4000"}, "api": {"4000"}, "grafana": {"3000"}, "prometheus": {"9090"}, "alertmanager": {"9093"}, "receiver": {"9096"},
	}
	if diff := cmp.Diff(want, published(shipped(t, "*"))); diff != "" {
		t.Errorf("published ports (-want +got):\n%s", diff)
	}
}
