package chaos

import "syscall"

// sysProcAttr keeps the terminal's Ctrl-C from an instance, as it is to end in its turn, and ends it with us whatever
// happens to us.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
