// Package otlptest is a trace collector for tests: it takes spans over gRPC and
// HTTP, and can stall or refuse.
package otlptest

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Mode is how a receiver treats what comes.
type Mode int32

// Accept takes spans, Stall never answers, and Refuse answers at once that it
// cannot take them.
const (
	Accept Mode = iota
	Stall
	Refuse
)

// Span is a received span with the attributes of its resource.
type Span struct {
	*tracev1.Span
	Resource map[string]string
}

// Attr returns an attribute of the span, in the text form of its value; "" is
// that of an absent one.
func (s Span) Attr(key string) string { return texts(s.Attributes)[key] }

// Receiver is a running collector.
type Receiver struct {
	collector.UnimplementedTraceServiceServer

	// GRPC and HTTP are values for OTEL_EXPORTER_OTLP_ENDPOINT.
	GRPC, HTTP string

	mode  atomic.Int32
	calls atomic.Int64
	done  chan struct{}

	mu      sync.Mutex
	spans   []Span
	headers []string
}

// Start starts a receiver on the loopback interface, which ends with the test.
func Start(tb testing.TB) *Receiver {
	tb.Helper()
	r := &Receiver{done: make(chan struct{})}
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("listen for spans: %v", err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, r)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	web := httptest.NewServer(http.HandlerFunc(r.serveHTTP))
	tb.Cleanup(func() {
		close(r.done) // lets go of what is stalled
		server.Stop()
		web.CloseClientConnections()
		web.Close()
		if err := <-served; err != nil {
			tb.Errorf("serve spans: %v", err)
		}
	})
	r.GRPC, r.HTTP = "http://"+listener.Addr().String(), web.URL
	return r
}

// Set changes how requests that come from now on are treated.
func (r *Receiver) Set(mode Mode) { r.mode.Store(int32(mode)) }

// Calls returns the number of requests that came, answered or not.
func (r *Receiver) Calls() int64 { return r.calls.Load() }

// Spans returns what was accepted so far.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Span(nil), r.spans...)
}

// Header returns the values of a header of all requests so far, joined by commas.
func (r *Receiver) Header() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.headers, ",")
}

// Export is the gRPC method.
func (r *Receiver) Export(ctx context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		r.noteHeader(md.Get("x-test"))
	}
	if !r.accept(ctx, req) {
		return nil, status.Error(codes.ResourceExhausted, "no more spans")
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func (r *Receiver) serveHTTP(w http.ResponseWriter, req *http.Request) {
	r.noteHeader(req.Header.Values("X-Test"))
	body, err := io.ReadAll(req.Body)
	var batch collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &batch)
	}
	switch {
	case err != nil || req.URL.Path != "/v1/traces":
		http.Error(w, "not a batch of spans", http.StatusBadRequest)
	case !r.accept(req.Context(), &batch):
		http.Error(w, "no more spans", http.StatusForbidden)
	default:
		w.Header().Set("Content-Type", "application/x-protobuf")
	}
}

func (r *Receiver) noteHeader(values []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.headers = append(r.headers, values...)
}

func (r *Receiver) accept(ctx context.Context, req *collector.ExportTraceServiceRequest) bool {
	r.calls.Add(1)
	switch Mode(r.mode.Load()) {
	case Stall:
		select {
		case <-ctx.Done():
		case <-r.done:
		}
		return false
	case Refuse:
		return false
	case Accept:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range req.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				r.spans = append(r.spans, Span{Span: span, Resource: texts(resource.Resource.GetAttributes())})
			}
		}
	}
	return true
}

func texts(attrs []*common.KeyValue) map[string]string {
	m := make(map[string]string, len(attrs))
	for _, a := range attrs {
		if text, ok := a.Value.GetValue().(*common.AnyValue_StringValue); ok {
			m[a.Key] = text.StringValue
		} else {
			m[a.Key] = a.Value.String()
		}
	}
	return m
}
