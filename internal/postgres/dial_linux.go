package postgres

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// userTimeout is how long sent data may stay unacknowledged before the kernel gives the connection up: the keepalive
// probes only run on an idle one (tcp(7), TCP_USER_TIMEOUT).
const userTimeout = 8 * time.Second

func setUserTimeout(_, _ string, rc syscall.RawConn) error {
	// A kernel that does not know the option is no reason to fail: the prober notices, too.
	return rc.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout/time.Millisecond))
	})
}
