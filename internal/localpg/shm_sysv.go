//go:build linux || darwin

package localpg

import "golang.org/x/sys/unix"

// removeSharedMemory removes the few bytes of System V shared memory that a killed server has left. Systems allow only
// so many of these pieces, some as few as 32.
func removeSharedMemory(id int) {
	_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) // It may have gone with its last user.
}
