// Package observability is what an operator sees of the program: its logs, its
// metrics and its traces.
//
// The logs are app.log, error.log and audit.log in one directory, and a copy of
// the first on stderr.
//
//	slog.Logger ── handler ──┬─ JSON ──┬─ lineBuffer ── app.log
//	              (counts,   │         ├─ lineBuffer ── stderr, unless a terminal
//	               thins,    │         └─ error.log, at once, from ERROR up
//	               ids,      └─ text ──── lineBuffer ── stderr, if a terminal
//	               masks)
//	AuditFile ──────────────────────────── audit.log, fsync on demand
//
// Lines below ERROR cost the caller no system call; they reach the file within
// a tenth of a second, which is what a crash can take.
//
// [Start] sets up the rest. All metrics are in one registry, which collectors
// of client_golang and the instruments of OpenTelemetry share:
//
//	Registry ── collectors ──┬── /metrics
//	Meters ──── instruments ─┘
//	Tracers ─── internal/tracing ── OTLP collector, where OTEL_* name one
//
// All of it fails open: a collector that is away, a full disk or a scrape that
// hangs costs spans, lines or that scrape, which is counted, and never a
// request.
//
// Only app and cmd import this package: everything else is handed a
// *slog.Logger, a prometheus.Registerer, a metric.MeterProvider or a
// trace.TracerProvider.
package observability
