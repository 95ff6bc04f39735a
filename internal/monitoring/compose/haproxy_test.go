package compose_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"speedybites/internal/monitoring/proctest"
)

const haproxyFile = "observability/stack/haproxy/haproxy.cfg"

// instance stands for one of the API. It counts the requests that are not probes.
type instance struct {
	server  *httptest.Server
	unready atomic.Bool
	once    atomic.Bool  // to the next probe, it says that it is ready all the same
	probes  atomic.Int64 // of its readiness
	dead    atomic.Bool  // no answer to any probe
	answer  atomic.Pointer[http.HandlerFunc]

	mu       sync.Mutex
	requests map[string]int // by path
	headers  http.Header    // of the last one
}

func newInstance(t *testing.T) *instance {
	t.Helper()
	i := &instance{requests: map[string]int{}}
	i.server = httptest.NewServer(i)
	t.Cleanup(i.server.Close)
	return i
}

func (i *instance) addr() string { return i.server.Listener.Addr().String() }

func (i *instance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/livez":
		if i.dead.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
		return
	case "/readyz":
		i.probes.Add(1)
		if i.unready.Load() && !i.once.Swap(false) || i.dead.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return
	}
	i.mu.Lock()
	i.requests[r.URL.Path]++
	i.headers = r.Header.Clone()
	i.mu.Unlock()
	if answer := i.answer.Load(); answer != nil {
		(*answer)(w, r)
		return
	}
	_, _ = io.WriteString(w, "done")
}

// total is the number of requests so far.
func (i *instance) total() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := 0
	for _, times := range i.requests {
		n += times
	}
	return n
}

// balancer is HAProxy in front of two stand-ins for instances.
type balancer struct {
	*proctest.Balancer
	instances [2]*instance
}

func newBalancer(t *testing.T) *balancer {
	t.Helper()
	one, two := newInstance(t), newInstance(t)
	return &balancer{proctest.StartBalancer(t, [2]string{one.addr(), two.addr()}), [2]*instance{one, two}}
}

// TestBalancerShares: both instances get their share while both are ready.
func TestBalancerShares(t *testing.T) {
	t.Parallel()
	b := newBalancer(t)
	for n := range 20 {
		if body, status, err := proctest.Get(b.API + "/api/" + strconv.Itoa(n)); err != nil || status != http.StatusOK || body != "done" {
			t.Fatalf("got %q, %d, %v", body, status, err)
		}
	}
	for n, i := range b.instances {
		if got := i.total(); got != 10 {
			t.Errorf("instance %d got %d of 20 requests, want 10", n+1, got)
		}
	}
}

// TestBalancerDead: an instance that stops listening under load costs no request, and none is made twice.
func TestBalancerDead(t *testing.T) {
	t.Parallel()
	b := newBalancer(t)
	const clients, each = 8, 150
	var sent atomic.Int64
	var clientsDone sync.WaitGroup
	for c := range clients {
		clientsDone.Go(func() {
			for n := range each {
				if sent.Add(1) == clients*each/3 {
					_ = b.instances[0].server.Listener.Close() // What it is answering, it answers.
				}
				body, status, err := proctest.Get(fmt.Sprintf("%s/api/%d/%d", b.API, c, n))
				if err != nil || status != http.StatusOK || body != "done" {
					t.Errorf("request %d of client %d: got %q, %d, %v", n, c, body, status, err)
				}
			}
		})
	}
	clientsDone.Wait()
	b.WaitFor(t, "ready", 1)
	seen := 0
	for _, i := range b.instances {
		i.mu.Lock()
		for path, times := range i.requests {
			if seen += times; times != 1 {
				t.Errorf("%s was asked %d times", path, times)
			}
		}
		i.mu.Unlock()
	}
	if seen != clients*each {
		t.Errorf("the instances saw %d requests, want %d", seen, clients*each)
	}
	if got := b.instances[0].total(); got == 0 || got > clients*each/2 {
		t.Errorf("the instance that went away saw %d requests: it did not go under load", got)
	}
}

// TestBalancerOutage: with no instance ready, clients get what the instances say.
func TestBalancerOutage(t *testing.T) {
	t.Parallel()
	b := newBalancer(t)
	const said = `{"status":"Database reconnecting...","retryAfter":10}`
	unavailable := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "10")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, said)
	})
	for _, i := range b.instances {
		i.unready.Store(true)
		i.answer.Store(&unavailable)
	}
	b.WaitFor(t, "ready", 0)
	b.WaitFor(t, "alive", 2)
	for range 4 {
		got := request(t, http.MethodGet, b.API+"/api/orders", nil)
		if after := got.header.Get("Retry-After"); got.status != http.StatusServiceUnavailable || string(got.body) != said || after != "10" {
			t.Errorf("got %q, %d, Retry-After %q, want the instance's own answer", got.body, got.status, after)
		}
	}
	if b.instances[0].total() != 2 || b.instances[1].total() != 2 {
		t.Errorf("got %d and %d requests, want 2 each", b.instances[0].total(), b.instances[1].total())
	}
}

// TestBalancerAlone: without any instance, the balancer's own answer has the form of the API's.
func TestBalancerAlone(t *testing.T) {
	t.Parallel()
	b := newBalancer(t)
	for _, i := range b.instances {
		i.server.Close()
	}
	b.WaitFor(t, "alive", 0)
	b.WaitFor(t, "ready", 0)
	got := request(t, http.MethodGet, b.API+"/api/orders", nil)
	wantJSON(t, got, http.StatusServiceUnavailable, "Service Unavailable")
	if got := got.header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After is %q, want 1", got)
	}
}

// TestBalancerNeverRepeats: a request that has reached an instance is not made again, whatever becomes of its connection.
func TestBalancerNeverRepeats(t *testing.T) {
	t.Parallel()
	b := newBalancer(t)
	cut := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	})
	for _, i := range b.instances {
		i.answer.Store(&cut)
	}
	for _, method := range []string{http.MethodPost, http.MethodGet} {
		// On a connection that is not its first, HAProxy would close it without an answer, and the client would repeat the GET.
		got := request(t, method, b.API+"/api/"+method, http.Header{"Connection": {"close"}})
		wantJSON(t, got, http.StatusBadGateway, "Bad Gateway")
	}
	if got := b.instances[0].total() + b.instances[1].total(); got != 2 {
		t.Errorf("2 requests were made %d times", got)
	}
}

// TestBalancerHeaders: an instance is told by the balancer, not by the client, where a request comes from.
func TestBalancerHeaders(t *testing.T) {
	t.Parallel()
	b := newBalancer(t)
	request(t, http.MethodGet, b.API+"/api/orders", http.Header{
		"X-Forwarded-For": {"6.6.6.6"}, "X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"https"}, "X-Request-Id": {"mine"},
	})
	b.instances[0].mu.Lock()
	defer b.instances[0].mu.Unlock()
	got := b.instances[0].headers
	for name, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "", "X-Forwarded-Proto": "http", "X-Request-Id": "mine",
	} {
		if value := strings.Join(got.Values(name), ", "); value != want {
			t.Errorf("%s is %q, want %q", name, value, want)
		}
	}
}

// reply is an answer that was read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func request(t *testing.T, method, url string, header http.Header) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, body}
}

// wantJSON demands an error in the form of the API's.
func wantJSON(t *testing.T, r reply, status int, text string) {
	t.Helper()
	var body struct{ Error, Message string }
	err := json.Unmarshal(r.body, &body)
	if err != nil || r.status != status || body.Error != text || body.Message == "" {
		t.Errorf("got %d %s (%v), want %d with error %q and a message", r.status, r.body, err, status, text)
	}
	if got := r.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("the answer is of type %q", got)
	}
}

// TestBalancerTimeouts: the balancer is more patient than the service, whose deadline is in docs/configuration.md.
func TestBalancerTimeouts(t *testing.T) {
	t.Parallel()
	m := regexp.MustCompile(`The deadline of a request is .*: (\d+) s by default`).FindStringSubmatch(read(t, "docs/configuration.md"))
	if m == nil {
		t.Fatal("docs/configuration.md does not tell the deadline of a request")
	}
	deadline, _ := strconv.Atoi(m[1]) // It is digits.
	for _, side := range []string{"client", "server"} {
		m := regexp.MustCompile(`(?m)^\s*timeout ` + side + ` (\w+)$`).FindStringSubmatch(read(t, haproxyFile))
		if m == nil {
			t.Errorf("%s has no timeout %s", haproxyFile, side)
			continue
		}
		if got, err := time.ParseDuration(m[1]); err != nil || got <= time.Duration(deadline)*time.Second {
			t.Errorf("timeout %s is %s (%v), want more than the service's %d s", side, m[1], err, deadline)
		}
	}
}

// TestBalancerConfig: HAProxy itself says file and line of a mistake, and has nothing to say about the shipped file.
func TestBalancerConfig(t *testing.T) {
	t.Parallel()
	shippedText := read(t, haproxyFile)
	for _, b := range []broken{
		{name: "Shipped"},
		{"UnknownKeyword", `balance roundrobin`, "balanced roundrobin", "unknown keyword 'balanced'"},
		{"UnknownBackend", `default_backend ready`, "default_backend steady", "unable to find"},
		{"BadTimeout", `timeout server 60s`, "timeout server soon", "timeout server"},
		{"NoCheckRule", `expect status 200`, "expect status fine", "status"},
	} {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			text, line := shippedText, 0
			if b.old != "" {
				text, line = b.at(t, text)
			}
			path := filepath.Join(t.TempDir(), "haproxy.cfg")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), proctest.Program(t, proctest.HAProxy), "-c", "-f", path)
			cmd.Env = append(os.Environ(), "API_1=127.0.0.1:1", "API_2=127.0.0.1:2")
			out, code := run(t, cmd)
			if b.old == "" {
				if code != 0 || strings.Contains(out, "WARNING") {
					t.Errorf("exit code %d\n%s", code, out)
				}
				return
			}
			at := fmt.Sprintf("haproxy.cfg:%d", line)
			if b.name == "UnknownBackend" {
				at = "Proxy 'api'" // HAProxy tells no line.
			}
			if code == 0 || !strings.Contains(out, b.want) || !strings.Contains(out, at) {
				t.Errorf("exit code %d, want a failure with %q and %q\n%s", code, at, b.want, out)
			}
		})
	}
}
