package incident

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// failures is a log handler. Whatever Prometheus or Alertmanager warns of, a rule that fails or a template, is a mistake in
// the configuration, and must not go unseen.
type failures struct {
	mu   sync.Mutex
	seen []string
}

// err is what has been seen, or nil.
func (f *failures) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.seen) == 0 {
		return nil
	}
	return errors.New(strings.Join(f.seen, "\n"))
}

func (f *failures) add(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.seen, text) {
		f.seen = append(f.seen, text)
	}
}

// Enabled implements slog.Handler.
func (f *failures) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements slog.Handler.
func (f *failures) Handle(ctx context.Context, r slog.Record) error {
	return attributed{failures: f}.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (f *failures) WithAttrs(attrs []slog.Attr) slog.Handler {
	return attributed{failures: f}.WithAttrs(attrs)
}

// WithGroup implements slog.Handler. Groups are not told apart.
func (f *failures) WithGroup(string) slog.Handler { return f }

// attributed is failures with attributes that come with every record.
type attributed struct {
	*failures

	attrs []slog.Attr
}

// Handle implements slog.Handler.
func (a attributed) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	add := func(attr slog.Attr) bool {
		text += fmt.Sprintf(" %s=%v", attr.Key, attr.Value)
		return true
	}
	for _, attr := range a.attrs {
		add(attr)
	}
	r.Attrs(add)
	a.add(text)
	return nil
}

// WithAttrs implements slog.Handler.
func (a attributed) WithAttrs(attrs []slog.Attr) slog.Handler {
	return attributed{failures: a.failures, attrs: append(slices.Clip(a.attrs), attrs...)}
}

// WithGroup implements slog.Handler. Groups are not told apart.
func (a attributed) WithGroup(string) slog.Handler { return a }
