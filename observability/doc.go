// Package observability is what an operator sees of the program. So far that is
// its logs: app.log, error.log and audit.log in one directory, and a copy of
// the first on stderr.
//
//	slog.Logger ── handler ──┬─ JSON ──┬─ lineBuffer ── app.log
//	              (ids,      │         ├─ lineBuffer ── stderr, unless a terminal
//	               masks)    │         └─ error.log, at once, from ERROR up
//	                         └─ text ──── lineBuffer ── stderr, if a terminal
//	AuditFile ──────────────────────────── audit.log, fsync on demand
//
// Only app and cmd import this package: everything else is handed a
// *slog.Logger. Lines below ERROR cost the caller no system call; they reach
// the file within a tenth of a second, which is what a crash can take.
package observability
