package pgtest

import "testing"

// Slow skips a test that takes longer than a quick run (-short) may.
func Slow(tb testing.TB) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("takes longer than a quick run may; a run without -short has it")
	}
}
