package observability

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// handler puts the ids of request and span at the top level of each line and
// hands it to the outputs.
type handler struct {
	level   slog.Level
	fromCtx func(context.Context) []slog.Attr // may be nil
	records *recordCounts
	thin    *thinner // may be nil
	kept    bool     // an attribute given by With keeps lines from being thinned
	// all get every record below ERROR, serious every other one.
	all, serious []slog.Handler
	// group is the innermost open group, nil at the top level. The outputs
	// know of none, or they would put the ids inside.
	group *group
}

// group is what WithGroup opened, and the attributes added since.
type group struct {
	name   string
	attrs  []slog.Attr
	parent *group
}

func newHandler(cfg LogConfig, l *Logs) *handler {
	h := &handler{level: cfg.Level, fromCtx: cfg.AttrsFromContext, records: &l.records}
	jsonLines := cfg
	jsonLines.Terminal = false
	// A line is encoded once for all who take it as JSON.
	files, seriousFiles := []io.Writer{l.appLines}, []io.Writer{urgent{l.appLines}, l.errors}
	if cfg.Terminal {
		h.all = append(h.all, newOutput(cfg, l.stderr))
		h.serious = append(h.serious, newOutput(cfg, urgent{l.stderr}))
	} else {
		files = append(files, l.stderr)
		seriousFiles = append(seriousFiles, urgent{l.stderr})
	}
	h.all = append(h.all, newOutput(jsonLines, fanout(files)))
	h.serious = append(h.serious, newOutput(jsonLines, fanout(seriousFiles)))
	h.thin = newThinner(cfg.Thin, h.write)
	return h
}

// newOutput encodes records in the form cfg asks for.
func newOutput(cfg LogConfig, w io.Writer) slog.Handler {
	opts := &slog.HandlerOptions{Level: cfg.Level} // a ReplaceAttr would double the cost of a line; see clean
	if cfg.Terminal {
		return slog.NewTextHandler(w, opts)
	}
	return slog.NewJSONHandler(w, opts)
}

// fanout writes to each writer whatever becomes of the others.
type fanout []io.Writer

func (f fanout) Write(p []byte) (int, error) {
	for _, w := range f {
		_, _ = w.Write(p) // Each one counts and tells its own errors.
	}
	return len(p), nil
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	h.records.add(r.Level)
	if h.thin == nil || h.kept || h.thin.keeps(r) || h.thin.admits(r) {
		h.write(ctx, r)
	}
	return nil
}

func (h *handler) write(ctx context.Context, r slog.Record) {
	// Room on the stack for an access log line.
	var room [24]slog.Attr
	attrs := room[:0]
	if h.fromCtx != nil {
		attrs = append(attrs, h.fromCtx(ctx)...)
	}
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		attrs = append(attrs,
			slog.String("traceId", span.TraceID().String()), //nolint:sloglint // the API's JSON is camelCase, and so are the ids in it
			slog.String("spanId", span.SpanID().String()))   //nolint:sloglint // as above
	}
	own := len(attrs)
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, clean(a))
		return true
	})
	if h.group != nil {
		attrs = append(attrs[:own], clean(h.group.nest(attrs[own:])))
	}

	out := slog.NewRecord(r.Time.UTC(), r.Level, r.Message, r.PC)
	out.AddAttrs(attrs...)
	outputs := h.all
	if r.Level >= slog.LevelError {
		outputs = h.serious
	}
	for _, output := range outputs {
		// The writers below never fail; see fanout and lineBuffer.
		_ = output.Handle(ctx, out)
	}
}

// nest wraps a record's own attributes in the open groups.
func (g *group) nest(attrs []slog.Attr) slog.Attr {
	inner := slog.Attr{Key: g.name, Value: slog.GroupValue(slices.Concat(g.attrs, attrs)...)}
	if g.parent == nil {
		return inner
	}
	return g.parent.nest([]slog.Attr{inner})
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.kept = h.kept || h.thin != nil && slices.ContainsFunc(attrs, h.thin.keepsAttr)
	if h.group != nil {
		grown := *h.group
		grown.attrs = slices.Concat(grown.attrs, attrs)
		next.group = &grown
		return &next
	}
	next.all, next.serious = withAttrs(h.all, attrs), withAttrs(h.serious, attrs)
	return &next
}

func withAttrs(outputs []slog.Handler, attrs []slog.Attr) []slog.Handler {
	next := make([]slog.Handler, len(outputs))
	for i, output := range outputs {
		next[i] = output.WithAttrs(cleanAll(attrs))
	}
	return next
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := *h
	next.group = &group{name: name, parent: h.group}
	return &next
}

// clean is applied to every attribute of every line. It is a net below the
// code that logs: it hides attributes that are called like a secret, and whole
// groups that are, at any depth. It cannot look into structs; types that hold
// secrets hide them themselves.
func clean(a slog.Attr) slog.Attr {
	switch {
	case isSecret(a.Key):
		return slog.String(a.Key, "[redacted]")
	case a.Value.Kind() == slog.KindDuration: // slog writes nanoseconds, without saying so
		return slog.String(a.Key, a.Value.Duration().String())
	case a.Value.Kind() == slog.KindLogValuer:
		return clean(slog.Attr{Key: a.Key, Value: a.Value.Resolve()})
	case a.Value.Kind() == slog.KindGroup:
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(cleanAll(a.Value.Group())...)}
	}
	return a
}

func cleanAll(attrs []slog.Attr) []slog.Attr {
	cleaned := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		cleaned[i] = clean(a)
	}
	return cleaned
}

// isSecret matches password as well as db_password and userPassword.
func isSecret(key string) bool {
	if key == "" || !strings.ContainsRune("dDnNtT", rune(key[len(key)-1])) {
		return false // nearly all keys
	}
	for _, word := range [...]string{"password", "token", "secret", "authorization"} {
		if len(key) >= len(word) && strings.EqualFold(key[len(key)-len(word):], word) {
			return true
		}
	}
	return false
}
