//go:build !linux

package chaos

import "syscall"

// sysProcAttr keeps the terminal's Ctrl-C from an instance, as it is to end in its turn.
func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
