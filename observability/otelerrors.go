package observability

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
)

// errorInterval is the time between two lines about OpenTelemetry's errors.
const errorInterval = 10 * time.Second

// handleOTelErrors routes what the SDK has to say to log, once speak is true.
// Both handlers are global to the process; no other place sets them.
func handleOTelErrors(log *slog.Logger, speak *atomic.Bool) {
	h := &otelErrors{log: log, speak: speak}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { h.tell("opentelemetry failed", "error", err) }))
	otel.SetLogger(logr.FromSlogHandler(h))
}

// otelErrors thins: an error may come with every span or every scrape.
type otelErrors struct {
	log   *slog.Logger
	speak *atomic.Bool

	// mu guards the rest.
	mu     sync.Mutex
	told   time.Time
	missed int
}

func (h *otelErrors) tell(msg string, args ...any) {
	if !h.speak.Load() {
		return
	}
	h.mu.Lock()
	if time.Since(h.told) < errorInterval {
		h.missed++
		h.mu.Unlock()
		return
	}
	missed := h.missed
	h.told, h.missed = time.Now(), 0
	h.mu.Unlock()
	if missed > 0 {
		args = append(args, "not_told", missed)
	}
	h.log.Warn(msg, args...)
}

// Enabled is part of [slog.Handler]. What OpenTelemetry calls information is
// of its own doings.
func (h *otelErrors) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn
}

// Handle is part of [slog.Handler]. The message says what is wrong; among the
// attributes may be a header's value, which is secret, so only the error is
// taken.
func (h *otelErrors) Handle(_ context.Context, r slog.Record) error {
	args := []any{"what", r.Message}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "err" {
			args = append(args, "error", a.Value)
		}
		return true
	})
	h.tell("opentelemetry failed", args...)
	return nil
}

// WithAttrs is part of [slog.Handler].
func (h *otelErrors) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup is part of [slog.Handler].
func (h *otelErrors) WithGroup(string) slog.Handler { return h }
