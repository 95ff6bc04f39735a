// Package tracing decides which spans are worth sending, and sends them
// without ever holding up whoever made them.
//
//	          sampled ───────────────────────────┐
//	span ends ┤                                  ├─ queue ── worker ── exporter
//	          not sampled ── buffer by local root┘
//	                         (kept on an error or an outage, else let go)
//
// The sampler records every span. Spans of a sampled trace go to the queue as
// they end. The others wait in memory for the last span below the same local
// root: one span with an error status, or with the outage attribute, sends what
// has ended so far and all that follows; otherwise nothing is sent.
//
// Everything is bounded: traces, spans of a trace, spans in all, their age, and
// the queue. What does not fit is counted in
// speedybites_telemetry_spans_dropped_total. A span with an error finds its way
// to the queue even when the buffer has no room.
//
// Without an exporter none of this runs: [IDs] only hands out trace ids.
package tracing
