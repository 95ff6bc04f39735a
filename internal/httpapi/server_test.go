package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"speedybites/internal/httpapi"
)

// serve runs s on a port of its own until the test ends and returns the address.
func serve(t *testing.T, s *httpapi.Server) string {
	t.Helper()
	addr, err := s.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return addr.String()
}

// client keeps connections alive, as a balancer does, and gives them up with the test.
func client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// answer is what is left of a response once its body is read.
type answer struct {
	status int
	close  bool
	body   string
}

func get(t *testing.T, c *http.Client, url string) (answer, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		return answer{}, err
	}
	resp, err := c.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Close, string(body)}, err
}

func mustGet(t *testing.T, c *http.Client, url string) answer {
	t.Helper()
	a, err := get(t, c, url)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestServerDrain(t *testing.T) {
	t.Parallel()
	s, _ := setup(t, httpapi.Config{Addr: "127.0.0.1:0"})
	entered, release := make(chan struct{}), make(chan struct{})
	s.Route(http.MethodGet, "/wait", func(c *gin.Context) error {
		close(entered)
		<-release
		return s.Reply(c, "done")
	})
	base := "http://" + serve(t, s)
	c := client(t)

	if a := mustGet(t, c, base+"/readyz"); a.status != http.StatusOK || a.close {
		t.Fatalf("before: got status %d, close %v, want 200 and a connection kept", a.status, a.close)
	}
	inFlight := make(chan answer, 1)
	go func() {
		a, err := get(t, c, base+"/wait")
		if err != nil {
			t.Errorf("request in flight: %v", err)
		}
		inFlight <- a
	}()
	<-entered

	s.Drain()
	for path, want := range map[string]int{"/readyz": 503, "/livez": 200, "/api/health": 200, "/nothing": 404} {
		if a := mustGet(t, c, base+path); a.status != want || !a.close {
			t.Errorf("%s while draining: got status %d, close %v, want %d and Connection: close", path, a.status, a.close, want)
		}
	}

	shutdown := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		shutdown <- s.Shutdown(ctx)
	}()
	waitFor(t, "no connection is accepted any more", func() bool {
		_, err := get(t, client(t), base+"/livez")
		return err != nil
	})
	select {
	case err := <-shutdown:
		t.Fatalf("Shutdown returned %v with a request in flight", err)
	default:
	}
	close(release)
	if err := <-shutdown; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if a := <-inFlight; a.status != http.StatusOK || !a.close {
		t.Errorf("request in flight: got status %d, close %v, want 200 and Connection: close", a.status, a.close)
	}
}

func TestServerShutdownIsBounded(t *testing.T) {
	t.Parallel()
	s, _ := setup(t, httpapi.Config{Addr: "127.0.0.1:0"})
	entered, ended := make(chan struct{}), make(chan struct{})
	s.Route(http.MethodGet, "/stuck", func(c *gin.Context) error {
		close(entered)
		<-c.Request.Context().Done()
		close(ended)
		return c.Request.Context().Err()
	})
	addr, err := s.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	answered := make(chan error, 1)
	go func() {
		_, err := get(t, client(t), "http://"+addr.String()+"/stuck")
		answered <- err
	}()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want an error that tells of the deadline", err)
	}
	<-ended
	if err := <-answered; err == nil {
		t.Error("got an answer, want the connection cut")
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestServerLifecycleMistakes(t *testing.T) {
	t.Parallel()
	t.Run("ServeBeforeListen", func(t *testing.T) {
		t.Parallel()
		s, _ := setup(t, httpapi.Config{})
		if err := s.Serve(); err == nil {
			t.Error("got no error")
		}
	})
	t.Run("ShutdownBeforeServe", func(t *testing.T) {
		t.Parallel()
		s, _ := setup(t, httpapi.Config{Addr: "127.0.0.1:0"})
		addr, err := s.Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := s.Serve(); err != nil {
			t.Errorf("Serve: %v", err)
		}
		if _, err := get(t, client(t), "http://"+addr.String()+"/livez"); err == nil {
			t.Error("still accepting connections")
		}
	})
	t.Run("AddressTaken", func(t *testing.T) {
		t.Parallel()
		first, _ := setup(t, httpapi.Config{Addr: "127.0.0.1:0"})
		second, _ := setup(t, httpapi.Config{Addr: serve(t, first)})
		if _, err := second.Listen(t.Context()); err == nil {
			t.Error("got no error")
		}
	})
	t.Run("BadConfig", func(t *testing.T) {
		t.Parallel()
		cfg := httpapi.Config{RequestTimeout: -1, ReadTimeout: -1, MaxBodyBytes: -1, MaxHeaderBytes: -1}
		if _, err := httpapi.New(cfg, httpapi.Deps{}); err == nil || strings.Count(err.Error(), "\n") != 4 {
			t.Errorf("got %v, want five problems", err)
		}
	})
}

// TestServerReadTimeout: the limit for the request's arrival must not touch a handler that works for longer than it.
func TestServerReadTimeout(t *testing.T) {
	t.Parallel()
	const readTimeout = 200 * time.Millisecond
	s, b := setup(t, httpapi.Config{Addr: "127.0.0.1:0", ReadTimeout: readTimeout})
	s.Route(http.MethodPost, "/work", func(c *gin.Context) error {
		if err := s.Decode(c, &httpapi.OrderRequest{}); err != nil {
			return err
		}
		select {
		case <-c.Request.Context().Done():
			return c.Request.Context().Err()
		case <-time.After(2 * readTimeout):
			return s.Reply(c, "done")
		}
	})
	addr := serve(t, s)
	send := func(t *testing.T, request string) (status int, closed bool) {
		t.Helper()
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		return resp.StatusCode, resp.Close
	}
	const head = "POST /work HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"

	if status, _ := send(t, head+"{}"); status != http.StatusOK {
		t.Errorf("long work after the body: got status %d, want 200", status)
	}
	if status, closed := send(t, head+"{"); status != http.StatusRequestTimeout || !closed {
		t.Errorf("half a body: got status %d, close %v, want 408 and the connection closed", status, closed)
	}
	if got := b.log.with(t, "level", "ERROR"); len(got) != 0 {
		t.Errorf("got ERROR lines %v, want none", got)
	}
}

func TestServerClientGone(t *testing.T) {
	t.Parallel()
	s, b := setup(t, httpapi.Config{Addr: "127.0.0.1:0"})
	entered, ended := make(chan struct{}), make(chan struct{})
	s.Route(http.MethodGet, "/leave", func(c *gin.Context) error {
		close(entered)
		<-c.Request.Context().Done()
		close(ended)
		return context.Cause(c.Request.Context())
	})
	addr := serve(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/leave", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := client(t).Do(r); err == nil {
		_ = resp.Body.Close()
		t.Fatal("got an answer, want none")
	}
	<-ended
	for deadline := time.Now().Add(patience); len(b.log.with(t, "status", 499.0)) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("got log %s, want a line with status 499", b.log)
		}
	}
	if got := b.log.with(t, "level", "ERROR"); len(got) != 0 {
		t.Errorf("got ERROR lines %v, want none", got)
	}
}
