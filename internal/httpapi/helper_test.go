package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"speedybites/internal/accounts"
	"speedybites/internal/audit"
	"speedybites/internal/catalog"
	"speedybites/internal/httpapi"
	"speedybites/internal/ordering"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

const tokenSecret = "a secret of the tests, long enough"

// patience is how long a test waits for what should happen at once; a loaded machine may need it.
const patience = 30 * time.Second

// waitFor waits until something that should happen at once has happened.
func waitFor(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !happened(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

// lines is a log that a test reads.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// with returns the lines whose key has the value.
func (l *lines) with(tb testing.TB, key string, value any) []map[string]any {
	tb.Helper()
	var found []map[string]any
	for text := range strings.Lines(l.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			tb.Fatalf("log line %q: %v", text, err)
		}
		if line[key] == value {
			found = append(found, line)
		}
	}
	return found
}

// spanLines adds the trace of the context to each line, as the service's own handler does.
type spanLines struct{ slog.Handler }

func (h spanLines) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		//nolint:sloglint // the contract's names
		r.AddAttrs(slog.String("traceId", sc.TraceID().String()), slog.String("spanId", sc.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

// bundle is a server without a database, for everything that is decided before one is needed.
type bundle struct {
	log *lines
	// health is what the server is told; it must not change while requests run.
	health httpapi.Health
	// metrics has the server's metrics, spans its ended spans.
	metrics *prometheus.Registry
	spans   *tracetest.SpanRecorder
}

// setup makes a server whose spans are all recorded; with changes the dependencies.
func setup(tb testing.TB, cfg httpapi.Config, with ...func(*httpapi.Deps)) (*httpapi.Server, *bundle) {
	tb.Helper()
	b := &bundle{
		log:     &lines{},
		health:  httpapi.Health{Connected: true, Available: true, Ready: true, DatabaseStatus: "Connected"},
		metrics: prometheus.NewPedanticRegistry(),
		spans:   tracetest.NewSpanRecorder(),
	}
	deps := httpapi.Deps{
		Logger:     slog.New(spanLines{slog.NewJSONHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})}),
		Accounts:   newAccounts(tb),
		Catalog:    catalog.New(nil),
		Orders:     newOrders(tb),
		Audit:      audit.NewReader(nil),
		Health:     func() httpapi.Health { return b.health },
		Tracers:    sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(b.spans)),
		Registerer: b.metrics,
	}
	for _, change := range with {
		change(&deps)
	}
	server, err := httpapi.New(cfg, deps)
	if err != nil {
		tb.Fatal(err)
	}
	return server, b
}

func newAccounts(tb testing.TB) *accounts.Service {
	tb.Helper()
	cfg := accounts.Config{TokenSecret: []byte(tokenSecret), TokenTTL: time.Hour}
	service, err := accounts.New(nil, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	return service
}

func newOrders(tb testing.TB) *ordering.Service {
	tb.Helper()
	service, err := ordering.New(nil, ordering.Config{IdempotencyTTL: time.Hour})
	if err != nil {
		tb.Fatal(err)
	}
	return service
}

// do sends a request with a JSON body, unless the headers say otherwise, and returns the answer.
func do(s *httpapi.Server, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, reader)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Del(headers[i])
		if headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

type errorBody struct {
	Error, Message, Status, RequestID string
	RetryAfter                        int
	Details                           []struct{ Field, Message string }
}

// wantError checks status and form of an error and returns its body.
func wantError(tb testing.TB, w *httptest.ResponseRecorder, status int) errorBody {
	tb.Helper()
	if w.Code != status {
		tb.Fatalf("got status %d with %s, want %d", w.Code, w.Body, status)
	}
	if got, want := w.Header().Get("Content-Type"), "application/json; charset=utf-8"; got != want {
		tb.Errorf("got Content-Type %q, want %q", got, want)
	}
	var body errorBody
	decoder := json.NewDecoder(w.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		tb.Fatalf("error body: %v", err)
	}
	if got, want := body.Error, http.StatusText(status); got != want {
		tb.Errorf("got error %q, want %q", got, want)
	}
	if body.Message == "" {
		tb.Error("got no message")
	}
	if got, want := body.RequestID, w.Header().Get("X-Request-Id"); got != want || got == "" {
		tb.Errorf("got requestId %q in the body, %q in the header", got, want)
	}
	return body
}

// golden compares got with a file in testdata, or writes it there under -update.
func golden(tb testing.TB, name, got string) {
	tb.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		tb.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}
