package httpapi_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"speedybites/internal/httpapi"
)

func TestOps(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name         string
		loopbackOnly bool
		remote       string
		header       string
		code         int
	}{
		{"Anyone", false, "192.0.2.1:1", "", 200},
		{"Stranger", true, "192.0.2.1:1", "", 404},
		{"IPv4", true, "127.0.0.1:1", "", 200},
		{"IPv4Other", true, "127.8.9.1:1", "", 200},
		{"IPv6", true, "[::1]:1", "", 200},
		{"IPv4InIPv6", true, "[::ffff:127.0.0.1]:1", "", 200},
		{"StrangerInIPv6", true, "[2001:db8::1]:1", "", 404},
		{"NoAddress", true, "@", "", 404},
		// Proxies on this machine pass on what strangers ask.
		{"Forwarded", true, "127.0.0.1:1", "X-Forwarded-For", 404},
		{"ForwardedStandard", true, "127.0.0.1:1", "Forwarded", 404},
		{"ForwardedRealIP", true, "127.0.0.1:1", "X-Real-IP", 404},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s, b := setup(t, httpapi.Config{OpsLoopbackOnly: row.loopbackOnly}, func(d *httpapi.Deps) {
				d.Ops = map[string]http.Handler{"/metrics": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if _, ok := r.Context().Deadline(); ok {
						t.Error("got a deadline, want none")
					}
					_, _ = io.WriteString(w, "page of "+httpapi.RequestID(r.Context()))
				})}
			})
			before := b.samples(t)
			r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
			r.RemoteAddr = row.remote
			r.Header.Set("X-Request-Id", "me")
			if row.header != "" {
				r.Header.Set(row.header, "127.0.0.1")
			}
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			if row.code == http.StatusNotFound {
				wantError(t, w, row.code)
			} else if w.Code != row.code || w.Body.String() != "page of me" {
				t.Errorf("got %d with %q, want 200 with the page", w.Code, w.Body)
			}
			served := row.code == http.StatusOK
			if grown := growth(before, b.samples(t)); served != (len(grown) == 0) {
				t.Errorf("got growth %v", grown)
			}
			if level := b.log.with(t, "msg", "request")[0]["level"]; served != (level == "DEBUG") {
				t.Errorf("got level %v", level)
			}
		})
	}
}

// TestOpsStream: a page that streams must not keep the server from ending.
func TestOpsStream(t *testing.T) {
	t.Parallel()
	s, _ := setup(t, httpapi.Config{Addr: "127.0.0.1:0", RequestTimeout: time.Millisecond}, func(d *httpapi.Deps) {
		d.Ops = map[string]http.Handler{"/stream": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "first")
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Errorf("flush: %v", err)
			}
			<-r.Context().Done()
			_, _ = io.WriteString(w, " last")
		})}
	})
	addr, err := s.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	resp, err := http.Get("http://" + addr.String() + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "first last" {
		t.Errorf("got %q, %v, want the whole stream", body, err)
	}
}
