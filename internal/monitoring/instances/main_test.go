// Package instances_test runs several instances of the service as processes, on one database: behind the shipped balancer,
// behind the documented pgbouncer, and on a cluster that Patroni runs.
package instances_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"speedybites/internal/dbtest"
	"speedybites/internal/demo"
	"speedybites/internal/load"
	"speedybites/internal/migrate"
	"speedybites/internal/monitoring/compose"
	"speedybites/internal/monitoring/localstack"
	"speedybites/internal/monitoring/proctest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(serviceDir) // It is in the directory for what may go at any time.
	os.Exit(code)
}

// serviceDir is where service builds, "" until it does.
var serviceDir string

// service is the service's program, built once.
var service = sync.OnceValues(func() (string, error) {
	root, err := localstack.RepoRoot()
	if err != nil {
		return "", err
	}
	if serviceDir, err = os.MkdirTemp("", "instances-service-"); err != nil {
		return "", err
	}
	path := filepath.Join(serviceDir, "speedy-bites")
	cmd := exec.CommandContext(context.Background(), "go", "build", "-buildvcs=false", "-o", path, "./cmd/speedy-bites")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the service: %w: %s", err, out)
	}
	return path, nil
})

// member is an instance of the service. It keeps its addresses over restarts.
type member struct {
	*proctest.Process
	addr            string // of the API
	base, operators string // URLs of the API and of the operators' pages
	dir             string
	env             []string
}

// newMember starts an instance on a database, as docker-compose.yml configures those behind the balancer, and waits until it
// wants traffic. env, "NAME=value" each, goes before that.
func newMember(t *testing.T, databaseURL string, env ...string) *member {
	t.Helper()
	port, operators := proctest.FreePort(t), proctest.FreePort(t)
	m := &member{
		addr: "127.0.0.1:" + port, base: "http://127.0.0.1:" + port, operators: "http://127.0.0.1:" + operators, dir: t.TempDir(),
	}
	m.env = append([]string{
		"APP_ENV=production", "HOST=127.0.0.1", "PORT=" + port, "METRICS_ADDR=127.0.0.1:" + operators,
		"DATABASE_URL=" + databaseURL, "TOKEN_SECRET=" + strings.Repeat("s", 32), "SHUTDOWN_DRAIN_MS=" + shippedDrain(t), "LOG_LEVEL=warn",
	}, env...) // exec lets the last one win
	m.start(t)
	m.Until(t, proctest.Answers(m.base+"/readyz"))
	return m
}

// shippedDrain is what docker-compose.yml sets, for the balancer to see that an instance is about to go.
func shippedDrain(t *testing.T) string {
	t.Helper()
	root, err := localstack.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	stack, err := compose.Load(t.Context(), filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	return *stack.Services["api-1"].Environment["SHUTDOWN_DRAIN_MS"]
}

// start starts the instance, for the first time or again, and waits until it answers.
func (m *member) start(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), proctest.Program(t, service), "serve")
	cmd.Dir, cmd.Env = m.dir, m.env
	m.Process = proctest.Start(t, cmd)
	m.Until(t, proctest.Answers(m.base+"/livez"))
}

// restart ends the instance as a deployment does, and starts it again.
func (m *member) restart(t *testing.T) {
	t.Helper()
	m.Stop(t, syscall.SIGTERM)
	if err := m.Err(); err != nil {
		t.Errorf("%s ended with %v", m.base, err)
	}
	m.start(t)
}

var requests = regexp.MustCompile(`(?m)^http_server_request_duration_seconds_count\{[^}]*http_route="/api/(?:orders|restaurants)[^}]*\} (\S+)`)

// served is how many requests for restaurants and orders the instance has answered since it started.
func (m *member) served(t *testing.T) int {
	t.Helper()
	text, _, err := proctest.Get(m.operators + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, found := range requests.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return int(sum)
}

// health is what /api/health says of the database.
type health struct {
	Database struct {
		Connected bool
		Status    string
	}
	CircuitBreaker struct {
		State       string
		Transitions []struct{ From, To string }
	}
}

func (m *member) health() (health, error) {
	var h health
	text, _, err := proctest.Get(m.base + "/api/health")
	if err == nil {
		err = json.Unmarshal([]byte(text), &h)
	}
	return h, err
}

// untilState waits until the instance's breaker is in a state.
func (m *member) untilState(t *testing.T, state string) {
	t.Helper()
	m.Until(t, func() error {
		h, err := m.health()
		if err == nil && h.CircuitBreaker.State != state {
			err = fmt.Errorf("the breaker is %s, want %s", h.CircuitBreaker.State, state)
		}
		return err
	})
}

// prepare brings a database up to date, with the demo restaurants.
func prepare(t *testing.T, url string) {
	t.Helper()
	if _, err := migrate.Up(t.Context(), url, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if _, err := demo.Load(t.Context(), dbtest.OpenDefault(t, url)); err != nil {
		t.Fatal(err)
	}
}

// customer registers one and returns the token.
func customer(t *testing.T, base string) string {
	t.Helper()
	body, status := send(t, http.MethodPost, base+"/api/auth/register", "", map[string]string{
		"email": uuid.NewString() + "@example.com", "password": "correct horse", "name": "Customer",
	})
	var session struct{ Token string }
	if err := json.Unmarshal(body, &session); err != nil || status != http.StatusCreated {
		t.Fatalf("register: %d %s (%v)", status, body, err)
	}
	return session.Token
}

// send makes a request with a JSON body, if there is one.
func send(t *testing.T, method, url, token string, value any) (body []byte, status int) {
	t.Helper()
	var text []byte
	if value != nil {
		var err error
		if text, err = json.Marshal(value); err != nil {
			t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if value != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), resp.StatusCode
}

// underLoad makes requests, every fifth of them an order, while f runs.
func underLoad(t *testing.T, base string, rate int, f func(*load.Ledger)) *load.Ledger {
	t.Helper()
	g := load.New(load.Config{
		BaseURL: base, Token: customer(t, base), Rate: rate,
		RestaurantID: demo.RestaurantID(), MenuItemID: demo.MenuItemID(),
	})
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		g.Run(t.Context(), stop)
	}()
	defer func() { // also when f ends the test
		close(stop)
		<-done
	}()
	f(g.Ledger())
	return g.Ledger()
}

// settle holds the ledger against the database. Requests that failed are counted, and are for the caller to judge.
func settle(t *testing.T, server interface{ AdminURL(database string) string }, ledger *load.Ledger) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.AdminURL(""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	r, err := ledger.Compare(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r)
	if len(r.Lost) > 0 || len(r.Doubled) > 0 {
		t.Errorf("orders lost: %v, doubled: %v", r.Lost, r.Doubled)
	}
	if r.Acknowledged == 0 {
		t.Error("not one order was acknowledged")
	}
}

// noFailures demands that nobody of those who asked noticed anything.
func noFailures(t *testing.T, entries []load.Entry) {
	t.Helper()
	failed := 0
	for _, e := range entries {
		if !e.Failed() {
			continue
		}
		if failed++; failed == 1 {
			t.Errorf("the first that failed: %+v", e)
		}
	}
	if failed > 0 {
		t.Errorf("%d of %d requests failed", failed, len(entries))
	}
}
