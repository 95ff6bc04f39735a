package tracing

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc/credentials"
)

// otlp is where to send spans to, and how.
type otlp struct {
	grpc     bool
	endpoint *url.URL
	headers  map[string]string
	gzip     bool
	timeout  time.Duration
	tls      *tls.Config // nil for plain text
}

// forTraces returns the variable that counts: the one for traces alone, else
// the one for all signals.
func (r reader) forTraces(setting string) string {
	if name := "OTEL_EXPORTER_OTLP_TRACES_" + setting; r.value(name) != "" {
		return name
	}
	return "OTEL_EXPORTER_OTLP_" + setting
}

// otlp reads OTEL_EXPORTER_OTLP_*. It reports false when no endpoint is set, or
// none that can be used.
func (r reader) otlp() (otlp, bool) {
	name := r.forTraces("ENDPOINT")
	if r.value(name) == "" {
		return otlp{}, false
	}
	o := otlp{
		grpc:    r.oneOf(r.forTraces("PROTOCOL"), "grpc", "http/protobuf") == "grpc",
		headers: r.pairs(r.forTraces("HEADERS")),
		gzip:    r.oneOf(r.forTraces("COMPRESSION"), "gzip", "none") == "gzip",
		timeout: r.millis(r.forTraces("TIMEOUT")),
	}
	var err error
	if o.endpoint, err = r.endpoint(name, o.grpc); err != nil {
		// The value may hold a password.
		r.warn(name, "(cannot be parsed)", "a URL such as http://localhost:4318; no traces are exported: "+err.Error())
		return otlp{}, false
	}
	if o.endpoint.Scheme == "https" {
		if o.tls, err = r.tlsConfig(); err != nil {
			r.log.Warn("certificates for the trace exporter cannot be used, no traces are exported", "error", err)
			return otlp{}, false
		}
	}
	return o, true
}

// endpoint parses the address and completes it as the specification wants.
func (r reader) endpoint(name string, grpc bool) (*url.URL, error) {
	text := r.value(name)
	if grpc && !strings.Contains(text, "://") { // A bare host:port is legal for gRPC only.
		scheme := "https://"
		if r.flag(r.forTraces("INSECURE")) {
			scheme = "http://"
		}
		text = scheme + text
	}
	u, err := url.Parse(text)
	if err != nil {
		if parse, ok := errors.AsType[*url.Error](err); ok {
			err = parse.Err // without the URL
		}
		return nil, err
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return nil, errors.New("it needs http:// or https:// and a host")
	}
	switch {
	case name == "OTEL_EXPORTER_OTLP_ENDPOINT":
		u.Path = strings.TrimSuffix(u.Path, "/") + "/v1/traces"
	case u.Path == "":
		u.Path = "/"
	}
	return u, nil
}

func (r reader) tlsConfig() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if name := r.forTraces("CERTIFICATE"); r.value(name) != "" {
		pem, err := os.ReadFile(r.value(name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in %s", name, r.value(name))
		}
	}
	certificate, key := r.forTraces("CLIENT_CERTIFICATE"), r.forTraces("CLIENT_KEY")
	if r.value(certificate) != "" || r.value(key) != "" {
		pair, err := tls.LoadX509KeyPair(r.value(certificate), r.value(key))
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", certificate, key, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// NewExporter returns the exporter that s asks for, nil for none. It does not
// connect: a collector that is away is no error.
//
// Every option is given explicitly, as the exporters would otherwise read the
// process's environment.
func NewExporter(ctx context.Context, s Settings) (sdktrace.SpanExporter, error) {
	switch {
	case s.Disabled || s.Exporter == "none":
		return nil, nil //nolint:nilnil // as documented
	case s.Exporter == "console":
		return stdouttrace.New()
	case s.otlp.grpc:
		return newGRPC(ctx, s.otlp)
	default:
		return newHTTP(ctx, s.otlp)
	}
}

// defaultTimeout is that of the specification, for one attempt to export.
const defaultTimeout = 10 * time.Second

func newGRPC(ctx context.Context, o otlp) (sdktrace.SpanExporter, error) {
	opts := []otlptracegrpc.Option{
		otlptracegrpc.WithEndpoint(o.endpoint.Host), otlptracegrpc.WithHeaders(o.headers),
		otlptracegrpc.WithTimeout(orDefault(o.timeout)),
	}
	if o.tls == nil {
		opts = append(opts, otlptracegrpc.WithInsecure())
	} else {
		opts = append(opts, otlptracegrpc.WithTLSCredentials(credentials.NewTLS(o.tls)))
	}
	if o.gzip {
		opts = append(opts, otlptracegrpc.WithCompressor("gzip"))
	}
	return otlptracegrpc.New(ctx, opts...)
}

func newHTTP(ctx context.Context, o otlp) (sdktrace.SpanExporter, error) {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: o.tls, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 1, IdleConnTimeout: 90 * time.Second,
	}
	compression := otlptracehttp.NoCompression
	if o.gzip {
		compression = otlptracehttp.GzipCompression
	}
	exporter, err := otlptracehttp.New(ctx,
		otlptracehttp.WithEndpointURL(o.endpoint.String()), otlptracehttp.WithHeaders(o.headers),
		otlptracehttp.WithCompression(compression),
		otlptracehttp.WithHTTPClient(&http.Client{Transport: transport, Timeout: orDefault(o.timeout)}))
	if err != nil {
		return nil, err
	}
	return hangUp{exporter, transport}, nil
}

func orDefault(timeout time.Duration) time.Duration {
	if timeout <= 0 {
		return defaultTimeout
	}
	return timeout
}

// hangUp closes the idle connections of an exporter that shuts down.
type hangUp struct {
	sdktrace.SpanExporter
	transport *http.Transport
}

func (e hangUp) Shutdown(ctx context.Context) error {
	err := e.SpanExporter.Shutdown(ctx)
	e.transport.CloseIdleConnections()
	return err
}
