//go:build linux || darwin

package app

import (
	"math"

	"golang.org/x/sys/unix"
)

// openFiles returns how many files this process may have open, 0 if that is not known. The runtime has raised the limit to
// the highest that it may have.
func openFiles() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(limit.Cur, math.MaxInt32))
}
