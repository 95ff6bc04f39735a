package httpapi_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"speedybites/internal/httpapi"
	"speedybites/internal/postgres"
)

const (
	traceID     = "0af7651916cd43dd8448eb211c80319c"
	traceparent = "00-" + traceID + "-b7ad6b7169203331-01"
)

// span returns the only span that has ended.
func (b *bundle) span(tb testing.TB) sdktrace.ReadOnlySpan {
	tb.Helper()
	spans := b.spans.Ended()
	if len(spans) != 1 {
		tb.Fatalf("got %d spans, want 1", len(spans))
	}
	return spans[0]
}

func attributes(span sdktrace.ReadOnlySpan) map[string]any {
	all := map[string]any{}
	for _, a := range span.Attributes() {
		all[string(a.Key)] = a.Value.AsInterface()
	}
	return all
}

func TestSpan(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name, method, path, span string
		handler                  func(c *gin.Context) error
		status                   codes.Code
		want                     map[string]any
	}{
		{
			name: "Success", method: "GET", path: "/it/7?token=private", span: "GET /it/:id",
			want: map[string]any{"http.response.status_code": int64(200)},
		},
		{
			name: "TheClientsFault", method: "GET", path: "/it/7", span: "GET /it/:id",
			handler: func(*gin.Context) error { return httpapi.ErrForbidden },
			want:    map[string]any{"http.response.status_code": int64(403)},
		},
		{
			name: "OurFault", method: "GET", path: "/it/7", span: "GET /it/:id",
			handler: func(*gin.Context) error { return postgres.ErrUnavailable },
			status:  codes.Error,
			want:    map[string]any{"http.response.status_code": int64(503), "error.type": "503"},
		},
		{
			name: "NoRoute", method: "GET", path: "/nothing", span: "GET",
			want: map[string]any{"http.response.status_code": int64(404), "http.route": nil, "url.path": "/nothing"},
		},
		{
			name: "OddMethod", method: "BREW", path: "/nothing", span: "HTTP",
			want: map[string]any{
				"http.request.method": "_OTHER", "http.request.method_original": "BREW",
				"http.response.status_code": int64(404), "http.route": nil, "url.path": "/nothing",
			},
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s, b := setup(t, httpapi.Config{})
			s.Route(http.MethodGet, "/it/:id", func(c *gin.Context) error {
				if row.handler != nil {
					return row.handler(c)
				}
				return s.Reply(c, "x")
			})
			w := do(s, row.method, row.path, "", "User-Agent", "test/1.0")
			span := b.span(t)
			if span.Name() != row.span || span.SpanKind() != trace.SpanKindServer || span.Status().Code != row.status {
				t.Errorf("got span %q, %v, %v, want %q, server, %v",
					span.Name(), span.SpanKind(), span.Status().Code, row.span, row.status)
			}
			want := map[string]any{
				"http.request.method": "GET", "http.route": "/it/:id", "url.path": "/it/7", "url.scheme": "http",
				"user_agent.original": "test/1.0",
			}
			for key, value := range row.want {
				want[key] = value
				if value == nil {
					delete(want, key)
				}
			}
			if diff := cmp.Diff(want, attributes(span)); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
			if got := w.Header().Get("X-Trace-Id"); got != span.SpanContext().TraceID().String() {
				t.Errorf("got X-Trace-Id %q, want the span's", got)
			}
		})
	}
}

// TestSpanOfAPanic: the client's answer says nothing, the span says all.
func TestSpanOfAPanic(t *testing.T) {
	t.Parallel()
	s, b := setup(t, httpapi.Config{})
	s.Route(http.MethodGet, "/panic", func(*gin.Context) error { panic("oops") })
	do(s, http.MethodGet, "/panic", "")
	span := b.span(t)
	if got := attributes(span)["error.type"]; got != "panic" || span.Status().Code != codes.Error {
		t.Errorf("got error.type %v, status %v, want panic, Error", got, span.Status().Code)
	}
	events := span.Events()
	if len(events) != 1 || events[0].Name != "exception" {
		t.Fatalf("got events %v, want one exception", events)
	}
	got := map[string]string{}
	for _, a := range events[0].Attributes {
		got[string(a.Key)] = a.Value.AsString()
	}
	if got["exception.type"] != "string" || got["exception.message"] != "oops" ||
		!strings.Contains(got["exception.stacktrace"], "TestSpanOfAPanic") {
		t.Errorf("got exception %v", got)
	}
}

// TestCancelledRequest: that a client does not wait is no error of ours.
func TestCancelledRequest(t *testing.T) {
	t.Parallel()
	s, b := setup(t, httpapi.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	s.Route(http.MethodGet, "/slow", func(c *gin.Context) error {
		cancel()
		<-c.Request.Context().Done()
		return c.Request.Context().Err()
	})
	s.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/slow", nil))
	span := b.span(t)
	if got := attributes(span)["error.type"]; got != nil || span.Status().Code != codes.Unset {
		t.Errorf("got error.type %v, status %v, want none", got, span.Status().Code)
	}
	want := `http_server_request_duration_seconds{error_type="",http_request_method="GET",` +
		`http_response_status_code="499",http_route="/slow"}`
	if b.samples(t)[want] != 1 {
		t.Errorf("%s is not 1", want)
	}
}

func TestTraceContext(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name    string
		header  http.Header
		taken   bool
		sampled bool
		state   string
	}{
		{"None", nil, false, true, ""},
		{"Sampled", http.Header{"Traceparent": {traceparent}}, true, true, ""},
		{"NotSampled", http.Header{"Traceparent": {strings.TrimSuffix(traceparent, "1") + "0"}}, true, false, ""},
		{"State", http.Header{"Traceparent": {traceparent}, "Tracestate": {"a=1", "b=2"}}, true, true, "a=1,b=2"},
		{"BadState", http.Header{"Traceparent": {traceparent}, "Tracestate": {"=,="}}, true, true, ""},
		{"Short", http.Header{"Traceparent": {traceparent[:54]}}, false, true, ""},
		{"UpperCase", http.Header{"Traceparent": {strings.ToUpper(traceparent)}}, false, true, ""},
		{"Zeroes", http.Header{"Traceparent": {"00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01"}}, false, true, ""},
		{"VersionFF", http.Header{"Traceparent": {"ff" + traceparent[2:]}}, false, true, ""},
		{"Twice", http.Header{"Traceparent": {traceparent, traceparent}}, false, true, ""},
		{"Long", http.Header{"Traceparent": {strings.Repeat("0", 10000)}}, false, true, ""},
		{"Bytes", http.Header{"Traceparent": {"00-\xff\x00"}}, false, true, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			tracers := func(d *httpapi.Deps) {
				d.Tracers = sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())))
			}
			s, b := setup(t, httpapi.Config{}, tracers)
			var got trace.SpanContext
			s.Route(http.MethodGet, "/it", func(c *gin.Context) error {
				got = trace.SpanContextFromContext(c.Request.Context())
				return s.Reply(c, "x")
			})
			r := httptest.NewRequest(http.MethodGet, "/it", nil)
			maps.Copy(r.Header, row.header)
			s.Handler().ServeHTTP(httptest.NewRecorder(), r)
			if taken := got.TraceID().String() == traceID; !got.IsValid() || taken != row.taken || got.IsSampled() != row.sampled {
				t.Errorf("got trace %s, sampled %v, want the client's %v, sampled %v",
					got.TraceID(), got.IsSampled(), row.taken, row.sampled)
			}
			if state := got.TraceState().String(); state != row.state {
				t.Errorf("got trace state %q, want %q", state, row.state)
			}
			access := b.log.with(t, "msg", "request")
			if len(access) != 1 || access[0]["traceId"] != got.TraceID().String() || access[0]["spanId"] != got.SpanID().String() {
				t.Errorf("got access log %v, want trace %s and span %s", access, got.TraceID(), got.SpanID())
			}
		})
	}
}

// TestTracingOff: without spans, the log still has the client's trace.
func TestTracingOff(t *testing.T) {
	t.Parallel()
	s, b := setup(t, httpapi.Config{}, func(d *httpapi.Deps) { d.Tracers, d.Registerer = nil, nil })
	w := do(s, http.MethodGet, "/livez", "", "Traceparent", traceparent)
	if got := w.Header().Get("X-Trace-Id"); w.Code != http.StatusOK || got != "" {
		t.Errorf("got status %d, X-Trace-Id %q, want 200 and none", w.Code, got)
	}
	if access := b.log.with(t, "traceId", traceID); len(access) != 1 {
		t.Errorf("got %d lines with the client's trace, want 1", len(access))
	}
}

// TestSpanTexts: what clients choose is bounded, and valid UTF-8, which the exporter insists on.
func TestSpanTexts(t *testing.T) {
	t.Parallel()
	s, b := setup(t, httpapi.Config{})
	do(s, strings.Repeat("X", 500), "/%ff"+strings.Repeat("ä", 5000), "", "User-Agent", "\xff"+strings.Repeat("ö", 5000))
	for key, value := range attributes(b.span(t)) {
		if text, ok := value.(string); ok && (len(text) > 300 || !utf8.ValidString(text)) {
			t.Errorf("%s: got %d bytes, valid %v", key, len(text), utf8.ValidString(text))
		}
	}
}
