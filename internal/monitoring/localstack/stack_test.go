package localstack_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"

	"speedybites/internal/demo"
	"speedybites/internal/monitoring/localstack"
)

// TestStack goes through the life of one stack with the shipped files: each subtest finds what the one before has left.
func TestStack(t *testing.T) { //nolint:tparallel // See above.
	t.Parallel()
	dir := filepath.Join(newDir(t), "made", "by", "start")
	s := start(t, localstack.Config{Dir: dir, Demo: true, Environ: []string{"APP_ENV=test"}})

	t.Run("ScrapesEverything", func(t *testing.T) {
		want := map[string]int{"speedy-bites": 2, "prometheus": 1, "alertmanager": 1}
		if s.URLs().PostgresExporter != "" { // There need not be one.
			want["postgres"] = 1
		}
		var got map[string]int
		eventually(t, "all targets up", func() bool {
			got = map[string]int{}
			for _, sample := range query(t, s, "up == 1") {
				got[sample.Metric["job"]]++
			}
			return cmp.Equal(got, want)
		})
		if got := query(t, s, "count(pg_up == 1)"); len(got) != want["postgres"] {
			t.Errorf("pg_up: got %v, want %d", got, want["postgres"])
		}
		if got := query(t, s, "scalar(vector(42))"); len(got) != 1 || got[0].Value != 42 {
			t.Errorf("a number: got %v, want 42", got)
		}
		if _, err := s.Query(t.Context(), "up["); err == nil || !strings.Contains(err.Error(), "up[") {
			t.Errorf("got error %v for a broken query, want one with the query", err)
		}
	})
	t.Run("HasTheShippedFiles", func(t *testing.T) { testShipped(t, dir) })
	t.Run("Notifies", func(t *testing.T) { testNotifies(t, s) })
	t.Run("InstancesShareUsersAndData", func(t *testing.T) { testShared(t, s) })
	t.Run("KillInstance", func(t *testing.T) { testKillInstance(t, s) })
	t.Run("KilledDatabase", func(t *testing.T) { testKilledDatabase(t, s) })
	t.Run("InUse", func(t *testing.T) {
		_, err := localstack.Start(bounded(t), localstack.Config{Dir: dir})
		wantError(t, err, localstack.ErrInUse)
	})
	t.Run("DiesByItself", func(t *testing.T) { testDiesByItself(t, s) })
	t.Run("Stop", func(t *testing.T) { testStop(t, s) })
	t.Run("AgainFindsTheData", func(t *testing.T) { testAgain(t, s, dir) })
}

func query(t *testing.T, s *localstack.Stack, expr string) (samples []sample) {
	t.Helper()
	vector, err := s.Query(bounded(t), expr)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vector {
		labels := map[string]string{}
		for name, value := range v.Metric {
			labels[string(name)] = string(value)
		}
		samples = append(samples, sample{labels, float64(v.Value)})
	}
	return samples
}

type sample struct {
	Metric map[string]string
	Value  float64
}

func testShipped(t *testing.T, dir string) {
	t.Helper()
	root, err := localstack.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	rules, err := filepath.Glob(filepath.Join(root, "alerts", "rules", "*.yml"))
	if err != nil || len(rules) == 0 {
		t.Fatalf("no rules in the repository (%v)", err)
	}
	files := map[string]string{
		"alerts/alertmanager.yml":                       "alertmanager/alertmanager.yml",
		"observability/stack/prometheus/prometheus.yml": "prometheus/prometheus.yml",
	}
	for _, rule := range rules {
		files["alerts/rules/"+filepath.Base(rule)] = "prometheus/rules/" + filepath.Base(rule)
	}
	for from, to := range files {
		want, err := os.ReadFile(filepath.Join(root, from))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, to))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not %s (%v)", to, from, err)
		}
	}
}

// testNotifies sends an alert in Prometheus's place: its own come a minute late when it has met Alertmanager after their
// first evaluation.
func testNotifies(t *testing.T, s *localstack.Stack) {
	t.Helper()
	eventually(t, "Prometheus's acquaintance with Alertmanager", func() bool {
		found, err := s.Prometheus().AlertManagers(bounded(t))
		return err == nil && len(found.Active) == 1
	})
	const alert = `[{"labels": {"alertname": "Watchdog", "severity": "none"}, "annotations": {"summary": "It works"}}]`
	resp, err := http.Post(s.URLs().Alertmanager+"/api/v2/alerts", "application/json", strings.NewReader(alert))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	eventually(t, "the Watchdog", func() bool { return s.Watchdog().Alive })
	n := s.Notifications()[len(s.Notifications())-1]
	if n.Channel != "watchdog" || !n.Firing("Watchdog") {
		t.Errorf("got first %+v, want the Watchdog on its channel", n)
	}
}

// testShared registers with one instance and uses the other.
func testShared(t *testing.T, s *localstack.Stack) {
	t.Helper()
	first, second := s.URLs().API[0], s.URLs().API[1]
	const user = `{"email": "a@example.com", "password": "correct horse", "name": "A"}`
	resp, err := http.Post(first+"/api/auth/register", "application/json", strings.NewReader(user))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		t.Fatalf("register: got %s and no token (%v)", resp.Status, err)
	}
	if status, body := get(t, second+"/api/orders", answer.Token); status != http.StatusOK {
		t.Errorf("orders: got %d %s, want 200", status, body)
	}
	id := demo.RestaurantID().String()
	if status, body := get(t, second+"/api/restaurants/"+id, ""); status != http.StatusOK || !strings.Contains(body, id) {
		t.Errorf("demo restaurant: got %d %s, want 200", status, body)
	}
}

// get returns status 0 when there is no answer.
func get(t *testing.T, address, token string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(bounded(t), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

func testKillInstance(t *testing.T, s *localstack.Stack) {
	t.Helper()
	before := pids(s)["api-1"]
	if err := s.KillInstance(0); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(before, 0); err == nil || pids(s)["api-1"] != 0 {
		t.Errorf("process %d of api-1 is still there", before)
	}
	if status, _ := get(t, s.URLs().API[0]+"/livez", ""); status != 0 {
		t.Errorf("the killed instance answers %d", status)
	}
	if status, _ := get(t, s.URLs().API[1]+"/livez", ""); status != http.StatusOK {
		t.Errorf("the other instance answers %d, want 200", status)
	}
	eventually(t, "a target that is down", func() bool { return len(query(t, s, `up{job="speedy-bites"} == 0`)) == 1 })
	if err := s.KillInstance(0); err != nil {
		t.Errorf("killing it again: %v", err)
	}
	if err := s.KillInstance(2); err == nil {
		t.Error("an instance was killed that is not there")
	}
	for range 2 { // The second time there is nothing to do.
		if err := s.StartInstance(bounded(t), 0); err != nil {
			t.Fatal(err)
		}
	}
	if status, _ := get(t, s.URLs().API[0]+"/livez", ""); status != http.StatusOK {
		t.Errorf("the instance that was started again answers %d, want 200", status)
	}
	if err := s.Err(); err != nil {
		t.Errorf("it counts as a process that has ended by itself: %v", err)
	}
}

func pids(s *localstack.Stack) map[string]int {
	list := map[string]int{}
	for _, p := range s.Processes() {
		list[p.Name] = p.Pid
	}
	return list
}

func testKilledDatabase(t *testing.T, s *localstack.Stack) {
	t.Helper()
	if err := s.Database().Kill(bounded(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an instance that is not operational", func() bool {
		_, body := get(t, s.URLs().API[0]+"/api/health", "")
		return !strings.Contains(body, `"operational"`)
	})
	if err := s.KillInstance(1); err != nil {
		t.Fatal(err)
	}
	if err := s.StartInstance(bounded(t), 1); err != nil {
		t.Errorf("an instance does not start without a database: %v", err)
	}
	if err := s.Database().StartAgain(bounded(t)); err != nil {
		t.Fatal(err)
	}
	for i, base := range s.URLs().API {
		eventually(t, fmt.Sprint("recovery of instance ", i), func() bool {
			_, body := get(t, base+"/api/health", "")
			return strings.Contains(body, `"operational"`)
		})
	}
}

func testDiesByItself(t *testing.T, s *localstack.Stack) {
	t.Helper()
	if err := s.Err(); err != nil {
		t.Fatalf("before: %v", err)
	}
	if err := syscall.Kill(pids(s)["alertmanager"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an error", func() bool { return s.Err() != nil })
	for _, want := range []string{"alertmanager has ended (signal: killed)", "output/alertmanager.log", "listening"} {
		if got := s.Err().Error(); !strings.Contains(strings.ToLower(got), want) {
			t.Errorf("got error %q, want it to say %s", got, want)
		}
	}
}

func testStop(t *testing.T, s *localstack.Stack) {
	t.Helper()
	if got := len(processesIn(t, s.Dir())); runtime.GOOS == "linux" && got < 4 {
		t.Errorf("only %d processes found while it runs", got)
	}
	for name, pid := range pids(s) {
		if err := syscall.Kill(pid, 0); err != nil {
			t.Errorf("process %d of %s is not there before the stop: %v", pid, name, err)
		}
	}
	for range 2 { // The second time there is nothing to do.
		if err := s.Stop(bounded(t)); err != nil {
			t.Fatal(err)
		}
	}
	wantNothingLeft(t, s.Dir(), ports(s))
	if got := s.Processes(); len(got) > 0 {
		t.Errorf("got %v after the stop", got)
	}
	if err := s.StartInstance(bounded(t), 0); err == nil {
		t.Error("an instance was started in a stack that is stopped")
	}
}

// ports are all addresses of a stack.
func ports(s *localstack.Stack) []string {
	u := s.URLs()
	var list []string
	for _, address := range append(append(u.API, u.Metrics...), u.PostgresExporter, u.Prometheus, u.Alertmanager, u.Receiver) {
		if parsed, err := url.Parse(address); err == nil {
			list = append(list, "127.0.0.1:"+parsed.Port())
		}
	}
	return append(list, s.Database().Addr())
}

func wantNothingLeft(t *testing.T, dir string, addresses []string) {
	t.Helper()
	if left := processesIn(t, dir); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	for _, address := range addresses {
		if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			_ = conn.Close()
			t.Errorf("somebody still listens on %s", address)
		}
	}
}

func testAgain(t *testing.T, s *localstack.Stack, dir string) {
	t.Helper()
	stopped := time.Now()
	again := start(t, localstack.Config{Dir: dir, Environ: []string{"APP_ENV=test"}})
	if again.Database().Port() != s.Database().Port() {
		t.Errorf("PostgreSQL is on port %d, not on %d as before", again.Database().Port(), s.Database().Port())
	}
	if status, body := get(t, again.URLs().API[0]+"/api/restaurants", ""); !strings.Contains(body, demo.RestaurantID().String()) {
		t.Errorf("got %d %s, want the restaurants of the run before", status, body)
	}
	matrix, err := again.QueryRange(bounded(t), "up", v1.Range{Start: stopped.Add(-5 * time.Minute), End: stopped, Step: time.Second})
	if err != nil || len(matrix) == 0 {
		t.Errorf("got %v (%v), want Prometheus's data of the run before", matrix, err)
	}
	for _, name := range []string{"prometheus.log", "prometheus.log.1"} {
		if _, err := os.Stat(filepath.Join(dir, "output", name)); err != nil {
			t.Error(err)
		}
	}
}
