//go:build !linux

package postgres

import "syscall"

// setUserTimeout does nothing: TCP_USER_TIMEOUT is Linux's. The prober notices a dead connection all the same.
func setUserTimeout(_, _ string, _ syscall.RawConn) error { return nil }
