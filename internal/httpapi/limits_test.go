package httpapi_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"speedybites/internal/httpapi"
)

// checkAtCapacity checks the answer of a service that has too much to do.
func checkAtCapacity(t *testing.T, what string, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" ||
		!strings.Contains(w.Body.String(), `"status":"Service at capacity","retryAfter":1`) {
		t.Errorf("%s: got %d %s", what, w.Code, w.Body)
	}
}

// TestTooManyRequests holds requests until there are too many: of ten, one is kept for a request that changes something.
func TestTooManyRequests(t *testing.T) {
	t.Parallel()
	s, b := setup(t, httpapi.Config{MaxRequests: 10})
	entered, release := make(chan struct{}), make(chan struct{})
	hold := func(c *gin.Context) error {
		entered <- struct{}{}
		<-release
		return s.Reply(c, "done")
	}
	s.Route(http.MethodGet, "/hold", hold)
	s.Route(http.MethodPost, "/hold", hold)
	var held sync.WaitGroup
	start := func(method string) {
		held.Go(func() {
			if w := do(s, method, "/hold", ""); w.Code != http.StatusOK {
				t.Errorf("a held %s: got %d %s", method, w.Code, w.Body)
			}
		})
		<-entered
	}
	for range 9 {
		start(http.MethodGet)
	}
	for range 3 { // a refused request takes no room
		checkAtCapacity(t, "a read too many", do(s, http.MethodGet, "/hold", ""))
	}
	start(http.MethodPost)
	checkAtCapacity(t, "a write too many", do(s, http.MethodPost, "/hold", ""))
	checkAtCapacity(t, "an unknown path", do(s, http.MethodGet, "/nowhere", ""))
	for _, path := range []string{"/livez", "/readyz", "/api/health"} {
		if w := do(s, http.MethodGet, path, ""); w.Code != http.StatusOK {
			t.Errorf("%s: got %d %s", path, w.Code, w.Body)
		}
	}
	close(release)
	held.Wait()
	go func() { <-entered }()
	if w := do(s, http.MethodGet, "/hold", ""); w.Code != http.StatusOK {
		t.Errorf("after all have left: got %d %s", w.Code, w.Body)
	}
	if got := b.samples(t)[`speedybites_http_requests_rejected_total{reason="too_many"}`]; got != 5 {
		t.Errorf("%v were counted as too many, want 5", got)
	}
}

// TestLargeBodies has clients stop in the middle of large bodies. What they hold is bounded, and small ones pass them by.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	s, b := setup(t, httpapi.Config{})
	s.Route(http.MethodPost, "/decode", func(c *gin.Context) error {
		var v struct {
			Name string `json:"name"`
		}
		if err := s.Decode(c, &v); err != nil {
			return err
		}
		return s.Reply(c, len(v.Name))
	})
	large := `{"name":"` + strings.Repeat("x", 100_000) + `"}`
	post := func(body io.Reader) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/decode", body)
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w
	}
	if w := post(strings.NewReader(large)); w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != "100000" {
		t.Fatalf("a large body: got %d %s", w.Code, w.Body)
	}
	const places = 32
	var (
		held   sync.WaitGroup
		writes []*io.PipeWriter
	)
	for range places {
		r, w := io.Pipe()
		writes = append(writes, w)
		held.Go(func() {
			if a := post(r); a.Code != http.StatusOK {
				t.Errorf("a slow large body: got %d %s", a.Code, a.Body)
			}
		})
		// A pipe has no memory: once it has taken more than a small body, the reader has its place.
		if _, err := io.WriteString(w, large[:60_000]); err != nil {
			t.Fatal(err)
		}
	}
	w := post(strings.NewReader(large))
	checkAtCapacity(t, "one too many", w)
	if w.Header().Get("Connection") != "close" {
		t.Error("the connection with the rest of the body is kept")
	}
	if w := post(strings.NewReader(`{"name":"` + strings.Repeat("x", 32_000) + `"}`)); w.Code != http.StatusOK {
		t.Errorf("a small body: got %d %s", w.Code, w.Body)
	}
	for _, w := range writes {
		if _, err := io.WriteString(w, large[60_000:]); err != nil {
			t.Fatal(err)
		}
		_ = w.Close()
	}
	held.Wait()
	for range 2 * places { // every way out of the handler gives the place back
		if w := post(strings.NewReader(large)); w.Code != http.StatusOK {
			t.Fatalf("after the others: got %d %s", w.Code, w.Body)
		}
		if w := post(strings.NewReader(large + large)); w.Code != http.StatusBadRequest {
			t.Fatalf("a large malformed body: got %d %s", w.Code, w.Body)
		}
		if w := post(bytes.NewReader(make([]byte, 2<<20))); w.Code != http.StatusRequestEntityTooLarge {
			t.Fatalf("a body that is too large: got %d %s", w.Code, w.Body)
		}
	}
	if got := b.samples(t)[`speedybites_http_requests_rejected_total{reason="large_bodies"}`]; got != 1 {
		t.Errorf("%v were counted, want 1", got)
	}
}

// browser is a client's connection, on which it may make several requests.
type browser struct {
	t    *testing.T
	conn net.Conn
}

func connectTo(t *testing.T, addr string) browser {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return browser{t, conn}
}

// send sends a request; read returns what the server says, "" when it closes the connection, which send may notice too.
func (b browser) send(path string) {
	_, _ = io.WriteString(b.conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
}

func (b browser) read() string {
	b.t.Helper()
	_ = b.conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 4096)
	n, err := b.conn.Read(buf)
	if n == 0 && err != nil && !isClosed(err) {
		b.t.Errorf("read: %v", err)
	}
	return string(buf[:n])
}

// isClosed tells whether the other side has closed the connection, with or without something unread.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	s, b := setup(t, httpapi.Config{Addr: "127.0.0.1:0", MaxConnections: 3})
	release := make(chan struct{})
	s.Route(http.MethodGet, "/hold", func(c *gin.Context) error {
		<-release
		return s.Reply(c, "done")
	})
	addr := serve(t, s)
	check := func(idle, added float64) {
		t.Helper()
		got := b.samples(t)
		for name, want := range map[string]float64{
			"speedybites_http_connections{}":                          3,
			`speedybites_http_connections_closed_total{which="idle"}`: idle,
			`speedybites_http_connections_closed_total{which="new"}`:  added,
		} {
			if got[name] != want {
				t.Errorf("%s: got %v, want %v", name, got[name], want)
			}
		}
	}
	answers := func(c browser) bool {
		t.Helper()
		c.send("/livez")
		return strings.HasPrefix(c.read(), "HTTP/1.1 200")
	}
	// idle makes a request, and waits until the server knows that the connection is idle again, which is after its answer.
	idle := func(c browser, of int) {
		t.Helper()
		if !answers(c) {
			t.Fatal("a connection was closed")
		}
		waitFor(t, "the connection is idle", func() bool { return s.IdleConnections() == of })
	}
	first, second, third := connectTo(t, addr), connectTo(t, addr), connectTo(t, addr)
	idle(first, 1)
	idle(second, 2)
	idle(third, 3)
	idle(first, 3) // so second is idle for the longest
	fourth := connectTo(t, addr)
	idle(fourth, 3)
	if got := second.read(); got != "" {
		t.Errorf("the connection that was idle for the longest read %q", got)
	}
	idle(first, 3)
	idle(third, 3)
	check(1, 0)

	held := []browser{first, third, fourth}
	for _, c := range held {
		c.send("/hold")
	}
	waitFor(t, "the requests are there", func() bool {
		return b.samples(t)[`http_server_active_requests{http_request_method="GET"}`] == 3
	})
	if got := connectTo(t, addr).read(); got != "" {
		t.Errorf("a connection too many, with none idle, read %q", got)
	}
	check(1, 1)
	close(release)
	for _, c := range held {
		if got := c.read(); !strings.HasPrefix(got, "HTTP/1.1 200") {
			t.Errorf("a busy connection read %q", got)
		}
	}
	waitFor(t, "the connections are idle", func() bool { return s.IdleConnections() == 3 })
	last := connectTo(t, addr)
	idle(last, 3)
	for _, c := range append(held, last) {
		_ = c.conn.Close()
	}
	waitFor(t, "the connections that clients have closed are forgotten", func() bool {
		return b.samples(t)["speedybites_http_connections{}"] == 0
	})
}
