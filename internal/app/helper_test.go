package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"speedybites/internal/app"
	"speedybites/internal/config"
	"speedybites/internal/demo"
	"speedybites/internal/load"
	"speedybites/internal/localpg"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(
		m,
		// hystrix-go never ends the goroutines of a circuit, lumberjack never the one that deletes old backups.
		goleak.IgnoreAnyFunction("github.com/afex/hystrix-go/hystrix.(*metricExchange).Monitor"),
		goleak.IgnoreAnyFunction("github.com/afex/hystrix-go/hystrix.(*poolMetrics).Monitor"),
		goleak.IgnoreAnyFunction("github.com/afex/hystrix-go/hystrix.(*StreamHandler).loop"),
		goleak.IgnoreAnyFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"),
	)
}

// service is a running app in this process.
type service struct {
	t    testing.TB
	app  *app.App
	base string
	logs string
	stop func() error // as SIGTERM does; waits for the end
}

// start runs the service on a database; env, "NAME=value" each, overrides the environment.
func start(tb testing.TB, databaseURL string, env ...string) *service {
	tb.Helper()
	return startTo(tb, io.Discard, databaseURL, env...)
}

// startTo is start with a place for what the service writes to stderr.
func startTo(tb testing.TB, stderr io.Writer, databaseURL string, env ...string) *service {
	tb.Helper()
	dir := tb.TempDir()
	environ := lastWins(append([]string{
		"APP_ENV=test", "HOST=127.0.0.1", "PORT=0", "DATABASE_URL=" + databaseURL,
		"TOKEN_SECRET=" + strings.Repeat("s", 32), "LOG_DIR=" + dir + "/logs", "UPLOADS_DIR=" + dir + "/uploads",
		"SHUTDOWN_DRAIN_MS=50",
	}, env...))
	noFile := func(string) ([]byte, error) { return nil, os.ErrNotExist }
	cfg, err := config.Load(environ, noFile)
	if err != nil {
		tb.Fatal(err)
	}
	a, err := app.New(tb.Context(), cfg, app.Options{Version: "test", Stderr: stderr, Getenv: func(name string) string {
		i := slices.IndexFunc(environ, func(entry string) bool { return strings.HasPrefix(entry, name+"=") })
		if i < 0 {
			return ""
		}
		return environ[i][len(name)+1:]
	}})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	s := &service{t: tb, app: a, base: "http://" + a.Addr(), logs: dir + "/logs"}
	var result error
	stopped := false
	s.stop = func() error {
		if !stopped {
			stopped = true
			cancel()
			result = <-ended
		}
		return result
	}
	tb.Cleanup(func() {
		if err := s.stop(); err != nil {
			tb.Errorf("shutdown: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return s
}

// lastWins keeps the last of the entries with the same name; config takes the first, as getenv does.
func lastWins(environ []string) []string {
	var kept []string
	seen := map[string]bool{}
	for _, entry := range slices.Backward(environ) {
		name, _, _ := strings.Cut(entry, "=")
		if !seen[name] {
			seen[name] = true
			kept = append(kept, entry)
		}
	}
	return kept
}

// withDemo loads the demo restaurants.
func (s *service) withDemo() *service {
	s.t.Helper()
	if _, err := demo.Load(s.t.Context(), s.app.DB()); err != nil {
		s.t.Fatal(err)
	}
	return s
}

type answer struct {
	status int
	header http.Header
	body   string
	took   time.Duration
	closes bool // the server closes the connection
}

func (a answer) decode(tb testing.TB, v any) {
	tb.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		tb.Fatalf("%v in %s", err, a.body)
	}
}

// call makes one request; a body that is not nil is sent as JSON. It is safe for concurrent use.
func (s *service) call(method, path string, body any, header ...string) answer {
	s.t.Helper()
	a, err := call(s.t.Context(), method, s.base+path, body, header...)
	if err != nil {
		s.t.Error(err)
	}
	return a
}

func call(ctx context.Context, method, url string, body any, header ...string) (answer, error) {
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		reader = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, reader)
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	begin := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: string(text), took: time.Since(begin), closes: resp.Close}, err
}

// customer registers a customer and returns the token.
func (s *service) customer() string {
	s.t.Helper()
	return s.register("customer")
}

// owner registers an owner and returns the token.
func (s *service) owner() string {
	s.t.Helper()
	return s.register("owner")
}

func (s *service) register(role string) string {
	s.t.Helper()
	a := s.call("POST", "/api/auth/register", map[string]any{
		"email": uuid.NewString() + "@example.com", "password": "correct horse", "name": "Somebody", "role": role,
	})
	if a.status != http.StatusCreated {
		s.t.Fatalf("register: %d %s", a.status, a.body)
	}
	var session struct{ Token string }
	a.decode(s.t, &session)
	return session.Token
}

// demoOrder is an order of one demo pizza.
func demoOrder(note string) map[string]any {
	return map[string]any{
		"restaurantId":    demo.RestaurantID(),
		"items":           []any{map[string]any{"menuItemId": demo.MenuItemID(), "quantity": 1}},
		"deliveryAddress": "1 Test Street", "note": note,
	}
}

// health returns the health as a client sees it.
type health struct {
	OK       bool
	Status   string
	Database struct {
		Connected                                                          bool
		TotalConnections, IdleConnections, ActiveConnections, WaitingQueue int
		Status                                                             string
		Hosts                                                              []struct{ Server, Role string }
	}
	CircuitBreaker struct {
		State                   string
		FailureCount, Threshold int
		Transitions             []struct{ From, To string }
	}
}

func (s *service) health() (health, int) {
	s.t.Helper()
	a := s.call("GET", "/api/health", nil)
	var h health
	a.decode(s.t, &h)
	return h, a.status
}

// transitions returns the breaker's history as "CLOSED→OPEN" and so on.
func (h health) transitions() (list []string) {
	for _, t := range h.CircuitBreaker.Transitions {
		list = append(list, t.From+"→"+t.To)
	}
	return list
}

// underLoad runs the given load while f does its worst, and two seconds before and after.
func underLoad(tb testing.TB, s *service, rate int, f func()) *load.Ledger {
	tb.Helper()
	g := newLoad(s.base, s.customer(), rate)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Run(tb.Context(), stop)
	}()
	time.Sleep(2 * time.Second)
	f()
	time.Sleep(2 * time.Second)
	close(stop)
	<-done
	return g.Ledger()
}

func newLoad(base, token string, rate int) *load.Generator {
	return load.New(load.Config{
		BaseURL: base, Token: token, Rate: rate,
		RestaurantID: demo.RestaurantID(), MenuItemID: demo.MenuItemID(),
	})
}

// settle compares the ledger with the database, in which no request may have failed, and reports every promise that was
// broken.
func settle(tb testing.TB, server *localpg.Server, ledger *load.Ledger) load.Result {
	tb.Helper()
	r := compare(tb, server, ledger)
	if r.Failed > 0 {
		for _, e := range ledger.Entries() {
			if e.Failed() {
				tb.Errorf("%d requests failed; the first: %+v", r.Failed, e)
				break
			}
		}
	}
	return r
}

// compare is settle for an outage in which requests may fail.
func compare(tb testing.TB, server *localpg.Server, ledger *load.Ledger) load.Result {
	tb.Helper()
	r, err := ledger.Compare(tb.Context(), connect(tb, server.AdminURL("")))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Log(r)
	if len(r.Lost) > 0 || len(r.Doubled) > 0 {
		tb.Errorf("orders lost: %v, doubled: %v", r.Lost, r.Doubled)
	}
	if r.Acknowledged == 0 {
		tb.Error("not one order was acknowledged")
	}
	return r
}

func connect(tb testing.TB, url string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// eventually waits for a condition.
func eventually(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); {
		if time.Now().After(deadline) {
			tb.Fatalf("waited a minute for %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// accepting returns when the server last said that it accepts connections.
func accepting(tb testing.TB, server *localpg.Server) time.Time {
	tb.Helper()
	text, err := os.ReadFile(server.LogFile())
	if err != nil {
		tb.Fatal(err)
	}
	var last time.Time
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, "database system is ready to accept connections") {
			continue
		}
		fields := strings.Fields(line)
		at, err := time.Parse("2006-01-02 15:04:05.000 MST", fmt.Sprint(fields[0], " ", fields[1], " ", fields[2]))
		if err != nil {
			tb.Fatal(err)
		}
		last = at
	}
	if last.IsZero() {
		tb.Fatal("the server's log does not say when it was ready")
	}
	return last
}

// log returns a log file of the service; the app must have been stopped for it to be complete.
func (s *service) log(tb testing.TB, name string) string {
	tb.Helper()
	text, err := os.ReadFile(s.logs + "/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}
