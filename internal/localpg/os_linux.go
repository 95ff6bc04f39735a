package localpg

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// seesEveryProcess says that processesOn finds every process of a server, so that one it does not name is none.
const seesEveryProcess = true

// namespaces says that a process of root's can run under another user id in a namespace of its own, and still reach
// what belongs to root.
const namespaces = true

// sysProcAttr makes a process run as the account. It must not get the Ctrl-C of the terminal, as a server has to outlive
// the connections to it; and it must not outlive us: SIGINT is a server's fast shutdown, and makes initdb clean up.
func (a account) sysProcAttr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
	switch {
	case a.namespace:
		attr.Cloneflags = syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: a.inner, HostID: 0, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: a.inner, HostID: 0, Size: 1}}
	case a.switchUser:
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)} //nolint:gosec // G115: they come from the system.
	}
	return attr
}

// processes returns what is known of the processes with these ids, of all if none is given. Those that have ended are
// missing, as are those that are only waiting for their parent to notice.
func processes(pids ...int) (map[int]processInfo, error) {
	if len(pids) == 0 {
		names, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if pid, err := strconv.Atoi(filepath.Base(name)); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	found := make(map[int]processInfo, len(pids))
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// pid (name) state parent …, where the name may hold anything, also parentheses.
		open, closing := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
		if open < 0 || closing < open {
			return nil, fmt.Errorf("/proc/%d/stat is %q", pid, stat)
		}
		fields := strings.Fields(string(stat[closing+1:]))
		if len(fields) < 2 {
			return nil, fmt.Errorf("/proc/%d/stat is %q", pid, stat)
		}
		parent, err := strconv.Atoi(fields[1])
		if err != nil {
			return nil, fmt.Errorf("/proc/%d/stat is %q: %w", pid, stat, err)
		}
		if state := fields[0][0]; state != 'Z' && state != 'X' {
			found[pid] = processInfo{parent: parent, stopped: state == 'T', name: string(stat[open+1 : closing])}
		}
	}
	return found, nil
}

// processesOn returns the processes of PostgreSQL that work on a data directory: each has it as its working directory.
func processesOn(data string) ([]int, error) {
	dir, err := os.Stat(data)
	if err != nil {
		return nil, err
	}
	all, err := processes()
	if err != nil {
		return nil, err
	}
	var on []int
	for pid, p := range all {
		if p.name != "postgres" && p.name != "postmaster" {
			continue
		}
		if cwd, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil && os.SameFile(cwd, dir) {
			on = append(on, pid)
		}
	}
	return on, nil
}
