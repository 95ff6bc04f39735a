// Package httpapi is the HTTP API: it decodes requests, asks the feature packages, and encodes what they answer. Every
// path is in routes.go, and every error becomes an answer in problem.go.
package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"speedybites/internal/accounts"
	"speedybites/internal/audit"
	"speedybites/internal/catalog"
	"speedybites/internal/ordering"
)

// Config is the settings of the API. Zero values mean the defaults.
type Config struct {
	// Addr is where Listen listens, host:port; port 0 lets the system choose one.
	Addr string
	// RequestTimeout is the deadline of the context that a request is handled with; default 45 s. It should be above the
	// database's statement limit plus the outage grace, or it answers 504 before they get their chance.
	RequestTimeout time.Duration
	// ReadHeaderTimeout is how long a client may take to send the headers of a request; default 5 s.
	ReadHeaderTimeout time.Duration
	// ReadTimeout is how long a client may take to send a request, headers and body; default 15 s. It does not bound the
	// work on it.
	ReadTimeout time.Duration
	// IdleTimeout is how long a connection may wait for its next request; default 75 s.
	IdleTimeout time.Duration
	// MaxHeaderBytes bounds request line and headers; default 32 KiB.
	MaxHeaderBytes int
	// MaxBodyBytes bounds a JSON body; default 1 MiB.
	MaxBodyBytes int64
	// MaxRequests bounds the requests that are being answered at a time, probes and operators' pages aside; one more is
	// refused. A tenth of them is kept for requests that change something. It should be above what the database layer lets
	// wait; default 2000.
	MaxRequests int
	// MaxConnections bounds the connections of clients; default five times MaxRequests. One more has the connection closed
	// that has been idle for the longest.
	MaxConnections int
	// OpsLoopbackOnly hides Deps.Ops from all clients but those on this machine.
	OpsLoopbackOnly bool
	// Replicas says that the database has some: reads may go to them, and writes are answered with a consistency token.
	Replicas bool
	// Version is shown in the health.
	Version string
	// Started is what the health's uptime counts from; default: the moment of New.
	Started time.Time
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var problems []error
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"request timeout", c.RequestTimeout},
		{"read header timeout", c.ReadHeaderTimeout},
		{"read timeout", c.ReadTimeout},
		{"idle timeout", c.IdleTimeout},
	} {
		if d.value < 0 {
			problems = append(problems, fmt.Errorf("%s %v must not be negative", d.name, d.value))
		}
	}
	if c.MaxHeaderBytes < 0 {
		problems = append(problems, fmt.Errorf("header limit %d must not be negative", c.MaxHeaderBytes))
	}
	if c.MaxBodyBytes < 0 {
		problems = append(problems, fmt.Errorf("body limit %d must not be negative", c.MaxBodyBytes))
	}
	if c.MaxRequests < 0 || c.MaxConnections < 0 {
		problems = append(problems, fmt.Errorf("limits of %d requests and %d connections must not be negative",
			c.MaxRequests, c.MaxConnections))
	}
	return errors.Join(problems...)
}

func (c Config) withDefaults() Config {
	c.RequestTimeout = cmp.Or(c.RequestTimeout, 45*time.Second)
	c.ReadHeaderTimeout = cmp.Or(c.ReadHeaderTimeout, 5*time.Second)
	c.ReadTimeout = cmp.Or(c.ReadTimeout, 15*time.Second)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 75*time.Second)
	c.MaxHeaderBytes = cmp.Or(c.MaxHeaderBytes, 32<<10)
	c.MaxBodyBytes = cmp.Or(c.MaxBodyBytes, 1<<20)
	c.MaxRequests = cmp.Or(c.MaxRequests, 2000)
	c.MaxConnections = cmp.Or(c.MaxConnections, 5*c.MaxRequests)
	if c.Started.IsZero() {
		c.Started = time.Now()
	}
	return c
}

// Deps is what the API works with. All of it is required, unless it says otherwise.
type Deps struct {
	// Logger gets the access log and the errors; its handler adds RequestID(ctx) and the ids of the context's span to the
	// lines.
	Logger   *slog.Logger
	Accounts *accounts.Service
	Catalog  *catalog.Service
	Orders   *ordering.Service
	Audit    *audit.Reader
	// Health answers from memory, at once, whatever state the database is in.
	Health func() Health
	// Tracers makes the spans of requests; nil makes none.
	Tracers trace.TracerProvider
	// Registerer shows the metrics of requests; nil shows none.
	Registerer prometheus.Registerer
	// Ops is pages for the operators by path, such as "/metrics", where they have no listener of their own; nil for none.
	// A request for one has no deadline; its context ends when Shutdown begins. A page that streams lifts the write
	// timeout of the server itself.
	Ops map[string]http.Handler
}

func (d Deps) validate() error {
	if d.Logger == nil || d.Accounts == nil || d.Catalog == nil || d.Orders == nil || d.Audit == nil || d.Health == nil {
		return errors.New("a dependency is missing")
	}
	return nil
}

// Server serves the API. Its life is New, Listen, Serve, Drain, Shutdown.
type Server struct {
	api      *api
	engine   *gin.Engine
	http     *http.Server
	listener net.Listener
	conns    *connections
}

// New returns a server that does not listen yet; it fails when cfg or deps are not usable.
func New(cfg Config, deps Deps) (*Server, error) {
	if err := errors.Join(cfg.Validate(), deps.validate()); err != nil {
		return nil, fmt.Errorf("http api: %w", err)
	}
	a := &api{cfg: cfg.withDefaults(), deps: deps, tracing: newTracing(deps.Tracers)}
	a.limits = newLimits(a.cfg.MaxRequests)
	var err error
	a.metrics, err = newMetrics(deps.Registerer, a.ready, a.draining.Load)
	if err != nil {
		return nil, fmt.Errorf("http api: metrics: %w", err)
	}
	conns, err := newConnections(a.cfg.MaxConnections, deps.Registerer)
	if err != nil {
		return nil, fmt.Errorf("http api: metrics: %w", err)
	}

	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.HandleMethodNotAllowed = true
	// A redirect would be answered past the middleware, and a POST would lose its body on the way.
	engine.RedirectTrailingSlash = false
	if err := engine.SetTrustedProxies(nil); err != nil {
		return nil, fmt.Errorf("http api: trusted proxies: %w", err)
	}
	a.routes(engine)

	stopped, stop := context.WithCancel(context.Background())
	a.stopped = stopped
	server := &Server{
		api:    a,
		engine: engine,
		conns:  conns,
		http: &http.Server{
			Addr:              a.cfg.Addr,
			Handler:           engine,
			ReadHeaderTimeout: a.cfg.ReadHeaderTimeout,
			ReadTimeout:       a.cfg.ReadTimeout,
			// Counted from the headers on: even the slowest body and the longest work leave time for the answer.
			WriteTimeout:   a.cfg.ReadTimeout + a.cfg.RequestTimeout + 10*time.Second,
			IdleTimeout:    a.cfg.IdleTimeout,
			MaxHeaderBytes: a.cfg.MaxHeaderBytes,
			ConnState:      conns.changed,
			ErrorLog:       slog.NewLogLogger(deps.Logger.Handler(), slog.LevelWarn),
		},
	}
	server.http.RegisterOnShutdown(stop)
	return server, nil
}

// Handler returns the whole API as a handler, for tests and for servers that listen themselves.
func (s *Server) Handler() http.Handler { return s.engine }

// Listen takes the address and returns it, with the port that the system chose if it was 0. Clients can connect from
// then on; they are answered once Serve runs.
func (s *Server) Listen(ctx context.Context) (net.Addr, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", s.http.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen for the api on %q: %w", s.http.Addr, err)
	}
	s.listener = listener
	return listener.Addr(), nil
}

// Serve answers requests until Shutdown, and then returns nil at once, while Shutdown still waits for requests in flight.
func (s *Server) Serve() error {
	if s.listener == nil {
		return errors.New("serve the api: Listen comes first")
	}
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the api: %w", err)
	}
	return nil
}

// Drain makes /readyz answer 503 and asks every client to close its connection after the answer. Requests are served as
// before: a balancer needs a moment to see it.
func (s *Server) Drain() { s.api.draining.Store(true) }

// Shutdown drains, closes the listener and the idle connections, and waits for the requests in flight. When ctx ends
// first, their connections are cut, their contexts cancelled, and the error says so.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Drain()
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("shut down the api: requests cut short: %w", err), s.http.Close())
	}
	if s.listener != nil {
		// Serve closes it; this is for a server that listened and never served.
		_ = s.listener.Close()
	}
	return nil
}
