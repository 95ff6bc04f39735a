//go:build linux || darwin

package observability

import "golang.org/x/sys/unix"

// diskFree returns the bytes that an ordinary user may still write to the file
// system of a directory.
func diskFree(dir string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, err
	}
	return int64(fs.Bavail) * int64(fs.Bsize), nil //nolint:gosec,unconvert // G115: no disk has 2^63 bytes; the types differ between systems.
}
