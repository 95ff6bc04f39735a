package observability

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// scrapesInFlight is the number of scrapes served at a time; one more gets a 503.
	scrapesInFlight = 4
	// scrapeTimeout bounds one scrape; a collector that hangs gets it a 503.
	scrapeTimeout = 10 * time.Second
)

func newMetricsHandler(registry *prometheus.Registry, log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, ErrorLog: scrapeErrors{log}, Registry: registry,
		MaxRequestsInFlight: scrapesInFlight, Timeout: scrapeTimeout,
		EnableOpenMetrics: true, // or there are no exemplars
		CoalesceGather:    true, // or hanging scrapes would pile up
	})
}

// scrapeErrors is the log of promhttp.
type scrapeErrors struct{ log *slog.Logger }

func (l scrapeErrors) Println(v ...any) {
	l.log.Warn("metrics cannot be collected", "error", fmt.Sprint(v...))
}

// MetricsHandler returns the handler of /metrics, in the text and OpenMetrics
// formats. What goes wrong is counted in promhttp_metric_handler_errors_total.
func (t *Telemetry) MetricsHandler() http.Handler { return t.metrics }

// ProfileHandler returns the handler of /debug/pprof/. It belongs on the
// listener of METRICS_ADDR and nowhere else.
func ProfileHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// OpsHandler returns the handler of the whole listener of METRICS_ADDR:
// /metrics, /debug/pprof/, and what routes adds by pattern, such as "/status".
func (t *Telemetry) OpsHandler(routes map[string]http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", t.metrics)
	mux.Handle("/debug/pprof/", ProfileHandler())
	for pattern, handler := range routes {
		mux.Handle(pattern, handler)
	}
	return mux
}

// Stream lifts the server's write timeout for a handler that goes on for as
// long as the client listens, such as /hystrix.stream. It ends with the
// request's context, which the shutdown of an [OpsServer] cancels.
func Stream(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A writer that knows no deadline has none to lift.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
		next.ServeHTTP(w, r)
	})
}

// OpsServer serves operators. Create it with ListenOps.
type OpsServer struct {
	listener net.Listener
	server   *http.Server
	cancel   context.CancelFunc // ends the streams
}

// ListenOps listens on addr, which has the form of net.Listen, for handler.
// The error names the address.
func ListenOps(ctx context.Context, addr string, handler http.Handler, log *slog.Logger) (*OpsServer, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for operators on %s: %w", addr, err)
	}
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	return &OpsServer{listener: listener, cancel: cancel, server: &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		// Longer than a scrape may take. Profiles extend it by themselves.
		WriteTimeout: 2 * scrapeTimeout, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10,
		BaseContext:    func(net.Listener) context.Context { return base },
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}}, nil
}

// Addr returns the address that the server listens on.
func (s *OpsServer) Addr() net.Addr { return s.listener.Addr() }

// Serve serves until Shutdown, which makes it return nil.
func (s *OpsServer) Serve() error {
	if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve operators: %w", err)
	}
	return nil
}

// Shutdown ends streams, lets other requests finish until ctx ends, and closes
// the listener, also when Serve was never called.
func (s *OpsServer) Shutdown(ctx context.Context) error {
	s.cancel()
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.server.Close())
	}
	if closed := s.listener.Close(); closed != nil && !errors.Is(closed, net.ErrClosed) {
		err = errors.Join(err, closed)
	}
	if err != nil {
		return fmt.Errorf("shut down the operators' listener: %w", err)
	}
	return nil
}
