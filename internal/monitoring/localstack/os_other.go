//go:build unix && !linux

package localstack

import "syscall"

// sysProcAttr keeps the terminal's Ctrl-C from a process, as it is to end in its turn. This system cannot tie its life to
// ours: it goes on when we are killed.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
