// Package migrations holds the schema's history, one change a file, in the order in which they are applied.
//
// The rules: a file that has been released is never edited. While a release is rolled out, old and new code run on the
// same schema, so every change must leave the previous release's statements working: columns are added with a default
// or as nullable, and what is no longer used is dropped a release later. Every file sets a lock_timeout, so that a
// migration that meets a long transaction gives up instead of queueing all traffic behind itself; run it again. The
// exception is a file without a transaction that builds indexes CONCURRENTLY: that keeps nobody waiting.
package migrations

import "embed"

// FS holds the SQL files, for goose.
//
//go:embed *.sql
var FS embed.FS
