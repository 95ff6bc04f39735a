package proctest

import (
	"os/exec"
	"syscall"
)

// Tie has the system send a program a signal should this process be killed.
func Tie(cmd *exec.Cmd, signal syscall.Signal) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = signal
}
