//go:build unix && !linux

package localpg

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// seesEveryProcess says that processesOn finds every process of a server, so that one it does not name is none.
const seesEveryProcess = false

// namespaces says that a process of root's can run under another user id in a namespace of its own, and still reach
// what belongs to root.
const namespaces = false

// sysProcAttr makes a process run as the account. It must not get the Ctrl-C of the terminal, as a server has to outlive
// the connections to it. This system cannot tie its life to ours: a server whose parent was killed goes on, and the next
// Start adopts it.
func (a account) sysProcAttr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a.switchUser {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)} //nolint:gosec // G115: they come from the system.
	}
	return attr
}

// processes returns what is known of the processes with these ids, of all if none is given. Those that have ended are
// missing, as are those that are only waiting for their parent to notice.
func processes(pids ...int) (map[int]processInfo, error) {
	lines, err := ps("pid=,ppid=,stat=,comm=")
	if err != nil {
		return nil, err
	}
	wanted := make(map[int]bool, len(pids))
	for _, pid := range pids {
		wanted[pid] = true
	}
	found := make(map[int]processInfo)
	for pid, rest := range lines {
		fields := strings.Fields(rest)
		if len(fields) < 3 || (len(pids) > 0 && !wanted[pid]) || strings.HasPrefix(fields[1], "Z") {
			continue
		}
		parent, err := strconv.Atoi(fields[0])
		if err != nil {
			return nil, fmt.Errorf("ps says that the parent of %d is %q: %w", pid, fields[0], err)
		}
		found[pid] = processInfo{parent: parent, stopped: strings.HasPrefix(fields[1], "T"), name: fields[2]}
	}
	return found, nil
}

// processesOn returns the servers that were started on a data directory. Their children do not show it here.
func processesOn(data string) ([]int, error) {
	lines, err := ps("pid=,command=")
	if err != nil {
		return nil, err
	}
	var on []int
	for pid, command := range lines {
		if strings.Contains(command, "postgres -D "+data+" ") {
			on = append(on, pid)
		}
	}
	return on, nil
}

// ps returns the given columns of all processes, of which the first must be the pid, by pid.
func ps(columns string) (map[int]string, error) {
	out, err := exec.CommandContext(context.Background(), "ps", "-axww", "-o", columns).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil, fmt.Errorf("ps: %w: %s", err, lastLines(exit.Stderr))
	}
	if err != nil {
		return nil, fmt.Errorf("ps: %w", err)
	}
	lines := make(map[int]string)
	for scan := bufio.NewScanner(bytes.NewReader(out)); scan.Scan(); {
		first, rest, _ := strings.Cut(strings.TrimSpace(scan.Text()), " ")
		if pid, err := strconv.Atoi(first); err == nil {
			lines[pid] = rest
		}
	}
	return lines, nil
}
