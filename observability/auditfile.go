package observability

// AuditFile is audit.log. It is rotated by size, and nothing of it is ever
// deleted or compressed, nor shortened but by its owner, which may cut a torn line off.
type AuditFile struct{ file *logFile }

// Write appends p, which is one or more whole lines, at once. When it fails,
// the lines from the first n bytes on are to be written again; a fragment of
// the first of them may stay behind, on a line of its own unless its owner cuts it off.
func (a *AuditFile) Write(p []byte) (n int, err error) { return a.file.Write(p) }

// Sync returns when everything written is on the disk, also what was rotated
// away since. After an error, everything written since the last success is to
// be written again.
func (a *AuditFile) Sync() error { return a.file.Sync() }
