package receiver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	// watchdogAlert is the name of the alert that always fires.
	watchdogAlert = "Watchdog"
	// channelWatchdog is where it is sent to.
	channelWatchdog = "watchdog"
	// bodyLimit bounds one notification: 50 alerts take some 100 kB.
	bodyLimit = 1 << 20
	// stopLimit is how long a stop waits for requests under way.
	stopLimit = 5 * time.Second
)

// Channels are the paths that take notifications, without their slash.
func Channels() []string { return []string{"page", "ticket", channelWatchdog} }

// Config is what a Receiver needs. Its zero value is usable.
type Config struct {
	// Runbooks has NAME.md for each alert. Default: no runbooks.
	Runbooks fs.FS
	// SilentAfter is the age from which the latest word of the Watchdog counts as none. Default 3 minutes: it is repeated
	// every minute, and one may be missed.
	SilentAfter time.Duration
	// Logger gets a line for each notification, at the level Debug for the Watchdog's. Default: nobody.
	Logger *slog.Logger
}

// Receiver is the handler for all paths.
type Receiver struct {
	cfg     Config
	mux     *http.ServeMux
	started time.Time
	history history
}

// New returns a receiver that has received nothing.
func New(cfg Config) *Receiver {
	cfg.SilentAfter = cmp.Or(cfg.SilentAfter, 3*time.Minute)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Receiver{cfg: cfg, mux: http.NewServeMux(), started: time.Now()}
	for _, channel := range Channels() {
		r.mux.HandleFunc("POST /"+channel, func(w http.ResponseWriter, req *http.Request) { r.take(w, req, channel) })
	}
	r.mux.HandleFunc("GET /{$}", r.servePage)
	r.mux.HandleFunc("GET /notifications", r.serveJSON)
	r.mux.HandleFunc("GET /runbooks/{name}", r.serveRunbook)
	r.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	return r
}

// ServeHTTP answers a request to any of the paths.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	r.mux.ServeHTTP(w, req)
}

// Notifications returns what was received, newest first: the latest 500 of each channel.
func (r *Receiver) Notifications() []Notification { return r.history.all() }

// Watchdog is what is known of the alert that always fires.
type Watchdog struct {
	// Alive is false when it has not been heard of for too long, and before it was heard of for the first time.
	Alive bool `json:"alive"`
	// Last is when it was heard of, zero if never.
	Last time.Time `json:"last,omitzero"`
}

// Watchdog tells whether alerting works, as far as can be known here.
func (r *Receiver) Watchdog() Watchdog {
	last := r.history.lastWatchdog()
	return Watchdog{Alive: !last.IsZero() && time.Since(last) < r.cfg.SilentAfter, Last: last}
}

// take receives one notification.
func (r *Receiver) take(w http.ResponseWriter, req *http.Request, channel string) {
	// A web page that somebody has open can make the browser post text here, but not JSON.
	if kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		refuse(w, http.StatusUnsupportedMediaType, "the Content-Type must be application/json")
		return
	}
	body := &counting{Reader: http.MaxBytesReader(w, req.Body, bodyLimit)}
	m, err := decode(body)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		refuse(w, http.StatusRequestEntityTooLarge, "the body is larger than 1 MiB")
		return
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	n := r.history.add(Notification{Channel: channel, Received: time.Now(), Message: m}, body.n)
	level := slog.LevelInfo
	if channel == channelWatchdog {
		level = slog.LevelDebug
	}
	r.cfg.Logger.LogAttrs(req.Context(), level, "notification", slog.String("channel", channel),
		slog.String("status", n.Status), slog.String("alerts", strings.Join(n.Names(), ",")), slog.String("summary", n.summaries()))
	w.WriteHeader(http.StatusNoContent)
}

func (r *Receiver) serveJSON(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, struct {
		Watchdog      Watchdog       `json:"watchdog"`
		Notifications []Notification `json:"notifications"`
	}{r.Watchdog(), r.Notifications()})
}

func refuse(w http.ResponseWriter, status int, why string) {
	writeJSON(w, status, map[string]string{"error": why})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // Whoever does not read the answer has gone.
}

// Serve answers requests on l until ctx ends, and then those that are under way.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	err := server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, server.Close())
	}
	if served := <-served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
