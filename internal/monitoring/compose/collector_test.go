package compose_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"

	"speedybites/internal/monitoring/proctest"
)

const collectorFile = "observability/stack/otel-collector/collector.yml"

// collecting is a collector with the shipped configuration, of which only addresses and directories are others.
type collecting struct {
	*proctest.Process
	otlp, health, metrics string
	dir                   string // for its files
	logs                  string // in dir; has a directory for each instance
	tempo, loki           string
	args                  []string
}

// newCollector starts a collector that sends to a store of traces and one of logs. More configuration can be laid over the
// shipped one.
func newCollector(t *testing.T, tempo, loki string, more ...string) *collecting {
	t.Helper()
	c := &collecting{dir: t.TempDir(), tempo: tempo, loki: loki}
	c.logs = filepath.Join(c.dir, "logs")
	for _, d := range []string{c.logs, filepath.Join(c.dir, "offsets")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, arg := range shipped(t).Services["otel-collector"].Command {
		if arg == "/etc/otelcol/collector.yml" {
			arg = filepath.Join(root, collectorFile)
		}
		c.args = append(c.args, arg)
	}
	c.args = append(c.args, "--config", filepath.Join(c.dir, "local.yml")) // written by begin
	for n, text := range more {
		path := filepath.Join(c.dir, fmt.Sprintf("more-%d.yml", n))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c.args = append(c.args, "--config", path)
	}
	c.begin(t)
	return c
}

// begin starts the collector, for the first time or again. It has other ports each time: somebody may have taken those that
// it had.
func (c *collecting) begin(t *testing.T) {
	t.Helper()
	otlp, health, metrics := proctest.FreePort(t), proctest.FreePort(t), proctest.FreePort(t)
	c.otlp, c.health, c.metrics = "http://127.0.0.1:"+otlp, "http://127.0.0.1:"+health, "http://127.0.0.1:"+metrics+"/metrics"
	text := fmt.Sprintf(`
extensions:
  health_check: {endpoint: "127.0.0.1:%s"}
  file_storage: {directory: %q}
receivers:
  otlp: {protocols: {grpc: {endpoint: "127.0.0.1:%s"}, http: {endpoint: "127.0.0.1:%s"}}}
  file_log: {include: [%s]}
exporters:
  otlp_http/tempo: {endpoint: %q}
  otlp_http/loki: {endpoint: %q}
service: {telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: %s}}}}]}}}
`, health, filepath.Join(c.dir, "offsets"), proctest.FreePort(t), otlp, strings.Join(tailed(t, c.logs), ", "), c.tempo, c.loki+"/otlp", metrics)
	if err := os.WriteFile(filepath.Join(c.dir, "local.yml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Process = proctest.Start(t, exec.CommandContext(context.Background(), proctest.Program(t, collector), c.args...))
	c.Until(t, proctest.Answers(c.health))
}

// tailed are the shipped patterns of log files, in another directory.
func tailed(t *testing.T, dir string) []string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^ +- /var/log/speedy-bites(/\S+)$`).FindAllStringSubmatch(read(t, collectorFile), -1)
	if len(found) == 0 {
		t.Fatalf("%s tails no files", collectorFile)
	}
	var list []string
	for _, m := range found {
		list = append(list, fmt.Sprintf("%q", dir+m[1]))
	}
	return list
}

// end ends the collector as Docker does.
func (c *collecting) end(t *testing.T) {
	t.Helper()
	c.Stop(t, syscall.SIGTERM)
	if err := c.Err(); err != nil {
		t.Errorf("the collector ended with %v", err)
	}
}

// store is an OTLP endpoint. It takes what comes unless it is away.
type store struct {
	*httptest.Server
	away    atomic.Bool
	refused atomic.Int64
}

// newStore starts a store that passes on every message that comes to a path.
func newStore(t *testing.T, path string, take func(body []byte) error) *store {
	t.Helper()
	s := &store{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.away.Load() {
			s.refused.Add(1)
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		body, err := decoded(r)
		if err == nil && r.URL.Path != path {
			err = fmt.Errorf("request for %s, want %s", r.URL.Path, path)
		}
		if err == nil {
			err = take(body)
		}
		if err != nil {
			t.Error(err)
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func decoded(r *http.Request) ([]byte, error) {
	if r.Header.Get("Content-Encoding") != "gzip" {
		return io.ReadAll(r.Body)
	}
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// send sends spans to the collector, as the API does.
func (c *collecting) send(t *testing.T, m proto.Message) {
	t.Helper()
	body, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.otlp+"/v1/traces", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		t.Fatalf("the collector answers %s %s", resp.Status, text)
	}
}

// TestCollectorConfig: the collector takes the shipped file, and says what is wrong with a broken one.
func TestCollectorConfig(t *testing.T) {
	t.Parallel()
	shippedText := read(t, collectorFile)
	for _, b := range []broken{
		{name: "Shipped"},
		{"Syntax", `(?m)^receivers:`, "receivers", "yaml"},
		{"UnknownComponent", `  batch:\n`, "  batches:\n", "batches"},
		{"UnknownKey", `decision_wait:`, "decision_delay:", "decision_delay"},
		{"BadDuration", `timeout: 1s`, "timeout: soon", "invalid duration"},
		{"UndefinedInPipeline", `exporters: \[otlp_http/tempo\]`, "exporters: [otlp_http/jaeger]", "jaeger"},
		{"UnknownOperator", `type: regex_parser`, "type: regexp_parser", "regexp_parser"},
		{"BadExpression", `value: EXPR\(resource.file`, "value: EXPR((resource.file", "failed to compile expression"},
	} {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			text := strings.ReplaceAll(shippedText, "/var/lib/otelcol", dir)
			if b.old != "" {
				text, _ = b.at(t, text)
			}
			path := filepath.Join(dir, "collector.yml")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, code := run(t, exec.CommandContext(t.Context(), proctest.Program(t, collector), "validate", "--config", path))
			if b.old == "" && code != 0 {
				t.Errorf("exit code %d\n%s", code, out)
			}
			if b.old != "" && (code == 0 || !strings.Contains(out, b.want)) {
				t.Errorf("exit code %d, want a failure with %q\n%s", code, b.want, out)
			}
		})
	}
}

// TestCollectorVersion: what is tested here has the version of what runs in the container.
func TestCollectorVersion(t *testing.T) {
	t.Parallel()
	m := regexp.MustCompile(`FROM otel/opentelemetry-collector-contrib:(\S+) `).FindStringSubmatch(read(t, "Dockerfile"))
	if m == nil {
		t.Fatal("the Dockerfile builds no collector")
	}
	if out, _ := run(t, exec.CommandContext(t.Context(), proctest.Program(t, collector), "--version")); !strings.HasSuffix(strings.TrimSpace(out), " "+m[1]) {
		t.Errorf("got %q, want version %s", out, m[1])
	}
	module := read(t, "internal/monitoring/compose/otelcol/go.mod")
	// Of the collector itself, some modules are stable and have another number; otelcol pins them.
	parts := regexp.MustCompile(`(opentelemetry-collector-contrib/\S+|collector/otelcol) v(\S+)`).FindAllStringSubmatch(module, -1)
	if len(parts) < 5 {
		t.Errorf("go.mod of the tested collector has %d parts of the contrib distribution only", len(parts))
	}
	for _, part := range parts {
		if part[2] != m[1] {
			t.Errorf("the tested collector has %s of version %s, want %s", part[1], part[2], m[1])
		}
	}
}

// TestCollectorMetrics: what dashboards and alerts read of the collector is there. Newer collectors add _total to counters,
// so they ask for both names.
func TestCollectorMetrics(t *testing.T) {
	t.Parallel()
	queried := regexp.MustCompile(`otelcol_\w+`).FindAllString(everyQuery(t), -1)
	if len(queried) == 0 {
		t.Fatal("nobody asks for the collector's metrics")
	}
	var given atomic.Bool
	picky := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if given.CompareAndSwap(false, true) {
			w.WriteHeader(http.StatusBadRequest) // for the counter of failures
		}
	}))
	t.Cleanup(picky.Close)
	c := newCollector(t, picky.URL, picky.URL)
	c.send(t, export(span{trace: newTrace(), name: "failing", failed: true}))
	c.Until(t, func() error {
		if !given.Load() {
			return errors.New("the spans are still on their way")
		}
		return nil
	})
	c.send(t, export(span{trace: newTrace(), name: "taken", failed: true}))
	c.Until(t, func() error {
		text, _, err := proctest.Get(c.metrics)
		for _, name := range queried {
			if err == nil && !regexp.MustCompile(`(?m)^`+strings.TrimSuffix(name, "_total")+`(_total)?[{ ]`).MatchString(text) {
				err = fmt.Errorf("the collector has no %s", name)
			}
		}
		return err
	})
}

// TestBalancerMetrics: what dashboards and alerts read of the balancer is there.
func TestBalancerMetrics(t *testing.T) {
	t.Parallel()
	b := newBalancer(t)
	queried := regexp.MustCompile(`haproxy_\w+`).FindAllString(everyQuery(t), -1)
	if len(queried) == 0 {
		t.Fatal("nobody asks for the balancer's metrics")
	}
	text, _, err := proctest.Get(b.Operators + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range queried {
		if !strings.Contains(text, "\n"+name+"{") {
			t.Errorf("the balancer has no %s", name)
		}
	}
}

// everyQuery is the text of all dashboards and rules.
func everyQuery(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range []string{"dashboards/*.json", "alerts/rules/*.yml"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files (%v)", pattern, err)
		}
		for _, path := range files {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
	}
	return all.String()
}
