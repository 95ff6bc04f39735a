package httpapi_test

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"speedybites/internal/audit"
	"speedybites/internal/catalog"
	"speedybites/internal/httpapi"
)

func TestRequestID(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name, sent string
		taken      bool
	}{
		{"Plain", "abc-DEF_0.9", true},
		{"Longest", strings.Repeat("x", 128), true},
		{"Absent", "", false},
		{"TooLong", strings.Repeat("x", 129), false},
		{"Space", "a b", false},
		{"Unicode", "ä", false},
		{"Markup", "<script>", false},
	}
	s, _ := setup(t, httpapi.Config{})
	s.Route(http.MethodGet, "/id", func(c *gin.Context) error { return s.Reply(c, httpapi.RequestID(c.Request.Context())) })
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := do(s, http.MethodGet, "/id", "", "X-Request-Id", row.sent)
			got := w.Header().Get("X-Request-Id")
			if body := strings.Trim(w.Body.String(), "\"\n"); body != got {
				t.Errorf("got id %q in the context, %q in the header", body, got)
			}
			if row.taken {
				if got != row.sent {
					t.Errorf("got %q, want %q", got, row.sent)
				}
				return
			}
			if id, err := uuid.Parse(got); err != nil || id.Version() != 7 {
				t.Errorf("got %q, want a UUIDv7", got)
			}
		})
	}
	if got := httpapi.RequestID(t.Context()); got != "" {
		t.Errorf("got %q outside a request, want nothing", got)
	}
}

func TestNoSuchPathOrMethod(t *testing.T) {
	t.Parallel()
	const id = "0198c5a4-7c1e-7000-8000-000000000001"
	rows := []struct {
		method, path string
		status       int
		allow        []string
	}{
		{"GET", "/", 404, nil},
		{"GET", "/api", 404, nil},
		{"GET", "/api/nothing", 404, nil},
		{"POST", "/api/restaurants/", 404, nil},
		{"GET", "/api/restaurants/" + id + "/", 404, nil},
		{"GET", "//api/restaurants", 404, nil},
		{"GET", "/API/health", 404, nil},
		{"PUT", "/api/restaurants", 405, []string{"GET", "HEAD", "POST"}},
		{"DELETE", "/api/orders", 405, []string{"GET", "HEAD", "POST"}},
		{"POST", "/api/orders/" + id, 405, []string{"GET", "HEAD"}},
		{"GET", "/api/auth/login", 405, []string{"POST"}},
		{"POST", "/api/health", 405, []string{"GET", "HEAD"}},
		{"OPTIONS", "/api/orders", 405, []string{"GET", "HEAD", "POST"}},
		{"BREW", "/livez", 405, []string{"GET", "HEAD"}},
	}
	s, _ := setup(t, httpapi.Config{})
	for _, row := range rows {
		t.Run(row.method+row.path, func(t *testing.T) {
			t.Parallel()
			w := do(s, row.method, row.path, "")
			wantError(t, w, row.status)
			allow := w.Header().Get("Allow")
			for _, method := range row.allow {
				if !strings.Contains(allow, method) {
					t.Errorf("got Allow %q, want %s in it", allow, method)
				}
			}
			if row.allow == nil && allow != "" {
				t.Errorf("got Allow %q, want none", allow)
			}
		})
	}
}

func TestAuthorizationNeeded(t *testing.T) {
	t.Parallel()
	s, _ := setup(t, httpapi.Config{})
	paths := []struct{ method, path string }{
		{"POST", "/api/restaurants"},
		{"POST", "/api/restaurants/not-an-id/menu"},
		{"POST", "/api/orders"},
		{"GET", "/api/orders"},
		{"GET", "/api/orders/not-an-id"},
	}
	for _, authorization := range []string{"", "Bearer", "Bearer ", "Bearer nonsense", "bearer a.b.c", "Basic dTpw", "nonsense"} {
		for _, p := range paths {
			// The body is wrong too: who asks comes first.
			w := do(s, p.method, p.path, "{", "Authorization", authorization)
			wantError(t, w, http.StatusUnauthorized)
			if got := w.Header().Get("WWW-Authenticate"); got != "Bearer" {
				t.Errorf("%s %s with %q: got WWW-Authenticate %q, want Bearer", p.method, p.path, authorization, got)
			}
		}
	}
}

func TestBadInputBeforeTheDatabase(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name, path string
		status     int
		field      string
	}{
		{"ShortID", "/api/restaurants/1", 404, ""},
		{"BracedID", "/api/restaurants/%7B0198c5a4-7c1e-7000-8000-000000000001%7D", 404, ""},
		{"IDWithoutDashes", "/api/restaurants/0198c5a47c1e70008000000000000001/menu", 404, ""},
		{"IDWithLetters", "/api/restaurants/0198c5a4-7c1e-7000-8000-00000000000g", 404, ""},
		{"NULInID", "/api/restaurants/%00", 404, ""},
		{"LimitText", "/api/restaurants?limit=abc", 422, "limit"},
		{"LimitEmpty", "/api/restaurants?limit=", 422, "limit"},
		{"LimitZero", "/api/restaurants?limit=0", 422, "limit"},
		{"LimitLarge", "/api/restaurants?limit=101", 422, "limit"},
		{"LimitHuge", "/api/restaurants?limit=99999999999999999999", 422, "limit"},
		{"SearchNUL", "/api/restaurants?search=%00", 422, "search"},
		{"SearchInvalidUTF8", "/api/restaurants?search=%ff", 422, "search"},
		{"CuisineNUL", "/api/restaurants?cuisine=a%00", 422, "cuisine"},
		{"CursorNUL", "/api/restaurants?cursor=%00", 422, "cursor"},
		{"MalformedQuery", "/api/restaurants?search=%zz", 400, ""},
	}
	s, _ := setup(t, httpapi.Config{})
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			body := wantError(t, do(s, http.MethodGet, row.path, ""), row.status)
			if row.field == "" {
				return
			}
			if len(body.Details) != 1 || body.Details[0].Field != row.field {
				t.Errorf("got details %v, want one for %q", body.Details, row.field)
			}
		})
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	t.Run("BeforeTheAnswer", func(t *testing.T) {
		t.Parallel()
		s, b := setup(t, httpapi.Config{})
		s.Route(http.MethodGet, "/panic", func(*gin.Context) error { panic(secret) })
		w := do(s, http.MethodGet, "/panic", "")
		body := wantError(t, w, http.StatusInternalServerError)
		if strings.Contains(body.Message, "hunter2") {
			t.Errorf("got message %q, want a fixed text", body.Message)
		}
		logged := b.log.with(t, "level", "ERROR")
		if len(logged) != 1 || !strings.Contains(logged[0]["stack"].(string), "TestPanic") {
			t.Errorf("got ERROR lines %v, want one with the stack", logged)
		}
		if access := b.log.with(t, "msg", "request"); len(access) != 1 || access[0]["status"] != 500.0 {
			t.Errorf("got access log %v, want one line with status 500", access)
		}
	})
	t.Run("WithinTheAnswer", func(t *testing.T) {
		t.Parallel()
		s, b := setup(t, httpapi.Config{})
		s.Route(http.MethodGet, "/panic", func(c *gin.Context) error {
			_, _ = c.Writer.WriteString(`{"data":[`)
			panic("halfway")
		})
		defer func() {
			//nolint:errorlint // net/http compares the value of the panic the same way
			if got := recover(); got != http.ErrAbortHandler {
				t.Errorf("got panic %v, want http.ErrAbortHandler", got)
			}
			if access := b.log.with(t, "msg", "request"); len(access) != 1 {
				t.Errorf("got access log %v, want one line", access)
			}
		}()
		do(s, http.MethodGet, "/panic", "")
	})
}

func TestUnencodableAnswer(t *testing.T) {
	t.Parallel()
	s, b := setup(t, httpapi.Config{})
	s.Route(http.MethodGet, "/odd", func(c *gin.Context) error { return s.Reply(c, func() {}) })
	wantError(t, do(s, http.MethodGet, "/odd", ""), http.StatusInternalServerError)
	if got := len(b.log.with(t, "level", "ERROR")); got != 1 {
		t.Errorf("got %d ERROR lines, want 1", got)
	}
}

func TestRequestDeadline(t *testing.T) {
	t.Parallel()
	s, _ := setup(t, httpapi.Config{RequestTimeout: time.Millisecond})
	s.Route(http.MethodGet, "/slow", func(c *gin.Context) error {
		<-c.Request.Context().Done()
		return c.Request.Context().Err()
	})
	wantError(t, do(s, http.MethodGet, "/slow", ""), http.StatusGatewayTimeout)
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	s, b := setup(t, httpapi.Config{})
	s.Route(http.MethodGet, "/things/:id", func(c *gin.Context) error { return s.Reply(c, "x") })
	do(s, http.MethodGet, "/things/7?token=secret", "")
	do(s, http.MethodGet, "/nothing/"+strings.Repeat("ä", 1000), "")
	do(s, http.MethodGet, "/livez", "")

	access := b.log.with(t, "msg", "request")
	if len(access) != 3 {
		t.Fatalf("got %d lines, want 3", len(access))
	}
	for key, want := range map[string]any{
		"level": "INFO", "method": "GET", "route": "/things/:id", "path": "/things/7", "status": 200.0, "bytes": 4.0,
		"remote": "192.0.2.1",
	} {
		if got := access[0][key]; got != want {
			t.Errorf("got %s %v, want %v", key, got, want)
		}
	}
	if _, ok := access[0]["duration_ms"].(float64); !ok {
		t.Errorf("got duration_ms %v, want a number", access[0]["duration_ms"])
	}
	if path := access[1]["path"].(string); access[1]["route"] != "unmatched" || len(path) > 300 || !strings.HasSuffix(path, "ä…") {
		t.Errorf("got route %v, path %q, want unmatched and a path cut between characters", access[1]["route"], path)
	}
	if access[2]["level"] != "DEBUG" {
		t.Errorf("got level %v for a probe, want DEBUG", access[2]["level"])
	}
	if strings.Contains(b.log.String(), "secret") {
		t.Error("the query string is in the log")
	}
}

// nullWriter is an http.ResponseWriter that costs nothing.
type nullWriter struct{ header http.Header }

func (w nullWriter) Header() http.Header       { return w.header }
func (nullWriter) Write(p []byte) (int, error) { return len(p), nil }
func (nullWriter) WriteHeader(int)             {}

// BenchmarkMiddleware is what every request costs on top of its handler: id, deadline, log line, recovery, JSON, and what
// metrics and traces add to that.
func BenchmarkMiddleware(b *testing.B) {
	tracers := func(sampler sdktrace.Sampler) trace.TracerProvider {
		return sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler), sdktrace.WithBatcher(tracetest.NewNoopExporter()))
	}
	for _, row := range []struct {
		name    string
		tracers trace.TracerProvider
	}{
		{"TracingOff", nil},
		{"NotSampled", tracers(sdktrace.NeverSample())},
		{"Sampled", tracers(sdktrace.AlwaysSample())},
	} {
		b.Run(row.name, func(b *testing.B) { benchmarkMiddleware(b, row.tracers) })
	}
}

func benchmarkMiddleware(b *testing.B, tracers trace.TracerProvider) {
	b.Helper()
	s, err := httpapi.New(httpapi.Config{}, httpapi.Deps{
		//nolint:sloglint // the cost of making the line is part of what is measured
		Logger:     slog.New(slog.NewJSONHandler(io.Discard, nil)),
		Accounts:   newAccounts(b),
		Catalog:    catalog.New(nil),
		Orders:     newOrders(b),
		Audit:      audit.NewReader(nil),
		Health:     func() httpapi.Health { return httpapi.Health{} },
		Tracers:    tracers,
		Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		b.Fatal(err)
	}
	answer := struct {
		Status string `json:"status"`
	}{"alive"}
	s.Route(http.MethodGet, "/trivial", func(c *gin.Context) error { return s.Reply(c, answer) })
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "/trivial", nil)
	if err != nil {
		b.Fatal(err)
	}
	r.RemoteAddr = "192.0.2.1:1234"
	r.Header.Set("User-Agent", "benchmark/1.0")
	w := nullWriter{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		s.Handler().ServeHTTP(w, r)
	}
}

// BenchmarkDecode is a typical order.
func BenchmarkDecode(b *testing.B) {
	s, _ := setup(b, httpapi.Config{})
	const id = "0198c5a4-7c1e-7000-8000-000000000001"
	body := []byte(`{"restaurantId":"` + id + `","items":[{"menuItemId":"` + id + `","quantity":2},{"menuItemId":"` + id +
		`","quantity":1}],"deliveryAddress":"1 Main Street","note":"ring twice"}`)
	b.ReportAllocs()
	for b.Loop() {
		var v httpapi.OrderRequest
		if err := s.DecodeJSON(body, &v); err != nil {
			b.Fatal(err)
		}
	}
}
