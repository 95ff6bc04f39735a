//go:build !linux

package proctest

import (
	"os/exec"
	"syscall"
)

// Tie has the system send a program a signal should this process be killed. This system cannot.
func Tie(*exec.Cmd, syscall.Signal) {}
